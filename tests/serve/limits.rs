//! Every limit of the conf, on every protocol on which docs/limits.md says that it holds.

#[path = "limits/trials.rs"]
mod trials;
#[path = "limits/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use self::upstream::{Upstream, until_none, upstream};
use crate::support::frames::{self, DATA, END_HEADERS, GOAWAY, Got, HEADERS, RST, Raw, WINDOW};
use crate::support::*;

const PAGE: &str = include_str!("../../docs/limits.md");

/// A protocol between client and proxy, as the page's columns name it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    Http1,
    Tls,
    Http2,
    Tunnel,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

type Http1 = Connection<Box<dyn Io>>;

// === the page ===

/// The rows: the limit, and the protocols on which it holds.
fn rows() -> Vec<(String, Vec<On>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let columns = [On::Http1, On::Tls, On::Http2, On::Tunnel];
        let holds = columns.into_iter().zip(&cells[5..]).filter(|(_, cell)| **cell == "yes").map(|(on, _)| on);
        (cells[0].trim_matches('`').to_owned(), holds.collect())
    };
    PAGE.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_holds_where_its_row_says() {
    let room = Arc::new(tokio::sync::Semaphore::new(4));
    let mut trials = tokio::task::JoinSet::new();
    for (limit, protocols) in rows() {
        let room = room.clone();
        trials.spawn(async move {
            let _turn = room.acquire_owned().await.unwrap();
            let house = House::start(&limit).await;
            let mut wrong = Vec::new();
            for on in protocols {
                match tokio::time::timeout(PATIENCE, house.holds(&limit, on)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(found)) => wrong.push(format!("{limit} on {on:?}: {found}")),
                    Err(_) => wrong.push(format!("{limit} on {on:?}: does not hold")),
                }
            }
            wrong
        });
    }
    let wrong: Vec<String> = trials.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

// === the proxy ===

/// A proxy with one short limit, and the upstreams that it takes.
struct House {
    proxy: Proxy,
    upstream: Upstream,
}

/// What a trial found wrong.
type Found = Result<(), String>;

