//! HTTP/2 with prior knowledge in the clear (RFC 9113 section 3.3).

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn plain(conf: &str) -> Proxy {
    let own = "routes:\n  - { respond: { status: 200, body: own } }\n";
    Proxy::start(&format!("{conf}{own}"), &[]).await
}

async fn get_by(mut client: h2::client::SendRequest<Bytes>) -> u16 {
    let ask = http::Request::get("http://own.test/x").body(()).unwrap();
    let (answer, _) = client.send_request(ask, true).unwrap();
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap().status().as_u16()
}

/// What is read until the connection ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let reading = async { while stream.read_buf(&mut got).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, reading).await.expect("the end");
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_listener_speaks_what_its_client_does() {
    let proxy = plain("").await;
    let stream = TcpStream::connect(proxy.http()).await.unwrap();
    assert_eq!(get_by(client(stream).await).await, 200);
    let line = proxy.log_line(|line| line["url.path"] == "/x").await;
    assert_eq!((&line["network.protocol.version"], &line["url.scheme"]), (&"2".into(), &"http".into()), "{line}");
    // Shorter than the preface, and beginning like it.
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "P / HTTP/1.0\r\n\r\n",
        "PRI / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut connection = Connection::open(proxy.http()).await;
        for byte in request.bytes() {
            connection.stream.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(connection.read().await.unwrap().text(), "own", "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preface_may_come_in_pieces() {
    let proxy = plain("").await;
    let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in PREFACE {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(&frames::frame(frames::SETTINGS, 0, 0, &[])).await.unwrap();
    let mut got = Vec::new();
    assert!(
        comes(&mut stream, &mut got, &[frames::SETTINGS, 1, 0, 0, 0, 0]).await,
        "its settings are acknowledged: {got:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_preface_has_the_time_of_a_head() {
    let proxy = plain("defaults: { limits: { headerTimeout: 200ms } }\n").await;
    for (sent, answer) in [(&PREFACE[..0], &b""[..]), (&PREFACE[..10], b"HTTP/1.1 408 "), (&PREFACE[..24], b"")] {
        let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let got = rest(&mut stream).await;
        let is_http1 = got.starts_with(b"HTTP/1.1");
        assert!(got.starts_with(answer) && is_http1 != answer.is_empty(), "{sent:?}: {got:?}");
    }
    until_metric(&proxy, "tidegate_connection_failures_total{listener=\"http\",reason=\"timeout_header\"}", 3.0).await;
}

/// RFC 9113 section 3.1: the upgrade from HTTP/1.1 is no more, and who asks for it gets HTTP/1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_to_h2c_is_ignored() {
    let echo = Echo::start("a").await;
    let proxy = start(echo.address, dead_address().await, "").await;
    let fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    let mut connection = Connection::open(proxy.http()).await;
    let answer = connection.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).await.unwrap();
    assert_eq!(answer.status, 200);
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(answer.seen(name), None, "{name}");
    }
    assert_eq!(connection.get("a.test", "/").await.unwrap().status, 200, "the connection stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_may_speak_one_of_both_only() {
    let listeners = "listeners:\n  - { name: http, address: \"127.0.0.1:0\", protocol: http1 }\n  - { name: https, address: \"127.0.0.1:0\", protocol: h2c }\n";
    let proxy = plain(listeners).await;
    let (http1, h2c) = (proxy.http(), proxy.https());
    assert_eq!(get(http1, "own.test", "/").await.status, 200);
    let mut stream = TcpStream::connect(http1).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(get_by(client(TcpStream::connect(h2c).await.unwrap()).await).await, 200);
    let mut stream = TcpStream::connect(h2c).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(!rest(&mut stream).await.starts_with(b"HTTP/1.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_goaway_in_the_clear_too() {
    let proxy = plain("shutdown: { delay: 0s, timeout: 30s }\n").await;
    let mut raw = frames::Frames::client(TcpStream::connect(proxy.http()).await.unwrap(), &[]).await;
    while raw.soon().await.unwrap().0 != frames::SETTINGS {}
    let mut silent = TcpStream::connect(proxy.http()).await.unwrap();
    until_metric(&proxy, "tidegate_connections{listener=\"http\",state=\"active\"}", 2.0).await;
    let stopping = proxy.running.stop();
    // Its connection ends with it, and the drain with that.
    let heard = async move {
        while let Some((kind, ..)) = raw.soon().await {
            if kind == frames::GOAWAY {
                return true;
            }
        }
        false
    };
    let (_, heard, got) = tokio::join!(stopping, heard, rest(&mut silent));
    assert!(heard && got.is_empty());
}
