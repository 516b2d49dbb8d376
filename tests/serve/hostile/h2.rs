//! HTTP/2 clients that mean harm: raw frames over TLS.

use std::time::Duration;

use tokio_rustls::client::TlsStream;

use super::*;

const HEADERS: u8 = 1;
const RST: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// A connection whose frames are written by hand.
struct Raw {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// A frame: type, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

/// What came of a request.
#[derive(Debug, PartialEq)]
enum Got {
    Status(String),
    Reset,
    Gone,
}

impl Raw {
    /// Opens a connection with these settings.
    async fn open(proxy: &Proxy, settings: &[(u16, u32)]) -> Self {
        let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
        let mut raw = Self { stream, buffer: Vec::new() };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        raw.frame(SETTINGS, 0, 0, &payload).await;
        raw
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        let write = async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() };
        tokio::time::timeout(PATIENCE, write).await.unwrap_or(false)
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write(&[&head, payload].concat()).await
    }

    /// Sends a request without body; fields as literals without indexing.
    async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.frame(HEADERS, 0x5, stream, &block(fields)).await
    }

    /// The next frame; `None`: the connection has ended.
    async fn next(&mut self) -> Option<Frame> {
        let read = async {
            loop {
                if let [a, b, c, kind, flags, s0, s1, s2, s3, rest @ ..] = &self.buffer[..] {
                    let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                    if let Some(payload) = rest.get(..length) {
                        let frame = (*kind, *flags, u32::from_be_bytes([*s0, *s1, *s2, *s3]), payload.to_vec());
                        self.buffer.drain(..9 + length);
                        return Some(frame);
                    }
                }
                if !self.stream.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0) {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame or the end")
    }

    /// Waits for what becomes of a stream.
    async fn outcome(&mut self, stream: u32) -> Got {
        while let Some((kind, _, of, payload)) = self.next().await {
            match kind {
                HEADERS if of == stream => return Got::Status(status(&payload)),
                RST if of == stream => return Got::Reset,
                GOAWAY if payload.get(4..8) != Some(&[0; 4]) => return Got::Gone,
                _ => {}
            }
        }
        Got::Gone
    }
}

/// A header block of literals that need no table (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = text.chars().count();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).unwrap());
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend(text.chars().map(|c| u8::try_from(c).unwrap()));
        }
    }
    block
}

/// The status of an answer, which comes first in its block: indexed, or a literal with an indexed name.
fn status(block: &[u8]) -> String {
    match block {
        [0x88, ..] => "200".into(),
        [0x89, ..] => "204".into(),
        [0x8c, ..] => "400".into(),
        [0x8d, ..] => "404".into(),
        [0x48, 0x03, digits @ ..] => latin1(&digits[..3]),
        [0x48, length, code @ ..] => huffman_digits(&code[..usize::from(length & 0x7f)]),
        other => format!("{:02x?}", &other[..other.len().min(8)]),
    }
}

/// Three digits in the code of RFC 7541 appendix B: 0 to 2 have five bits, the others six.
fn huffman_digits(code: &[u8]) -> String {
    let bits: Vec<u8> = code.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut text, mut at) = (String::new(), 0);
    while text.len() < 3 {
        let short = value(&bits[at..at + 5]);
        let (digit, length) = if short < 3 { (short, 5) } else { (value(&bits[at..at + 6]) - 0x19 + 3, 6) };
        text.push(char::from(b'0' + digit));
        at += length;
    }
    text
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")];

