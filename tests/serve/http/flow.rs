//! Bytes of an answer flow on as they come (RFC 9110 section 7.6).

use std::sync::Arc;

use tokio::sync::Notify;

use super::*;

/// An upstream that says each piece of an answer when it is told to.
async fn slow(go: Arc<Notify>) -> SocketAddr {
    raw_server(move |mut stream| {
        let go = go.clone();
        async move {
            let mut buffer = Vec::new();
            while let Some(asked) = read_message(&mut stream, &mut buffer, true).await {
                let head = |framing: &str| format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
                let pieces = match path(&asked) {
                    "/chunks" => {
                        [&*head("Transfer-Encoding: chunked"), "2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n"].map(str::to_owned)
                    }
                    _ => [&*head("Content-Length: 4"), "ab", "cd"].map(str::to_owned),
                };
                for piece in pieces {
                    go.notified().await;
                    let _ = stream.write_all(piece.as_bytes()).await;
                }
            }
        }
    })
    .await
}

async fn pieces_arrive(mut stream: impl AsyncRead + AsyncWrite + Unpin, go: &Notify, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    // Each is told only when the one before has arrived: whoever holds one back waits forever.
    for _ in 0..request.matches("HTTP/1.1").count() {
        got.clear();
        for expected in ["\r\n\r\n", "ab", "cd"] {
            go.notify_one();
            assert!(comes(&mut stream, &mut got, expected.as_bytes()).await, "{expected:?} of {request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_known_length_flow_at_once() {
    let go = Arc::new(Notify::new());
    let proxy = start(slow(go.clone()).await, dead_address().await, "").await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let post = "POST /length HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi".to_owned();
    let twice = format!("{}{}", get("/length"), get("/length"));
    for request in &[get("/length"), get("/chunks"), post, twice] {
        pieces_arrive(TcpStream::connect(proxy.http()).await.unwrap(), &go, request).await;
        pieces_arrive(tls(proxy.https(), "a.test", &["http/1.1"]).await.unwrap(), &go, request).await;
    }
}

/// The next request may come while an answer is under way; it neither holds that back nor gets lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_meanwhile_holds_nothing_back_and_is_served() {
    let go = Arc::new(Notify::new());
    let proxy = start(slow(go.clone()).await, dead_address().await, "").await;
    let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
    let get = "GET /length HTTP/1.1\r\nHost: a.test\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    go.notify_one();
    assert!(comes(&mut stream, &mut got, b"\r\n\r\n").await);
    for byte in get.replace("/length", "/second").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    for expected in ["ab", "cd"] {
        go.notify_one();
        assert!(comes(&mut stream, &mut got, expected.as_bytes()).await, "{expected:?}");
    }
    got.clear();
    for expected in ["\r\n\r\n", "ab", "cd"] {
        go.notify_one();
        assert!(comes(&mut stream, &mut got, expected.as_bytes()).await, "{expected:?} of the second");
    }
    proxy.log_line(|line| line["url.path"] == "/second" && line["http.response.status_code"] == 200).await;
}
