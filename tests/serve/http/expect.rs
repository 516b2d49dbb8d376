//! Clients that wait for 100 before they send their body (RFC 9110 section 10.1.1).

use std::time::Instant;

use super::*;

const HEAD: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n";

/// Answers before it reads any body.
async fn refusing() -> (SocketAddr, SocketAddr) {
    let http1 = raw_server(|mut stream| async move {
        let mut head = Vec::new();
        if comes(&mut stream, &mut head, b"\r\n\r\n").await {
            let _ =
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").await;
            let _ = stream.read_to_end(&mut head).await;
        }
    })
    .await;
    let h2 = http2(|_asked, mut respond| async move {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::FORBIDDEN;
        respond.send_response(head, false).unwrap().send_data("no".into(), true).unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    (http1, h2)
}

/// The connection closes when the answer is there, not when a deadline has passed, and the record is the upstream's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_answer_ends_the_wait_for_a_body() {
    let (http1, h2) = refusing().await;
    let proxy = start(http1, h2, "defaults: { limits: { bodyTimeout: 60s } }\n").await;
    let begun = Instant::now();
    for path in ["/length", "/chunks", "/h2/length", "/h2/chunks"] {
        let framing = if path.ends_with("chunks") { "Transfer-Encoding: chunked" } else { "Content-Length: 100" };
        let ask = format!("{}{framing}\r\n\r\n", HEAD.replace("/x", path));
        let mut connection = Connection::open(proxy.http()).await;
        let answer = connection.send(&ask).await.unwrap();
        assert_eq!((answer.status, &*answer.text(), answer.header("connection")), (403, "no", Some("close")), "{path}");
        assert!(connection.read().await.is_none(), "{path}");
        drop(connection);
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!((&line["http.response.status_code"], &line["reason"]), (&403.into(), &"upstream".into()), "{line}");
    }
    let mut client = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
    let ask = http::Request::post("https://a.test/stream").header("expect", "100-continue").body(()).unwrap();
    let (answer, _body) = client.send_request(ask, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 403);
    let line = proxy.log_line(|line| line["url.path"] == "/stream").await;
    assert_eq!(line["reason"], "upstream", "{line}");
    assert!(begun.elapsed() < Duration::from_secs(55), "nobody waited for the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_go_on_sends_the_body() {
    let http1 = raw_server(|mut stream| async move {
        let mut got = Vec::new();
        if !comes(&mut stream, &mut got, b"\r\n\r\n").await {
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        // The answer begins before the body has come, and ends after it.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await;
        if comes(&mut stream, &mut got, b"hello").await {
            let _ = stream.write_all(b"cd").await;
        }
        let _ = stream.read_to_end(&mut got).await;
    })
    .await;
    let proxy = start(http1, dead_address().await, "").await;
    let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
    stream.write_all(format!("{HEAD}Content-Length: 5\r\n\r\n").as_bytes()).await.unwrap();
    let mut got = Vec::new();
    assert!(comes(&mut stream, &mut got, b"HTTP/1.1 100 Continue\r\n\r\n").await);
    assert!(comes(&mut stream, &mut got, b"ab").await);
    stream.write_all(b"hello").await.unwrap();
    assert!(comes(&mut stream, &mut got, b"abcd").await, "{}", String::from_utf8_lossy(&got));
}

/// An answer of our own closes at once too, and is not lost on a client that did not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_our_own_closes_at_once() {
    let proxy = start(dead_address().await, dead_address().await, "").await;
    for host in ["own.test", "a.test"] {
        for body in ["", &"x".repeat(200_000)] {
            let ask = format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n{body}"
            );
            let mut connection = Connection::open(proxy.http()).await;
            let answer = connection.send(&ask).await.unwrap();
            let expected = if host == "own.test" { 200 } else { 502 };
            assert_eq!((answer.status, answer.header("connection")), (expected, Some("close")), "{host}");
            assert!(connection.read().await.is_none(), "{host}");
        }
    }
}
