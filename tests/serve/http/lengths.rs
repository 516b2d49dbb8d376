//! Lengths: told twice, told wrongly, and not told.

use super::*;

/// Says what it saw of lengths.
fn lengths(asked: &Response) -> Vec<u8> {
    let seen = format!("{:?} {:?} {}", all(asked, "content-length"), all(asked, "transfer-encoding"), asked.text());
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len()).into_bytes()
}

/// RFC 9110 section 8.6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_s_length_told_twice_becomes_one() {
    let proxy = start(http1(lengths).await, dead_address().await, "").await;
    for (fields, expected) in [
        ("Content-Length: 2\r\nContent-Length: 2", Some("[\"2\"] [] hi")),
        ("Content-Length: 2, 2", Some("[\"2\"] [] hi")),
        ("Content-Length: 2\r\nContent-Length: 3", None),
        ("Content-Length: 2, 3", None),
        ("Content-Length: 2\r\nContent-Length: 02", None),
    ] {
        let answer = request(
            proxy.http(),
            &format!("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n\r\nhi"),
        )
        .await;
        match expected {
            Some(expected) => assert_eq!((answer.status, &*answer.text()), (200, expected), "{fields}"),
            None => assert_eq!(answer.status, 400, "{fields}"),
        }
    }
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let mut client = client(stream).await;
    let mut ask = http::Request::post("https://a.test/").body(()).unwrap();
    for _ in 0..2 {
        ask.headers_mut().append("content-length", "2".parse().unwrap());
    }
    let (answer, mut body) = client.send_request(ask, false).unwrap();
    body.send_data("hi".into(), true).unwrap();
    let mut answer = answer.await.unwrap();
    let text = answer.body_mut().data().await.unwrap().unwrap();
    assert_eq!(text, "[\"2\"] [] hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_s_length_told_twice_becomes_one() {
    let answers = |asked: &Response| {
        let fields = match path(asked) {
            "/lines" => "Content-Length: 2\r\nContent-Length: 2",
            "/list" => "Content-Length: 2, 2",
            "/differ" => "Content-Length: 2\r\nContent-Length: 3",
            "/zero" => return b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n".to_vec(),
            _ => "Content-Length: 2, 3",
        };
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok").into_bytes()
    };
    let h2 = http2(|_, mut respond| async move {
        let mut head = http::Response::new(());
        for _ in 0..2 {
            head.headers_mut().append("content-length", "2".parse().unwrap());
        }
        respond.send_response(head, false).unwrap().send_data("ok".into(), true).unwrap();
    })
    .await;
    let proxy = start(http1(answers).await, h2, "").await;
    for (path, expected) in [
        ("/lines", Some("2")),
        ("/list", Some("2")),
        ("/h2", Some("2")),
        ("/zero", Some("0")),
        ("/differ", None),
        ("/other", None),
    ] {
        let answer = get(proxy.http(), "a.test", path).await;
        let mut client = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
        let ask = http::Request::get(format!("https://a.test{path}")).body(()).unwrap();
        let h2 = client.send_request(ask, true).unwrap().0.await.unwrap();
        match expected {
            Some(length) => {
                assert_eq!(all(&answer, "content-length"), [length], "{path}");
                let seen: Vec<_> = h2.headers().get_all("content-length").iter().collect();
                assert_eq!(seen, [length], "{path}");
            }
            None => assert_eq!((answer.status, h2.status().as_u16()), (502, 502), "{path}"),
        }
    }
}

/// RFC 9110 section 8.6: some servers refuse a method that expects a body where nothing says that there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_expect_a_body_say_that_there_is_none() {
    let proxy = start(http1(lengths).await, dead_address().await, "").await;
    let mut h2 = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
    for (method, expected) in [
        ("POST", "[\"0\"] [] "),
        ("PUT", "[\"0\"] [] "),
        ("PATCH", "[\"0\"] [] "),
        ("GET", "[] [] "),
        ("DELETE", "[] [] "),
        ("OPTIONS", "[] [] "),
    ] {
        for version in ["1.0", "1.1"] {
            let ask = format!("{method} / HTTP/{version}\r\nHost: a.test\r\nConnection: close\r\n\r\n");
            assert_eq!(request(proxy.http(), &ask).await.text(), expected, "{method} {version}");
        }
        let ask = http::Request::builder().method(method).uri("https://a.test/").body(()).unwrap();
        let mut answer = h2.send_request(ask, true).unwrap().0.await.unwrap();
        assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), expected, "{method} HTTP/2");
    }
}

/// RFC 9113 section 8.1.1: more than was told is malformed, and no upstream may see it as a whole request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_of_zero_is_no_end_of_a_stream() {
    let echo = Echo::start("a").await;
    let proxy = start(echo.address, dead_address().await, "defaults: { limits: { bodyTimeout: 300ms } }\n").await;
    let head =
        [(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x"), ("content-length", "0")];
    let seen = || echo.requests.load(std::sync::atomic::Ordering::Relaxed);
    for (piece, flags, expected, reason) in [
        (&b""[..], frames::END_STREAM, frames::Got::Status("200".into()), "upstream"),
        (b"evil", frames::END_STREAM, frames::Got::Reset, "bad_request"),
        (b"evil", 0, frames::Got::Reset, "bad_request"),
        (b"", 0, frames::Got::Status("408".into()), "body_timeout"),
    ] {
        let before = seen();
        let mut raw = frames::Raw::open(&proxy, &[]).await;
        raw.frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::block(&head)).await;
        raw.frame(frames::DATA, flags, 1, piece).await;
        assert_eq!(raw.outcome(1).await, expected, "{piece:?} {flags}");
        proxy.log_line(|line| line["reason"] == reason).await;
        assert_eq!(seen() - before, usize::from(reason == "upstream"), "{piece:?} {flags}");
    }
    let mut raw = frames::Raw::open(&proxy, &[]).await;
    raw.request(1, &head).await;
    assert_eq!(raw.outcome(1).await, frames::Got::Status("200".into()));
}

/// What CONNECT gets is an answer like others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_refused_with_our_fields_and_a_record() {
    let echo = Echo::start("a").await;
    let proxy = start(echo.address, dead_address().await, "").await;
    let mut connection = Connection::open(proxy.http()).await;
    let answer = connection
        .send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.header("server"), answer.header("connection")),
        (405, Some("tidegate"), Some("close"))
    );
    assert!(connection.read().await.is_none(), "what follows is no request");
    let mut client = client(tls(proxy.https(), "a.test", &["h2"]).await.unwrap()).await;
    let ask = http::Request::connect("a.test:443").body(()).unwrap();
    let answer = client.send_request(ask, true).unwrap().0.await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers().get("server").unwrap().to_str().unwrap()),
        (405, "tidegate")
    );
    for version in ["1.1", "2"] {
        proxy.log_line(|line| line["reason"] == "bad_method" && line["network.protocol.version"] == version).await;
    }
    assert_eq!(echo.requests.load(std::sync::atomic::Ordering::Relaxed), 0);
}
