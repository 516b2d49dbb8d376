//! HTTP/2 clients that mean harm: raw frames over TLS.

use std::time::Duration;

use super::*;
use crate::support::frames::*;

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
    while raw.soon().await.expect("GOAWAY before the end").0 != GOAWAY {}
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
