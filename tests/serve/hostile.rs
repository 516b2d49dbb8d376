//! Clients that mean harm: what they get, and what the upstream saw of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

#[path = "hostile/early.rs"]
mod early;
#[path = "hostile/fields.rs"]
mod fields;
#[path = "hostile/h2.rs"]
mod h2_clients;
#[path = "hostile/loops.rs"]
mod loops;
#[path = "hostile/paths.rs"]
mod paths;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/slow.rs"]
mod slow;
#[path = "hostile/trusted.rs"]
mod trusted;

/// What follows a vector on its connection, and what is asked on another one after it.
const AFTER: &str = "/after-it";
const PROBE: &str = "/probe";

/// An upstream that keeps the exact bytes of every request, and answers 200 to whatever it understands.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request as an upstream saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
    /// Whether it ended as its framing promised.
    pub is_whole: bool,
}

// === impl Recorder ===

impl Recorder {
    pub async fn start() -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let list = seen.clone();
        let address = raw_server(move |stream| {
            let list = list.clone();
            async move { record(stream, &list).await }
        })
        .await;
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Whole requests since `from`, but for those that the tests themselves ask with.
    pub fn whole_since(&self, from: usize) -> Vec<Seen> {
        let own = |seen: &Seen| seen.target() == AFTER || seen.target() == PROBE;
        self.seen().into_iter().skip(from).filter(|seen| seen.is_whole && !own(seen)).collect()
    }
}

async fn record(mut stream: TcpStream, list: &Mutex<Vec<Seen>>) {
    let mut buffer = Vec::new();
    loop {
        let mut seen = Seen::default();
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                seen.head = latin1(&buffer);
                if !buffer.is_empty() {
                    list.lock().unwrap().push(seen);
                }
                return;
            }
        };
        seen.head = latin1(&buffer.drain(..end).collect::<Vec<_>>());
        seen.is_whole = record_body(&mut stream, &mut buffer, &mut seen).await;
        let (is_whole, length) = (seen.is_whole, seen.target().len());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", seen.target());
        let answer = if seen.head.starts_with("HEAD ") { answer[..answer.len() - length].to_owned() } else { answer };
        list.lock().unwrap().push(seen);
        if !is_whole || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn record_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, seen: &mut Seen) -> bool {
    if seen.values("transfer-encoding") == ["chunked"] {
        loop {
            let Some(line) = take_line(stream, buffer).await else { return false };
            let Ok(length) = usize::from_str_radix(&line, 16) else { return false };
            let Some(piece) = take(stream, buffer, length).await else { return false };
            seen.body.extend(piece);
            if take_line(stream, buffer).await.as_deref() != Some("") {
                return false;
            }
            if length == 0 {
                return true;
            }
        }
    }
    let length = seen.values("content-length").first().map_or(Ok(0), |value| value.parse());
    let Ok(length) = length else { return false };
    let Some(body) = take(stream, buffer, length).await else { return false };
    seen.body = body;
    true
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        stream.read_buf(buffer).await.ok().filter(|count| *count > 0)?;
    }
    Some(buffer.drain(..length).collect())
}

async fn take_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line = latin1(&buffer[..at]);
            buffer.drain(..at + 2);
            return Some(line);
        }
        stream.read_buf(buffer).await.ok().filter(|count| *count > 0)?;
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

// === impl Seen ===

impl Seen {
    pub fn target(&self) -> String {
        self.head.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Names of its fields.
    pub fn names(&self) -> Vec<&str> {
        self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
    }

    /// What is wrong with it, if no two readers can take it differently.
    pub fn fault(&self) -> Option<String> {
        let is_token = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        let mut lines = self.head.trim_end_matches("\r\n").split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let is_line = matches!(words[..], [method, target, "HTTP/1.1"] if is_token(method) && target.starts_with(['/', '*']) && target.bytes().all(|byte| byte.is_ascii_graphic()));
        if !is_line {
            return Some(format!("request line {words:?}"));
        }
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { return Some(format!("field {line:?}")) };
            let is_value = value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\u{7f}'));
            if !is_token(name) || name.contains('_') || !is_value {
                return Some(format!("field {line:?}"));
            }
        }
        let (lengths, codings) = (self.values("content-length"), self.values("transfer-encoding"));
        let is_framed = match (&lengths[..], &codings[..]) {
            ([], []) | ([], ["chunked"]) => true,
            ([length], []) => length.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        };
        (!is_framed || self.values("host").len() != 1).then(|| format!("framing or host {:?}", self.head))
    }
}

/// A proxy with short limits in front of a recording upstream; `conf` goes before its one upstream, `a`.
async fn start(routes: &str) -> (Proxy, Recorder) {
    let recorder = Recorder::start().await;
    let conf = format!(
        "defaults: {{ limits: {{ headerTimeout: 500ms, bodyTimeout: 300ms, keepAliveTimeout: 500ms, sendTimeout: 500ms, headers: 16KiB, headerCount: 50, uri: 4KiB, h2Streams: 20 }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n{routes}",
        recorder.address
    );
    (Proxy::start(&conf, &[]).await, recorder)
}

const OPEN: &str = "  - { backends: [ { upstream: a } ] }\n";

/// Sends bytes, then one plain request if the connection is kept; gives the answers until it closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<Response> {
    let mut connection = Connection::open(address).await;
    let talk = async {
        let mut answers = Vec::new();
        let _ = connection.stream.write_all(bytes).await;
        while let Some(answer) = read_message(&mut connection.stream, &mut connection.buffer, false).await {
            answers.push(answer);
            if answers.len() == 1 {
                let after = format!("GET {AFTER} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                let _ = connection.stream.write_all(after.as_bytes()).await;
            }
        }
        answers
    };
    let name = latin1(&bytes[..bytes.len().min(200)]);
    tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| panic!("never closed after {name:?}"))
}

/// One request of the test's own; all that came before has reached the upstream when it is answered.
async fn probe(proxy: &Proxy) -> bool {
    let answer = get(proxy.http(), "a.test", PROBE).await;
    answer.status == 200 && answer.text() == PROBE
}

/// Changes the conf in one step, and waits until a request is answered with that status.
async fn reconfigure(proxy: &Proxy, change: impl Fn(&str) -> String, ask: &str, status: u16) {
    let file = proxy.folder.path().join("tidegate.yaml");
    let new = proxy.folder.path().join("new.yaml");
    std::fs::write(&new, change(&std::fs::read_to_string(&file).unwrap())).unwrap();
    std::fs::rename(new, file).unwrap();
    let asking = async { while request(proxy.http(), ask).await.status != status {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the change goes live");
}
