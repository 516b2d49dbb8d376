//! Every limit of the conf, on every protocol on which docs/limits.md says that it holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames::{self, DATA, END_HEADERS, GOAWAY, Got, HEADERS, RST, Raw, SETTINGS, WINDOW};
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

/// How an upstream behaves, which is told by the first letter of the path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Answers at once.
    Answers,
    /// Reads, and says nothing.
    Silent,
    /// Reads the head only.
    Deaf,
    /// Sends a head byte by byte, without end.
    Drips,
    /// Sends interim answers without end.
    Interim,
    /// Sends an answer without end.
    Floods,
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

// === the upstream ===

struct Upstream {
    address: SocketAddr,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
    /// Those of them that have a request which is not answered well.
    held: Arc<AtomicUsize>,
}

async fn upstream() -> Upstream {
    let (open, held) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (open.clone(), held.clone());
    let address = raw_server(move |stream| {
        let (open, held) = counts.clone();
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            serve(stream, &held).await;
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    Upstream { address, open, held }
}

async fn until_none(count: &AtomicUsize) {
    while count.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(mut stream: TcpStream, held: &AtomicUsize) {
    let mut buffer = Vec::new();
    loop {
        let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if !stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
        buffer.drain(..at + 4);
        let manner = match head.split(' ').nth(1).unwrap_or_default() {
            path if path.starts_with("/silent") => Manner::Silent,
            path if path.starts_with("/deaf") => Manner::Deaf,
            path if path.starts_with("/drips") => Manner::Drips,
            path if path.starts_with("/interim") => Manner::Interim,
            path if path.starts_with("/floods") => Manner::Floods,
            _ => Manner::Answers,
        };
        if manner == Manner::Answers {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            continue;
        }
        held.fetch_add(usize::from(manner != Manner::Deaf), Ordering::SeqCst);
        behave(&mut stream, manner, head.to_lowercase().contains("upgrade")).await;
        held.fetch_sub(1, Ordering::SeqCst);
        return;
    }
}

/// Behaves in that manner until the proxy lets go.
async fn behave(stream: &mut TcpStream, manner: Manner, is_tunnel: bool) {
    if is_tunnel {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = stream.write_all(switch).await;
    }
    let (begin, piece, pause): (&[u8], &[u8], u64) = match manner {
        Manner::Drips => (b"HTTP/1.1 200 OK\r\nX: ", b"y", 10),
        Manner::Interim => (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 40),
        Manner::Floods if is_tunnel => (b"", &[b'x'; 64 << 10], 0),
        Manner::Floods => (b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 64 << 10], 0),
        // Behind bytes that nobody reads no end is seen.
        Manner::Deaf => return std::future::pending().await,
        Manner::Answers | Manner::Silent => (b"", b"", 1000),
    };
    let (mut read, mut write) = stream.split();
    let mut room = [0; 4096];
    let reading = async { while read.read(&mut room).await.is_ok_and(|count| count > 0) {} };
    let writing = async {
        let _ = write.write_all(begin).await;
        while write.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    tokio::select! { () = reading => {}, () = writing => {} }
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
            "connections" | "requests" => "2",
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
            ("timeouts", "head") => "read: 100ms, head: 200ms".to_owned(),
            ("timeouts", "send") => "read: 5s, send: 200ms".to_owned(),
            ("timeouts", _) => format!("{name}: {value}"),
            _ => String::new(),
        };
        let mute = raw_server(|stream| async move {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        let mut conf = format!(
            "defaults: {{ limits: {{ {limits} }}, timeouts: {{ {timeouts} }}, tries: 1 }}\nupstreams:\n  a: {{ endpoints: [ {{ address: \"{}\" }} ] }}\n  mute: {{ endpoints: [ {{ address: \"{mute}\" }} ], protocol: https, tls: {{ verify: false }} }}\n",
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
            "limits.connections" => self.too_many_connections(on).await,
            "limits.requests" | "limits.reserve" => self.too_many_requests(on).await,
            "limits.h2Streams" => self.too_many_streams().await,
            "limits.hops" => {
                let fields = vec![("cdn-loop".to_owned(), "tidegate".to_owned())];
                self.is(on, Ask { fields, ..Ask::get("/loop") }, 508, "loop_detected").await
            }
            "limits.h2Window" => self.more_than_the_window().await,
            "timeouts.connect" => self.is(on, Ask::get("/mute"), 504, "connect_timeout").await,
            "timeouts.read" if on == On::Tunnel => self.a_tunnel_ends("/silent", Talk::Says).await,
            "timeouts.read" => self.is(on, Ask::get("/silent"), 504, "upstream_timeout").await,
            "timeouts.head" => self.a_head_that_drips(on).await,
            "timeouts.send" if on == On::Tunnel => self.a_tunnel_ends("/deaf", Talk::Floods).await,
            "timeouts.send" => {
                let body = Some(Upload { length: 64 << 20, bytes: 64 << 20 });
                let begun = Instant::now();
                self.is(on, Ask { body, ..Ask::get("/deaf") }, 504, "upstream_timeout").await?;
                equal(begun.elapsed() < Duration::from_secs(5), true)
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

// === what a request may measure ===

impl House {
    async fn a_body_too_large(&self, on: On) -> Found {
        let body = Some(Upload { length: 11, bytes: 0 });
        self.is(on, Ask { body, ..Ask::get("/told") }, 413, "body_too_large").await?;
        if on == On::Http2 {
            // Without a length it is seen when it comes.
            let mut client = self.open_h2().await;
            client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/untold"))).await;
            client.frame(DATA, 0, 1, &[b'x'; 11]).await;
            return equal(client.outcome(1).await, Got::Status("413".into()));
        }
        let mut client = self.open(on).await;
        let chunk = "POST /untold HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nxxxxxxxxxxx\r\n";
        equal(client.send(chunk).await.map(|answer| answer.status), Some(413))
    }

    async fn a_head_too_large(&self, on: On) -> Found {
        let fields = vec![("x-large".to_owned(), "y".repeat(3000))];
        self.is(on, Ask { fields, ..Ask::get("/large") }, 431, "headers_too_large").await?;
        if on == On::Http2 {
            return self.a_head_of_frames_without_end().await;
        }
        for piece in [&b"y"[..], b"Y: y\r\n"] {
            let mut client = self.open(on).await;
            client.stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\nX: ").await.unwrap();
            // As much as an eager client has on its way before it hears the answer.
            let _ = client.stream.write_all(&piece.repeat(20_000 / piece.len())).await;
            let _ = client.stream.flush().await;
            equal(client.read().await.map(|answer| answer.status), Some(431))?;
        }
        let early = |line: &serde_json::Value| line["url.path"] == "" && line["reason"] == "headers_too_large";
        let line = self.proxy.log_line(early).await;
        let read = line["http.request.size"].as_u64().unwrap();
        if read > 2048 + 16 * 1024 { Err(format!("{read} bytes were read of a head: {line}")) } else { Ok(()) }
    }

    /// Frames of a head that go on and on end the connection.
    async fn a_head_of_frames_without_end(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, 0, 1, &frames::block(&head("GET", "/"))).await;
        let piece = frames::block(&[("x", &"y".repeat(16_000))]);
        let mut sent = 0;
        while client.frame(9, 0, 1, &piece).await && sent < 100 {
            sent += 1;
        }
        equal(client.outcome(1).await, Got::Gone)
    }

    async fn a_target_too_long(&self, on: On) -> Found {
        let path = format!("/{}", "x".repeat(2000));
        self.is(on, Ask::get(&path), 414, "uri_too_long").await?;
        if on == On::Http2 {
            return Ok(());
        }
        let mut client = self.open(on).await;
        client.stream.write_all(&[b"GET /".as_slice(), &[b'x'; 20_000]].concat()).await.unwrap();
        client.stream.flush().await.unwrap();
        equal(client.read().await.map(|answer| answer.status), Some(414))
    }
}

// === what a client must send and read ===

impl House {
    async fn a_head_that_does_not_come(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            let answer = client.send("GET /half HTTP/1.1\r\nHost: a.test\r\n").await;
            return equal(answer.map(|answer| answer.status), Some(408));
        }
        // A stream that waits keeps the connection from being idle.
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 1, &frames::block(&head("GET", "/silent"))).await;
        client.frame(HEADERS, 0, 3, &frames::block(&head("GET", "/half"))).await;
        let begun = Instant::now();
        while client.next().await.is_some() {}
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("it was something else that ended it".into());
        }
        let timeouts = "tidegate_connection_failures_total{listener=\"https\",reason=\"timeout_header\"}";
        if metrics(&self.proxy).await[timeouts] < 1.0 { Err("not counted".into()) } else { Ok(()) }
    }

    async fn a_body_that_does_not_come(&self, on: On) -> Found {
        let body = Some(Upload { length: 1000, bytes: 1 });
        self.is(on, Ask { body, ..Ask::get("/silent-body") }, 408, "body_timeout").await?;
        // A drip is below the rate: a byte each 50 ms is a fifth of it.
        if on == On::Http2 {
            return self.a_stream_that_drips_beside_another().await;
        }
        let (mut read, mut write) = tokio::io::split(self.open(on).await.stream);
        let lines = Ask { body, ..Ask::get("/silent-drip") }.lines();
        let dripping = async {
            let _ = write.write_all(lines.as_bytes()).await;
            while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut buffer = Vec::new();
        let answer = tokio::select! {
            answer = read_message(&mut read, &mut buffer, false) => answer,
            () = dripping => unreachable!(),
        };
        equal(answer.map(|answer| answer.status), Some(408))?;
        self.lets_go().await;
        Ok(())
    }

    async fn a_stream_that_drips_beside_another(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/silent-drip"))).await;
        let got = loop {
            client.frame(DATA, 0, 1, b"x").await;
            if let Ok(Some((kind, _, 1, _))) = tokio::time::timeout(Duration::from_millis(50), client.next()).await {
                break kind;
            }
        };
        equal(got, HEADERS)?;
        equal(Self::ask_h2(&mut client, 3, &Ask::get("/beside")).await, 200)?;
        self.lets_go().await;
        Ok(())
    }

    async fn an_idle_connection(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            return equal(client.read().await.is_none(), true);
        }
        for (kind, payload) in [(6, &[0; 8][..]), (SETTINGS, &[]), (2, &[0, 0, 0, 0, 1])] {
            let mut client = self.open_h2().await;
            equal(Self::ask_h2(&mut client, 1, &Ask::get("/")).await, 200)?;
            let stream = if kind == 2 { 101 } else { 0 };
            loop {
                client.frame(kind, 0, stream, payload).await;
                match tokio::time::timeout(Duration::from_millis(20), client.next()).await {
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn an_answer_that_is_not_read(&self, on: On) -> Found {
        let path = format!("/floods/{on:?}");
        match on {
            On::Tunnel => return self.a_tunnel_ends("/floods", Talk::Stalls).await,
            On::Http1 | On::Tls => {
                let mut client = self.open(on).await;
                client.stream.write_all(Ask::get(&path).lines().as_bytes()).await.unwrap();
                client.stream.flush().await.unwrap();
                self.is_told(&path, "client_closed").await?;
            }
            On::Http2 => {
                let mut client = self.open_h2().await;
                client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 1, &frames::block(&head("GET", &path))).await;
                while !matches!(client.soon().await, Some((RST, _, 1, _))) {}
                // The window of the connection is another one's business.
                client.frame(WINDOW, 0, 0, &(1_u32 << 20).to_be_bytes()).await;
                equal(Self::ask_h2(&mut client, 3, &Ask::get("/beside")).await, 200)?;
                self.is_told(&path, "client_closed").await?;
            }
        }
        Ok(())
    }

    /// A tunnel is closed on both sides, whatever the client does.
    async fn a_tunnel_ends(&self, path: &str, talk: Talk) -> Found {
        let mut client = self.open(On::Http1).await;
        let lines = format!("GET {path}/tunnel HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n");
        equal(client.send(&lines).await.map(|answer| answer.status), Some(101))?;
        let (mut read, mut write) = tokio::io::split(client.stream);
        let talking = async {
            let _ = write.write_all(b"hello").await;
            while talk == Talk::Floods && write.write_all(&[b'x'; 64 << 10]).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut room = [0; 1024];
        tokio::select! {
            () = talking => {}
            () = async { while talk != Talk::Stalls && read.read(&mut room).await.is_ok_and(|count| count > 0) {} },
                if talk != Talk::Stalls => {}
            () = self.until_tunnel_is_over(path) => {}
        }
        self.until_tunnel_is_over(path).await;
        self.lets_go().await;
        Ok(())
    }

    async fn until_tunnel_is_over(&self, path: &str) {
        let path = format!("{path}/tunnel");
        self.proxy.log_line(|line| line["url.path"] == path).await;
    }
}

// === how many there may be ===

impl House {
    async fn requests_of_a_connection(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            return equal(client.get("a.test", "/").await.is_none(), true);
        }
        let mut client = self.open_h2().await;
        equal(Self::ask_h2(&mut client, 1, &Ask::get("/")).await, 200)?;
        client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 3, &frames::block(&head("GET", "/"))).await;
        let (mut is_answered, mut is_told) = (false, false);
        while let Some((kind, flags, stream, payload)) = client.soon().await {
            is_answered |= kind == HEADERS && stream == 3;
            is_told |= kind == GOAWAY && payload[4..8] == [0; 4];
            if kind == 6 && flags == 0 {
                client.frame(6, 1, 0, &payload).await;
            }
        }
        equal((is_answered, is_told), (true, true))
    }

    async fn too_many_connections(&self, on: On) -> Found {
        let series = "tidegate_capacity_used{resource=\"connections\"}";
        until_metric(&self.proxy, series, 0.0).await;
        let _held = (self.open(On::Http1).await, self.open(On::Http1).await);
        until_metric(&self.proxy, series, 2.0).await;
        if on == On::Http1 {
            let mut client = self.open(on).await;
            return equal(client.get("a.test", "/").await.is_none(), true);
        }
        let protocol = if on == On::Http2 { "h2" } else { "http/1.1" };
        equal(tls(self.proxy.https(), "a.test", &[protocol]).await.is_err(), true)
    }

    /// Two requests are all that there is, or half of what there is.
    async fn too_many_requests(&self, on: On) -> Found {
        let mut held = (self.open(On::Http1).await, self.open(On::Http1).await);
        for client in [&mut held.0, &mut held.1] {
            client.stream.write_all(Ask::get("/silent").lines().as_bytes()).await.unwrap();
        }
        until_metric(&self.proxy, "tidegate_upstream_requests{upstream=\"upstream/a\"}", 2.0).await;
        equal(self.ask(on, &Ask::get(&format!("/over/{on:?}"))).await, 503)?;
        drop(held);
        self.is_told(&format!("/over/{on:?}"), "over_share").await
    }

    async fn too_many_streams(&self) -> Found {
        let mut client = self.open_h2().await;
        for stream in [1, 3, 5, 7] {
            let block = frames::block(&head("GET", "/silent"));
            client.frame(HEADERS, END_HEADERS | frames::END_STREAM, stream, &block).await;
        }
        while let Some((kind, _, stream, payload)) = client.soon().await {
            if kind == RST {
                return equal((stream, payload), (7, vec![0, 0, 0, 7]));
            }
        }
        Err("the connection has ended".into())
    }

    async fn more_than_the_window(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/deaf"))).await;
        for _ in 0..8 {
            client.frame(DATA, 0, 1, &[b'x'; 4096]).await;
            client.frame(DATA, 0, 1, &[b'x'; 16_384]).await;
        }
        equal(client.outcome(1).await, Got::Gone)
    }
}

// === what an upstream must do ===

impl House {
    async fn a_head_that_drips(&self, on: On) -> Found {
        self.is(on, Ask::get("/drips"), 504, "upstream_timeout").await?;
        self.is(on, Ask::get("/interim"), 504, "upstream_timeout").await?;
        let body = Some(Upload { length: 4, bytes: 4 });
        self.is(on, Ask { body, ..Ask::get("/drips/body") }, 504, "upstream_timeout").await?;
        if on == On::Http2 {
            return Ok(());
        }
        // A client that has already sent its next request is not waited for either.
        let mut client = self.open(on).await;
        let lines = Ask::get("/drips/first").lines();
        client.stream.write_all((lines.clone() + &lines).as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        client.stream.write_all(lines.as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        equal(client.read().await.map(|answer| answer.status), Some(504))
    }

    async fn an_idle_upstream_connection(&self, on: On) -> Found {
        equal(self.ask(on, &Ask::get("/kept")).await, 200)?;
        until_none(&self.upstream.open).await;
        Ok(())
    }

    async fn endpoints_that_do_not_come(&self, on: On) -> Found {
        let begun = Instant::now();
        self.is(on, Ask::get("/dead"), 502, "connect_failed").await?;
        let took = begun.elapsed();
        if took < Duration::from_millis(300) { Err(format!("after {took:?}")) } else { Ok(()) }
    }
}
