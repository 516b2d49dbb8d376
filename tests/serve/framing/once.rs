//! What comes behind a message, one kind at a time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A proxy in front of an HTTP/1 upstream that answers `/` and a number as planned.
async fn planned(answers: &[Answer]) -> (Proxy, Arc<Book>) {
    let book = Arc::new(Book::default());
    for answer in answers {
        book.add(Plan { answer: answer.clone(), ..get_plan() });
    }
    let address = upstream::start("http", false, book.clone()).await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{address}\" }} ] }} }}\nroutes:\n  - {{ hosts: [plugin.test], backends: [ {{ upstream: a }} ], plugins: [ {{ type: no-dashes }} ] }}\n  - {{ backends: [ {{ upstream: a }} ] }}\n"
    );
    (Proxy::start_with(Tidegate::builder().plugin::<NoDashes>(), &conf, &[]).await, book)
}

fn get_plan() -> Plan {
    Plan {
        id: 0,
        method: "GET",
        body: Vec::new(),
        is_open: false,
        has_trailers: false,
        leaves: false,
        closes: false,
        expects: false,
        upgrades: false,
        answer: ok(2),
    }
}

fn ok(length: usize) -> Answer {
    Answer {
        status: 200,
        framing: Framing::Length,
        body: vec![0; length],
        has_trailers: false,
        is_early: false,
        interim: 0,
        closes: false,
        has_extra: false,
    }
}

fn get_of(id: usize) -> String {
    format!("GET /{id} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

async fn answered(connection: &mut Connection<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>, id: usize) {
    let answer = connection.read().await.expect("an answer");
    assert_eq!((answer.status, answer.header("x-id")), (200, Some(&*id.to_string())), "{answer:?}");
}

/// RFC 9112 section 9.3.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_a_row_are_answered_in_order() {
    let (proxy, book) = planned(&[ok(2), ok(70_000), ok(0), ok(5)]).await;
    let all: String = (0..4).map(get_of).collect();
    for cut in [all.len(), get_of(0).len(), get_of(0).len() + 9] {
        let mut plain = Connection::open(proxy.http()).await;
        let secure = tls(proxy.https(), "a.test", &["http/1.1"]).await.unwrap();
        let mut secure = Connection { stream: secure, buffer: Vec::new() };
        let (first, rest) = all.split_at(cut);
        plain.stream.write_all(first.as_bytes()).await.unwrap();
        secure.stream.write_all(first.as_bytes()).await.unwrap();
        plain.stream.write_all(rest.as_bytes()).await.unwrap();
        secure.stream.write_all(rest.as_bytes()).await.unwrap();
        for id in 0..4 {
            answered(&mut plain, id).await;
            answered(&mut secure, id).await;
        }
    }
    assert!(book.faults.lock().unwrap().is_empty());
}

/// RFC 9112 section 2.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_line_behind_a_body_is_no_request() {
    let (proxy, book) = planned(&[]).await;
    let id = book.add(Plan { method: "POST", body: b"abc".to_vec(), ..get_plan() }).id;
    let post = format!("POST /{id} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
    let mut connection = Connection::open(proxy.http()).await;
    for behind in ["\r\n", "", "\r\n\r\n"] {
        connection.stream.write_all(format!("{post}{behind}").as_bytes()).await.unwrap();
        answered(&mut connection, id).await;
        connection.stream.write_all(b"\r\n").await.unwrap();
    }
    let before = metrics(&proxy).await;
    drop(connection);
    let malformed = "tidegate_connection_failures_total{listener=\"http\",reason=\"malformed\"}";
    assert_eq!(before.get(malformed).copied().unwrap_or_default(), 0.0);
}

/// RFC 9112 section 7.1: there is one last chunk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_ends_in_an_empty_frame_ends_once() {
    let (proxy, book) = planned(&[ok(2)]).await;
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (client, connection) = ::h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (body, host) in [("hello", "a.test"), ("", "a.test"), ("a-b", "plugin.test"), ("--", "plugin.test")] {
        let kept: Vec<u8> = body.bytes().filter(|byte| *byte != b'-').collect();
        let id = book.add(Plan { method: "POST", body: kept.clone(), ..get_plan() }).id;
        let request = http::Request::post(format!("https://{host}/{id}")).body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut send) = client.send_request(request, false).unwrap();
        for byte in body.bytes() {
            send.send_data(Bytes::copy_from_slice(&[byte]), false).unwrap();
            tokio::task::yield_now().await;
        }
        send.send_data(Bytes::new(), true).unwrap();
        assert_eq!(answer.await.unwrap().headers()["x-id"], *id.to_string());
        assert_eq!(book.seen.lock().unwrap()[&id], kept);
        let next = request_of(&proxy, 0).await;
        assert_eq!(next.header("x-id"), Some("0"), "another client's answer: {next:?}");
    }
    assert_eq!(*book.faults.lock().unwrap(), Vec::<String>::new());
}