impl House {
    async fn start(limit: &str) -> Self {
        let upstream = upstream().await;
        let (kind, name) = limit.split_once('.').unwrap();
        let value = match name {
            "body" => "10B",
            "headers" => "2KiB",
            "headerCount" => "20",
            "uri" => "1KiB",
            "keepAliveRequests" => "2",
            "connections" | "connectionsPerSource" | "requests" => "2",
            "memory" => "1MiB",
            "h2ResponseBuffer" => "128KiB",
            "reserve" => "50",
            "h2Streams" => "3",
            "hops" => "1",
            "h2Window" => "16KiB",
            "endpoints" => "300ms",
            _ => "200ms",
        };
        let more = match name {
            "requests" => ", reserve: 0",
            "reserve" => ", requests: 4",
            _ => "",
        };
        // The first byte of a dripping head comes in time.
        let limits = if kind == "limits" { format!("{name}: {value}{more}") } else { String::new() };
        let timeouts = match (kind, name) {
            ("timeouts", "responseHeader") => "read: 100ms, responseHeader: 200ms".to_owned(),
            ("timeouts", "send") => "read: 20s, send: 200ms".to_owned(),
            ("timeouts", _) => format!("{name}: {value}"),
            _ => String::new(),
        };
        let mute = raw_server(|stream| async move {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        let mut conf = format!(
            "defaults: {{ limits: {{ {limits} }}, timeouts: {{ {timeouts} }}, attempts: 1 }}\nupstreams:\n  a: {{ endpoints: [ {{ address: \"{}\" }} ] }}\n  mute: {{ endpoints: [ {{ address: \"{mute}\" }} ], protocol: https, tls: {{ verify: false }} }}\n",
            upstream.address
        );
        let mut routes = "routes:\n  - { paths: [ { prefix: /mute } ], backends: [ { upstream: mute } ] }\n  - { backends: [ { upstream: a } ] }\n".to_owned();
        // A wait that came to nothing is not begun again, so each protocol has an endpoint of its own.
        for on in [On::Http1, On::Tls, On::Http2] {
            let (name, dead) = (format!("{on:?}").to_lowercase(), dead_address().await);
            conf += &format!("  {name}: {{ endpoints: [ {{ address: \"{dead}\" }} ] }}\n");
            routes +=
                &format!("  - {{ paths: [ {{ prefix: /dead/{on:?} }} ], backends: [ {{ upstream: {name} }} ] }}\n");
        }
        let conf = conf + &routes;
        Self { proxy: Proxy::start(&conf, &[]).await, upstream }
    }

    /// Tries one limit on one protocol.
    async fn holds(&self, limit: &str, on: On) -> Found {
        match limit {
            "limits.body" => self.a_body_too_large(on).await,
            "limits.headers" => self.a_head_too_large(on).await,
            "limits.headerCount" => {
                let fields = (0..30).map(|n| (format!("x-{n}"), "a".to_owned())).collect();
                self.is(on, Ask { fields, ..Ask::get("/many") }, 431, "headers_too_large").await
            }
            "limits.uri" => self.a_target_too_long(on).await,
            "limits.headerTimeout" => self.a_head_that_does_not_come(on).await,
            "limits.bodyTimeout" => self.a_body_that_does_not_come(on).await,
            "limits.keepAliveTimeout" => self.an_idle_connection(on).await,
            "limits.sendTimeout" => self.an_answer_that_is_not_read(on).await,
            "limits.keepAliveRequests" => self.requests_of_a_connection(on).await,
            "limits.connections" | "limits.connectionsPerSource" => self.too_many_connections(on).await,
            "limits.requests" | "limits.reserve" => self.too_many_requests(on).await,
            "limits.memory" => self.too_little_memory(on).await,
            "limits.h2ResponseBuffer" => self.answers_that_nobody_reads().await,
            "limits.h2Streams" => self.too_many_streams().await,
            "limits.hops" => {
                let fields = vec![("cdn-loop".to_owned(), "tidegate".to_owned())];
                self.is(on, Ask { fields, ..Ask::get("/loop") }, 508, "loop_detected").await
            }
            "limits.h2Window" => self.more_than_the_window().await,
            "timeouts.connect" => self.is(on, Ask::get("/mute"), 504, "connect_timeout").await,
            "timeouts.read" if on == On::Tunnel => self.a_tunnel_ends("/silent", Talk::Says).await,
            "timeouts.read" => self.is(on, Ask::get("/silent"), 504, "upstream_timeout").await,
            "timeouts.responseHeader" => self.a_head_that_drips(on).await,
            "timeouts.send" if on == On::Tunnel => self.a_tunnel_ends("/deaf", Talk::Floods).await,
            "timeouts.send" => {
                let body = Some(Upload { length: 64 << 20, bytes: 64 << 20 });
                let begun = Instant::now();
                self.is(on, Ask { body, ..Ask::get("/deaf") }, 504, "upstream_timeout").await?;
                equal(begun.elapsed() < Duration::from_secs(20), true)
            }
            "timeouts.idle" => self.an_idle_upstream_connection(on).await,
            "timeouts.endpoints" => self.endpoints_that_do_not_come(on).await,
            other => Err(format!("nobody tries {other}")),
        }
    }
}

// === asking ===

/// A request.
#[derive(Clone)]
struct Ask {
    path: String,
    fields: Vec<(String, String)>,
    body: Option<Upload>,
}

/// A body: what it says of itself, and what comes at once.
#[derive(Clone, Copy)]
struct Upload {
    length: usize,
    bytes: usize,
}

/// What a client does in a tunnel.
#[derive(Clone, Copy, PartialEq)]
enum Talk {
    Says,
    Floods,
    /// Neither says nor reads anything.
    Stalls,
}

impl Ask {
    fn get(path: &str) -> Self {
        Self { path: path.to_owned(), fields: Vec::new(), body: None }
    }

    fn lines(&self) -> String {
        let (method, length) = match self.body {
            Some(body) => ("POST", format!("content-length: {}\r\n", body.length)),
            None => ("GET", String::new()),
        };
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {} HTTP/1.1\r\nHost: a.test\r\n{length}{fields}\r\n", self.path)
    }

    fn block(&self) -> Vec<u8> {
        let length = self.body.map(|body| body.length.to_string());
        let mut fields = head(if self.body.is_some() { "POST" } else { "GET" }, &self.path);
        fields.extend(length.as_deref().map(|length| ("content-length", length)));
        fields.extend(self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        frames::block(&fields)
    }
}

fn head<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)]
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Found {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

impl House {
    async fn open(&self, on: On) -> Http1 {
        let stream: Box<dyn Io> = match on {
            On::Tls => Box::new(tls(self.proxy.https(), "a.test", &["http/1.1"]).await.unwrap()),
            _ => Box::new(TcpStream::connect(self.proxy.http()).await.unwrap()),
        };
        Connection { stream, buffer: Vec::new() }
    }

    async fn open_h2(&self) -> Raw {
        Raw::open(&self.proxy, &[]).await
    }

    /// Asks, and gives the status of the answer; 0: there was none.
    async fn ask(&self, on: On, ask: &Ask) -> u16 {
        if on == On::Http2 {
            let mut client = self.open_h2().await;
            return Self::ask_h2(&mut client, 1, ask).await;
        }
        let client = self.open(on).await;
        let (mut read, mut write) = tokio::io::split(client.stream);
        let lines = ask.lines();
        let bytes = ask.body.map_or(0, |body| body.bytes);
        let sending = async {
            let _ = write.write_all(lines.as_bytes()).await;
            let piece = [b'x'; 16 << 10];
            for at in (0..bytes).step_by(piece.len()) {
                if write.write_all(&piece[..piece.len().min(bytes - at)]).await.is_err() {
                    break;
                }
            }
            let _ = write.flush().await;
            std::future::pending::<()>().await;
        };
        let mut buffer = Vec::new();
        tokio::select! {
            answer = async {
                loop {
                    match read_message(&mut read, &mut buffer, false).await {
                        Some(answer) if answer.status < 200 => {}
                        answer => return answer,
                    }
                }
            } => answer.map_or(0, |answer| answer.status),
            () = sending => unreachable!(),
        }
    }

    async fn ask_h2(client: &mut Raw, stream: u32, ask: &Ask) -> u16 {
        let Some(body) = ask.body else {
            client.frame(HEADERS, END_HEADERS | frames::END_STREAM, stream, &ask.block()).await;
            return status(client.outcome(stream).await);
        };
        client.frame(HEADERS, END_HEADERS, stream, &ask.block()).await;
        let mut room = [65_535_u32; 2];
        let (mut left, piece) = (body.bytes, [b'x'; 16 << 10]);
        loop {
            while left > 0 && room.iter().all(|room| *room >= 16 << 10) {
                let size = left.min(piece.len());
                left -= size;
                let is_last = left == 0 && body.bytes == body.length;
                client.frame(DATA, u8::from(is_last), stream, &piece[..size]).await;
                room = room.map(|room| room - 16 * 1024);
            }
            match client.soon().await {
                Some((WINDOW, _, of, payload)) => {
                    room[usize::from(of == stream)] += u32::from_be_bytes(payload.try_into().unwrap());
                }
                Some((HEADERS, _, of, payload)) if of == stream => {
                    return frames::status(&payload).parse().unwrap_or(1);
                }
                Some((RST | GOAWAY, ..)) | None => return 0,
                Some(_) => {}
            }
        }
    }

    /// Asks, and says what is not as it should be: the status, what the log says, what is held upstream.
    async fn is(&self, on: On, ask: Ask, expected: u16, reason: &str) -> Found {
        let ask = Ask { path: format!("{}/{on:?}", ask.path), ..ask };
        equal(self.ask(on, &ask).await, expected)?;
        self.is_told(&ask.path, reason).await
    }

    async fn is_told(&self, path: &str, reason: &str) -> Found {
        let line = self.proxy.log_line(|line| line["url.path"].as_str().is_some_and(|it| path.starts_with(it))).await;
        let line = if line["url.path"] == path { line } else { self.line(path, reason).await };
        equal(line["reason"].as_str().unwrap_or_default(), reason).map_err(|found| format!("{found}: {line}"))?;
        self.lets_go().await;
        Ok(())
    }

    /// The line of a request; of one whose head was not read, the line that tells of that.
    async fn line(&self, path: &str, reason: &str) -> serde_json::Value {
        self.proxy.log_line(|line| line["url.path"] == path || line["url.path"] == "" && line["reason"] == reason).await
    }

    /// Waits until nothing is held for this proxy at its upstreams.
    async fn lets_go(&self) {
        until_metric(&self.proxy, "tidegate_upstream_requests{upstream=\"upstream/a\"}", 0.0).await;
        until_none(&self.upstream.held).await;
    }
}

fn status(got: Got) -> u16 {
    match got {
        Got::Status(status) => status.parse().unwrap_or(1),
        Got::Reset | Got::Gone => 0,
    }
}
