//! Answers that end before they are whole: who hears what of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Breaks each answer off in its own way.
async fn breaking() -> (SocketAddr, SocketAddr) {
    let http1 = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        let Some(asked) = read_message(&mut stream, &mut buffer, true).await else { return };
        let answer = match path(&asked) {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
            "/chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "/odd" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
            _ => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
                let _ = stream.read_to_end(&mut buffer).await;
                return;
            }
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let h2 = raw_server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let (close, mut closes) = tokio::sync::mpsc::channel(1);
        loop {
            let accepted = tokio::select! { accepted = connection.accept() => accepted, _ = closes.recv() => return };
            let Some(Ok((asked, respond))) = accepted else { return };
            tokio::spawn(half(asked.uri().path() == "/h2/close", respond, close.clone()));
        }
    })
    .await;
    (http1, h2)
}

/// Answers by half, and breaks off when that is under way.
async fn half(closes: bool, mut respond: h2::server::SendResponse<Bytes>, close: tokio::sync::mpsc::Sender<()>) {
    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
    body.send_data("half".into(), false).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    if closes {
        let _ = close.send(()).await;
        std::future::pending::<()>().await;
    }
    body.send_reset(h2::Reason::INTERNAL_ERROR);
}

const WAYS: [(&str, &str); 7] = [
    ("/length", "upstream_reset"),
    ("/chunk", "upstream_reset"),
    ("/chunks", "upstream_reset"),
    ("/odd", "upstream_protocol"),
    ("/silent", "upstream_timeout"),
    ("/h2/reset", "upstream_reset"),
    ("/h2/close", "upstream_reset"),
];

/// RFC 9113 section 7: CANCEL is what clients say; gRPC reads it so, and neither retries nor alarms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_is_no_cancelled_one() {
    let (http1, h2) = breaking().await;
    let proxy = start(http1, h2, "defaults: { timeouts: { read: 900ms } }\n").await;
    for (path, reason) in WAYS {
        for is_upload in [false, true] {
            let path = format!("{path}{}", if is_upload { "?up" } else { "" });
            let mut client = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
            let method = if is_upload { "POST" } else { "GET" };
            let ask = http::Request::builder().method(method).uri(format!("https://a.test{path}")).body(()).unwrap();
            let (answer, mut body) = client.send_request(ask, !is_upload).unwrap();
            if is_upload {
                body.send_data("hi".into(), true).unwrap();
            }
            let answer = match tokio::time::timeout(PATIENCE, answer).await.expect("an answer") {
                Ok(answer) => answer,
                // On a machine that does much else the reset may overtake what came before it.
                Err(error) => {
                    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{method} {path}");
                    continue;
                }
            };
            let mut body = answer.into_body();
            let (mut got, mut end) = (Vec::new(), None);
            while let Some(piece) = tokio::time::timeout(PATIENCE, body.data()).await.expect("a piece or the end") {
                match piece {
                    Ok(piece) => got.extend(piece),
                    Err(error) => {
                        end = error.reason();
                        break;
                    }
                }
            }
            assert!(b"half".starts_with(&got), "{method} {path}: {got:?}");
            assert_eq!(end, Some(h2::Reason::INTERNAL_ERROR), "{method} {path}");
        }
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], reason, "{line}");
    }
}

/// RFC 9112 section 8: on HTTP/1 the connection ends without the end of the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_has_no_last_chunk() {
    let (http1, h2) = breaking().await;
    let proxy = start(http1, h2, "defaults: { timeouts: { read: 900ms } }\n").await;
    for (path, reason) in WAYS {
        let mut connection = Connection::open(proxy.http()).await;
        let answer = connection.get("a.test", path).await.unwrap();
        assert!(!answer.is_whole && answer.status == 200, "{path}: {answer:?}");
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], reason, "{line}");
    }
}

/// A body that is not as long as was told is the client's fault (RFC 9113 section 8.1.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_length_is_a_bad_request() {
    let whole = Arc::new(AtomicUsize::new(0));
    let counter = whole.clone();
    let upstream = http1(move |asked| {
        counter.fetch_add(usize::from(asked.is_whole), Ordering::Relaxed);
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let proxy = start(upstream.await, dead_address().await, "").await;
    for (path, length, body) in [("/short", "5", "four"), ("/long", "3", "four")] {
        let head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", path),
            ("content-length", length),
        ];
        let mut raw = frames::Raw::open(&proxy, &[]).await;
        raw.frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::block(&head)).await;
        raw.frame(frames::DATA, frames::END_STREAM, 1, body.as_bytes()).await;
        assert_eq!(raw.outcome(1).await, frames::Got::Reset, "{path}");
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], "bad_request", "{line}");
    }
    assert_eq!(whole.load(Ordering::Relaxed), 0, "no whole request came");
}

/// An upstream of HTTP/2 whose responses are all there, or half, and whose streams never end.
async fn endless() -> SocketAddr {
    http2(|asked, mut respond| async move {
        let (status, length, body) = match asked.uri().path() {
            path if path.starts_with("/h2/none") => (204, None, ""),
            path if path.starts_with("/h2/half") => (200, Some("4"), "ok"),
            _ => (200, Some("2"), "ok"),
        };
        let mut head = http::Response::builder().status(status);
        head = length.into_iter().fold(head, |head, length| head.header("content-length", length));
        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
        if asked.method() != "HEAD" && !body.is_empty() {
            stream.send_data(body.into(), false).unwrap();
        }
        std::future::pending::<()>().await;
    })
    .await
}

/// Who asks what, how that ends for it, and what is told of it when it goes then.
const GOING: [(&str, &str, &str, &str); 5] = [
    ("GET", "/h2/whole", "\r\n\r\nok", "upstream"),
    ("POST", "/h2/up", "\r\n\r\nok", "upstream"),
    ("HEAD", "/h2/head", "\r\n\r\n", "upstream"),
    ("GET", "/h2/none", "\r\n\r\n", "upstream"),
    ("GET", "/h2/half", "\r\n\r\nok", "client_closed"),
];

/// The length of a response is its end for clients, whatever is still to come of its stream (RFC 9112 section 6.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_whole_response_misses_nothing() {
    let proxy = start(dead_address().await, endless().await, "").await;
    for (method, path, end, reason) in GOING {
        let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
        let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{body}").as_bytes()).await.unwrap();
        assert!(comes(&mut stream, &mut Vec::new(), end.as_bytes()).await, "{method} {path}");
        drop(stream);
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], reason, "{line}");
        assert_eq!(line["error"].is_null(), reason == "upstream", "{line}");
    }
    for (method, path, _, reason) in GOING {
        let path = format!("{path}/2");
        let mut client = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
        let ask = http::Request::builder().method(method).uri(format!("https://a.test{path}")).body(()).unwrap();
        let (answer, mut upload) = client.send_request(ask, method != "POST").unwrap();
        if method == "POST" {
            upload.send_data("hi".into(), true).unwrap();
        }
        let mut body = tokio::time::timeout(PATIENCE, answer).await.expect("a response").unwrap().into_body();
        if method != "HEAD" && path != "/h2/none/2" {
            let piece = tokio::time::timeout(PATIENCE, body.data()).await.expect("a piece");
            assert_eq!(piece.unwrap().unwrap(), "ok", "{path}");
        }
        drop((body, upload));
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!(line["reason"], reason, "{line}");
    }
}