/// The request with fields added, or pseudo-headers replaced.
fn with(fields: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = GET.into_iter().filter(|(name, _)| !fields.iter().any(|(new, _)| new == name)).collect();
    let (pseudo, rest): (Vec<_>, Vec<_>) = fields.iter().copied().partition(|(name, _)| name.starts_with(':'));
    all.extend(pseudo.into_iter().chain(rest));
    all
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|(other, _)| *other != name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubtful_requests_never_reach_the_upstream() {
    let (proxy, recorder) = start(OPEN).await;
    let mut vectors = vec![
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        [&GET[..], &[(":method", "POST")]].concat(),
        [&GET[..], &[(":path", "/y")]].concat(),
        [&GET[..], &[(":authority", "b.test")]].concat(),
        [&[("x-a", "b")], &GET[..]].concat(),
        [&GET[..], &[("x-a", "b"), (":path", "/y")]].concat(),
    ];
    for field in [
        (":status", "200"),
        (":evil", "1"),
        (":path", ""),
        (":path", "x"),
        (":path", "*"),
        (":path", "/a b"),
        (":path", "/a\r\nb"),
        (":path", "/../x"),
        (":path", "/a%2fb"),
        (":path", "/\0"),
        (":path", "http://b.test/"),
        (":method", "G T"),
        (":method", ""),
        (":method", "TRACE"),
        (":method", "GET / HTTP/1.1\r\nX: y"),
        (":authority", ""),
        (":authority", "u@a.test"),
        (":authority", "a.test, b.test"),
        (":authority", "a.test/x"),
        (":authority", "a.test:0"),
        (":authority", "a test"),
        (":authority", "a.test\r\nX: y"),
        ("host", "b.test"),
        ("X-Upper", "1"),
        ("x a", "1"),
        ("x-a:", "1"),
        ("", "1"),
        ("x\r\ny", "1"),
        ("x-a", "b\r\nX-Evil: 1"),
        ("x-a", "b\0"),
        ("x-a", "b\nc"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "5"),
        ("content-length", "x"),
        (":protocol", "websocket"),
    ] {
        vectors.push(with(&[field]));
    }
    vectors.push(with(&[("content-length", "0"), ("content-length", "1")]));
    vectors.push(with(&[("host", "a.test"), ("host", "b.test")]));
    let mut faults = Vec::new();
    for vector in &vectors {
        let before = recorder.seen().len();
        let mut raw = Raw::open(&proxy, &[]).await;
        raw.request(1, vector).await;
        let got = raw.outcome(1).await;
        let is_healthy = probe(&proxy).await;
        let seen = recorder.whole_since(before);
        let is_refused = match &got {
            Got::Status(status) => status.starts_with('4'),
            Got::Reset | Got::Gone => true,
        };
        if !is_refused || !seen.is_empty() || !is_healthy {
            faults.push(format!(
                "{vector:?}: {got:?}, upstream saw {:?}",
                seen.iter().map(|seen| &seen.head).collect::<Vec<_>>()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_requests_reach_the_upstream_in_the_form_of_http1() {
    let (proxy, recorder) = start(OPEN).await;
    let mut raw = Raw::open(&proxy, &[]).await;
    let fields = with(&[
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("host", "a.test"),
        ("x-forwarded-for", "evil"),
    ]);
    raw.request(1, &fields).await;
    assert_eq!(raw.outcome(1).await, Got::Status("200".into()));
    let seen = recorder.whole_since(0).remove(0);
    assert_eq!(seen.fault(), None);
    assert_eq!((seen.values("cookie"), seen.values("host")), (vec!["a=1; b=2"], vec!["a.test"]));
    assert!(!seen.head.contains("evil"), "{}", seen.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_their_own_connection_only() {
    let (proxy, _recorder) = start(OPEN).await;
    let mut reset = Raw::open(&proxy, &[]).await;
    let mut sent = 0;
    for stream in (1..40_000).step_by(2) {
        let rapid = reset.request(stream, &GET).await && reset.frame(RST, 0, stream, &8u32.to_be_bytes()).await;
        if !rapid {
            break;
        }
        sent += 1;
    }
    assert!(sent < 19_000, "a loop of resets is ended");
    let mut big = Raw::open(&proxy, &[]).await;
    let value: &'static str = Box::leak("b".repeat(16_000).into_boxed_str());
    big.frame(HEADERS, 0x1, 1, &block(&GET)).await;
    for _ in 0..100 {
        // CONTINUATION without end.
        if !big.frame(9, 0, 1, &block(&[("x-a", value)])).await {
            break;
        }
    }
    assert_ne!(big.outcome(1).await, Got::Status("200".into()));
    let mut many = Raw::open(&proxy, &[]).await;
    for stream in (1..61).step_by(2) {
        // Heads without end of stream stay open.
        if !many.frame(HEADERS, 0x4, stream, &block(&with(&[(":method", "POST")]))).await {
            break;
        }
    }
    assert_ne!(many.outcome(59).await, Got::Status("200".into()), "more streams than allowed are refused");
    assert!(probe(&proxy).await);
}

async fn big_upstream() -> SocketAddr {
    raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        while read_message(&mut stream, &mut buffer, true).await.is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n").await;
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..50 {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// A client that opens no window for a large answer is cut, on HTTP/2 as on HTTP/1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_are_cut() {
    let address = big_upstream().await;
    let conf = format!(
        "defaults: {{ limits: {{ sendTimeout: 300ms }} }}\nupstreams: {{ big: {{ endpoints: [ {{ address: \"{address}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: big }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut stalled = Raw::open(&proxy, &[(4, 0)]).await;
    stalled.request(1, &with(&[(":path", "/h2")])).await;
    assert_eq!(stalled.outcome(1).await, Got::Status("200".into()));
    assert_ne!(stalled.outcome(1).await, Got::Status("200".into()), "the stream or the connection ends");
    let mut plain = Connection::open(proxy.http()).await;
    plain.stream.write_all(b"GET /h1 HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    for path in ["/h2", "/h1"] {
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], "client_closed", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_goaway() {
    let (proxy, _recorder) = start(OPEN).await;
    let mut raw = Raw::open(&proxy, &[]).await;
    raw.request(1, &GET).await;
    assert_eq!(raw.outcome(1).await, Got::Status("200".into()));
    let stopping = tokio::spawn(async move {
        proxy.running.stop().await;
        proxy.folder
    });
    while raw.next().await.expect("GOAWAY before the end").0 != GOAWAY {}
    drop(raw);
    stopping.await.unwrap();
}

/// A body that never ends is bounded by the wait for the upstream, which never answers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_stalled_connections_are_closed() {
    let (proxy, _recorder) = start("  - { backends: [ { upstream: a } ], timeouts: { read: 300ms } }\n").await;
    let mut idle = Raw::open(&proxy, &[]).await;
    idle.request(1, &GET).await;
    assert_eq!(idle.outcome(1).await, Got::Status("200".into()));
    assert_eq!(idle.outcome(1).await, Got::Gone);
    let mut stalled = Raw::open(&proxy, &[]).await;
    stalled.frame(HEADERS, 0x4, 1, &block(&with(&[(":method", "POST")]))).await;
    assert_ne!(stalled.outcome(1).await, Got::Status("200".into()), "a body that never comes has a limit");
    tokio::time::timeout(Duration::from_secs(10), probe(&proxy)).await.unwrap();
}