async fn request_of(proxy: &Proxy, id: usize) -> Response {
    get(proxy.http(), "a.test", &format!("/{id}")).await
}

/// RFC 9110 section 7.8: whoever asks for another protocol speaks it after 101 only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_refused_upgrade_is_no_request() {
    let (proxy, book) = planned(&[ok(2), ok(2)]).await;
    let ask = format!("GET /0 HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n");
    for behind in [get_of(1), "\u{1}frame".to_owned()] {
        let mut connection = Connection::open(proxy.http()).await;
        let answer = connection.send(format!("{ask}{behind}")).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(connection.read().await.is_none(), "the connection ends");
    }
    assert!(!book.seen.lock().unwrap().contains_key(&1));
}

/// RFC 9112 section 9.6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_still_sends_hears_the_last_answer_and_a_clean_end() {
    let length = 5_000_000;
    let (proxy, _book) = planned(&[ok(length)]).await;
    let mut stream = TcpStream::connect(proxy.http()).await.unwrap();
    stream.write_all(b"GET /0 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut read, mut write) = stream.split();
    let (mut said, junk) = (Vec::new(), vec![b'x'; 300_000]);
    // It reads once it has sent all: then most of the answer waits in the proxy's socket.
    write.write_all(&junk).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)).await.unwrap();
    assert!(ended.is_ok_and(|read| read > length), "{} bytes", said.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_behind_a_request_is_refused_after_its_answer_and_recorded() {
    let (proxy, _book) = planned(&[ok(2)]).await;
    let mut connection = Connection::open(proxy.http()).await;
    connection.stream.write_all(format!("{}nonsense\r\n\r\n", get_of(0)).as_bytes()).await.unwrap();
    answered(&mut connection, 0).await;
    assert_eq!(connection.read().await.unwrap().status, 400);
    assert!(connection.read().await.is_none());
    let line = proxy.log_line(|line| line["http.response.status_code"] == 400).await;
    assert_eq!(line["reason"], "bad_request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_keeps_the_connection_whatever_plugins_see_bodies() {
    let (proxy, _book) = planned(&[ok(0), ok(3)]).await;
    let mut connection = Connection::open(proxy.http()).await;
    for id in [0, 1, 0] {
        let answer = connection.get("plugin.test", &format!("/{id}")).await.unwrap();
        assert_eq!((answer.status, answer.is_whole, answer.body.len()), (200, true, if id == 1 { 3 } else { 0 }));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

/// An upstream's answer that is followed by what nobody asked for is the last one on its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_connection_with_more_than_the_answer_is_not_used_again() {
    let dirty = Answer { has_extra: true, ..ok(2) };
    let bodiless = Answer { status: 304, ..dirty.clone() };
    let chunked = Answer { framing: Framing::Chunks, ..dirty.clone() };
    let (proxy, book) = planned(&[ok(2), dirty, bodiless, chunked]).await;
    for id in 1..4 {
        assert_eq!(request_of(&proxy, id).await.header("x-id"), Some(&*id.to_string()));
        for _ in 0..3 {
            assert_eq!(request_of(&proxy, 0).await.header("x-id"), Some("0"));
        }
    }
    assert_eq!(*book.faults.lock().unwrap(), Vec::<String>::new());
}
