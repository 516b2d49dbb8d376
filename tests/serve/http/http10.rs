//! Clients of HTTP/1.0.

use super::*;

const BODY: &str = "hello";

/// Frames the same body in many ways.
async fn upstreams() -> (SocketAddr, SocketAddr) {
    let http1 = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(asked) = read_message(&mut stream, &mut buffer, true).await {
            let answer = match path(&asked) {
                "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "/close" => "HTTP/1.0 200 OK\r\n\r\nhello",
                "/hints" => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/same" => "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/seen" => {
                    let hosts = all(&asked, "host").join(",");
                    let seen = format!("{} {hosts} {:?}", asked.first_line, asked.header("expect"));
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len());
                    let _ = stream.write_all(answer.as_bytes()).await;
                    continue;
                }
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
            };
            let is_head = asked.first_line.starts_with("HEAD");
            let answer = if is_head { &answer[..answer.find("\r\n\r\n").unwrap() + 4] } else { answer };
            let _ = stream.write_all(answer.as_bytes()).await;
            if path(&asked) == "/close" {
                return;
            }
        }
    })
    .await;
    let h2 = http2(|asked, mut respond| async move {
        let seen = format!("{} {:?}", asked.uri(), asked.headers().get("host"));
        let is_head = asked.method() == http::Method::HEAD;
        let mut body = respond.send_response(http::Response::new(()), is_head).unwrap();
        if is_head {
            return;
        }
        let text = if asked.uri().path() == "/h2/seen" { seen } else { BODY.to_owned() };
        body.send_data(text.into(), true).unwrap();
    })
    .await;
    (http1, h2)
}

/// Sends a request and reads to the end of the connection, or of a body whose length is told.
async fn ask(proxy: &Proxy, request: &str) -> (Response, bool) {
    let mut connection = Connection::open(proxy.http()).await;
    let answer = connection.send(request).await.unwrap();
    let again = connection.send("GET /length HTTP/1.0\r\n\r\n").await;
    (answer, again.is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_http10_get_no_chunks() {
    let (http1, h2) = upstreams().await;
    let proxy = start(http1, h2, "").await;
    for path in ["/length", "/chunked", "/close", "/hints", "/h2"] {
        for keeps in [false, true] {
            let fields = if keeps { "Connection: keep-alive\r\n" } else { "" };
            let (answer, is_kept) = ask(&proxy, &format!("GET {path} HTTP/1.0\r\nHost: a.test\r\n{fields}\r\n")).await;
            let said = format!("{path} keeps {keeps}: {answer:?}");
            assert_eq!((answer.status, &*answer.text()), (200, BODY), "{said}");
            assert_eq!(answer.header("transfer-encoding"), None, "{said}");
            let has_length = answer.header("content-length").is_some();
            assert_eq!(has_length, path == "/length", "{said}");
            assert_eq!(is_kept, keeps && has_length, "{said}");
            assert_eq!(answer.header("connection"), Some(if is_kept { "keep-alive" } else { "close" }), "{said}");
        }
    }
}

/// RFC 9112 section 6.3: these end with their head whatever it says, so that the connection can stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_end_no_connection() {
    let (http1, h2) = upstreams().await;
    let proxy = start(http1, h2, "").await;
    for request in ["HEAD /chunked", "GET /none", "GET /same", "HEAD /h2"] {
        let mut connection = Connection::open(proxy.http()).await;
        let keep = "Host: a.test\r\nConnection: keep-alive\r\n\r\n";
        connection.stream.write_all(format!("{request} HTTP/1.0\r\n{keep}").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        assert!(comes(&mut connection.stream, &mut head, b"\r\n\r\n").await, "{request}");
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(!head.contains("transfer-encoding") && head.ends_with("\r\n\r\n"), "{request}: {head}");
        let next = connection.send(format!("GET /length HTTP/1.0\r\n{keep}")).await.unwrap();
        assert_eq!(next.text(), BODY, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_http10_expect_and_hear_nothing_before_the_answer() {
    let (http1, h2) = upstreams().await;
    let proxy = start(http1, h2, "").await;
    let post = "POST /seen HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    let (answer, _) = ask(&proxy, post).await;
    assert_eq!(answer.text(), "POST /seen HTTP/1.1 a.test None");
    let chunked = "POST /seen HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(ask(&proxy, chunked).await.0.status, 400, "RFC 9112 section 6.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_host_it_meets_the_routes_for_every_host() {
    let (http1, h2) = upstreams().await;
    let proxy = start(http1, h2, "").await;
    let (answer, _) = ask(&proxy, "GET /seen HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.text(), format!("GET /seen HTTP/1.1 {http1} None"), "the endpoint is asked by its address");
    let (answer, _) = ask(&proxy, "GET /h2/seen HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.text(), format!("http://{h2}/h2/seen None"));
    let (answer, _) = ask(&proxy, "GET http://to.test/x HTTP/1.0\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://to.test/x")));
    assert_eq!(ask(&proxy, "GET /seen HTTP/1.1\r\n\r\n").await.0.status, 400);
    let line = proxy.log_line(|line| line["url.path"] == "/seen" && line["network.protocol.version"] == "1.0").await;
    assert_eq!(line["reason"], "upstream", "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_to_a_host_that_was_not_named() {
    let conf = "routes:\n  - { paths: [ { prefix: /https } ], httpsRedirect: true, respond: { status: 200, body: own } }\n  - { redirect: { status: 302, scheme: https } }\n";
    let proxy = Proxy::start(conf, &[]).await;
    for path in ["/https", "/x"] {
        let (answer, _) = ask(&proxy, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{path}");
    }
}
