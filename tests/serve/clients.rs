//! Clients that are slow, broken or hostile.

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn proxy_with_short_limits() -> Proxy {
    let echo = Echo::start("a").await;
    let conf = format!(
        r#"
defaults:
  limits: {{ headerTimeout: 300ms, bodyTimeout: 300ms, keepAliveTimeout: 300ms, sendTimeout: 500ms, connections: 50 }}
upstreams: {{ a: {{ endpoints: [ {{ address: "{}" }} ] }} }}
routes: [ {{ backends: [ {{ upstream: a }} ] }} ]
"#,
        echo.address
    );
    Proxy::start(&conf, &[]).await
}

/// Waits until the proxy closes the connection, and returns what it sent before.
async fn until_closed(connection: &mut Connection) -> String {
    let mut rest = Vec::new();
    let read = connection.stream.read_to_end(&mut rest);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the proxy closes the connection");
    String::from_utf8_lossy(&rest).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_dripping_heads_are_cut() {
    let proxy = proxy_with_short_limits().await;
    let mut silent = Connection::open(proxy.http()).await;
    until_closed(&mut silent).await;
    let mut half = Connection::open(proxy.http()).await;
    half.stream.write_all(b"GET / HTTP/1.1\r\nHost: a").await.unwrap();
    until_closed(&mut half).await;
    let mut drip = Connection::open(proxy.http()).await;
    let (mut read, mut write) = drip.stream.split();
    let dripping = async {
        for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Drip: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let mut sink = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = read.read_to_end(&mut sink) => {}
        () = tokio::time::sleep(PATIENCE) => panic!("a dripping head was never cut"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_half_sent_requests_on_kept_connections_are_cut() {
    let proxy = proxy_with_short_limits().await;
    let mut idle = Connection::open(proxy.http()).await;
    assert_eq!(idle.get("a.test", "/").await.unwrap().status, 200);
    until_closed(&mut idle).await;
    let mut half = Connection::open(proxy.http()).await;
    assert_eq!(half.get("a.test", "/").await.unwrap().status, 200);
    half.stream.write_all(b"GET /x HT").await.unwrap();
    until_closed(&mut half).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stalls_is_answered_408_or_cut() {
    let proxy = proxy_with_short_limits().await;
    let mut stalled = Connection::open(proxy.http()).await;
    stalled.stream.write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    let rest = until_closed(&mut stalled).await;
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    let line = proxy.log_line(|line| line["http.request.method"] == "POST").await;
    assert_eq!(line["reason"], "body_timeout", "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_cap_are_closed_and_later_ones_served() {
    let proxy = proxy_with_short_limits().await;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(Connection::open(proxy.http()).await);
    }
    drop(held);
    proxy.until("a.test", "/", |response| response.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_and_harm_nobody() {
    let proxy = proxy_with_short_limits().await;
    let heads: &[&[u8]] = &[
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a.test\r\n\r\n",
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\r\n\r\n\0\0\0\0",
    ];
    for head in heads {
        let mut connection = Connection::open(proxy.http()).await;
        connection.stream.write_all(head).await.unwrap();
        let rest = until_closed(&mut connection).await;
        let first = rest.lines().next().unwrap_or_default();
        assert!(
            first.is_empty() || first.contains(" 400 ") || first.contains(" 405 "),
            "{:?}: {first}",
            String::from_utf8_lossy(head)
        );
    }
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_early_is_logged_as_such() {
    let slow = raw_server(|mut stream| async move {
        let _ = read_message(&mut stream, &mut Vec::new(), true).await;
        std::future::pending::<()>().await;
    })
    .await;
    let conf = format!(
        "upstreams: {{ s: {{ endpoints: [ {{ address: \"{slow}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: s }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut connection = Connection::open(proxy.http()).await;
    connection.stream.write_all(b"GET /leave HTTP/1.1\r\nHost: s.test\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while metrics(&proxy)
            .await
            .iter()
            .all(|(name, value)| !name.starts_with("tidegate_connections") || *value < 1.0)
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    drop(connection);
    let line = proxy.log_line(|line| line["url.path"] == "/leave").await;
    assert_eq!(line["reason"], "client_closed", "{line}");
}
