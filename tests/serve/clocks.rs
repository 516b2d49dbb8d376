//! Who is blamed for a silence, for each pair of a client's protocol and an upstream's: an upload that pauses is no fault
//! of the upstream, an answer that does not come is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

const CLIENTS: [Client; 3] = [Client::Http1, Client::Http1Tls, Client::Http2];
const UPSTREAMS: [&str; 4] = ["http", "https", "h2c", "h2"];

#[derive(Clone, Copy, Debug)]
enum Client {
    Http1,
    Http1Tls,
    Http2,
}

/// What an upstream does with a request.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Reads it and answers.
    Answers,
    /// Reads it and says nothing.
    IsSilent,
    /// Reads the head only.
    IsDeaf,
    /// Reads it, and answers by half.
    StopsHalfway,
    /// Answers by half when it has seen the head, and goes on when it has read the rest.
    AnswersEarly,
}

/// How a client sends its body.
#[derive(Clone, Copy, Debug)]
enum Upload {
    /// Pieces with a pause in between, longer than any wait for the upstream.
    Pauses,
    /// Everything at once.
    AtOnce,
    /// Pieces without end, as fast as they are taken.
    Floods,
    /// One piece and nothing more.
    Stops,
    /// A byte now and then, without end.
    Drips,
}

/// A case: upload and manner, then what the client gets (whether whole) and what the log says.
struct Case {
    name: &'static str,
    upload: Upload,
    manner: Manner,
    status: u16,
    is_whole: bool,
    reason: &'static str,
    outcome: &'static str,
}

// === upstreams ===

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";

async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: Manner) {
    let mut buffer = Vec::new();
    while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
        if !stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            return;
        }
    }
    match manner {
        Manner::IsDeaf => std::future::pending::<()>().await,
        Manner::AnswersEarly => stream.write_all(HALF).await.unwrap(),
        _ => {}
    }
    if !read_message(&mut stream, &mut buffer, true).await.is_some_and(|request| request.is_whole) {
        return;
    }
    match manner {
        Manner::Answers => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd").await.unwrap(),
        Manner::AnswersEarly => stream.write_all(b"cd").await.unwrap(),
        Manner::StopsHalfway => stream.write_all(HALF).await.unwrap(),
        Manner::IsSilent | Manner::IsDeaf => {}
    }
    stream.flush().await.unwrap();
    // Until the proxy lets go.
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, manner: Manner) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(serve_stream(request.into_body(), respond, manner));
    }
}

async fn serve_stream(mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>, manner: Manner) {
    let answer = || http::Response::builder().header("content-length", 4).body(()).unwrap();
    let mut early = None;
    match manner {
        Manner::IsDeaf => std::future::pending::<()>().await,
        Manner::AnswersEarly => {
            let mut send = respond.send_response(answer(), false).unwrap();
            send.send_data("ab".into(), false).unwrap();
            early = Some(send);
        }
        _ => {}
    }
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        let _ = body.flow_control().release_capacity(piece.len());
    }
    match (manner, early) {
        (Manner::AnswersEarly, Some(mut send)) => send.send_data("cd".into(), true).unwrap(),
        (Manner::Answers, _) => respond.send_response(answer(), false).unwrap().send_data("abcd".into(), true).unwrap(),
        (Manner::StopsHalfway, _) => {
            let mut send = respond.send_response(answer(), false).unwrap();
            send.send_data("ab".into(), false).unwrap();
            let _ = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
        }
        _ => {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        }
    }
}

async fn upstream(protocol: &'static str, manner: Manner) -> std::net::SocketAddr {
    let acceptor = match protocol {
        "https" => Some(crate::support::tls::acceptor(b"http/1.1")),
        "h2" => Some(crate::support::tls::acceptor(b"h2")),
        _ => None,
    };
    raw_server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            match (acceptor, protocol) {
                (None, "http") => serve_http1(stream, manner).await,
                (None, _) => serve_http2(stream, manner).await,
                (Some(acceptor), protocol) => {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    match protocol {
                        "https" => serve_http1(stream, manner).await,
                        _ => serve_http2(stream, manner).await,
                    }
                }
            }
        }
    })
    .await
}

// === clients ===

/// Pieces of an upload: how long to wait before each, and whether it is the last one.
fn pieces(upload: Upload, pause: Duration) -> Box<dyn Iterator<Item = (Duration, &'static [u8], bool)> + Send> {
    const NO: Duration = Duration::ZERO;
    match upload {
        Upload::Pauses => Box::new([(NO, &b"ab"[..], false), (pause, b"cd", false), (NO, b"ef", true)].into_iter()),
        Upload::AtOnce => Box::new([(NO, &b"abcdef"[..], true)].into_iter()),
        Upload::Floods => Box::new(std::iter::repeat((NO, &[b'x'; 16_000][..], false))),
        Upload::Stops => Box::new([(NO, &b"ab"[..], false)].into_iter()),
        Upload::Drips => Box::new(std::iter::repeat((Duration::from_millis(200), &b"a"[..], false))),
    }
}

/// Sends a request, and gives the answer's status and whether it was whole.
async fn ask(proxy: &Proxy, client: Client, path: &str, upload: Upload, pause: Duration) -> (u16, bool) {
    let pieces = pieces(upload, pause);
    match client {
        Client::Http1 => ask_http1(TcpStream::connect(proxy.http()).await.unwrap(), path, pieces).await,
        Client::Http1Tls => ask_http1(tls(proxy.https(), "a.test", &["http/1.1"]).await.unwrap(), path, pieces).await,
        Client::Http2 => ask_http2(proxy, path, pieces).await,
    }
}

async fn ask_http1(
    stream: impl AsyncRead + AsyncWrite,
    path: &str,
    pieces: impl Iterator<Item = (Duration, &'static [u8], bool)>,
) -> (u16, bool) {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let _ = write.write_all(head.as_bytes()).await;
        for (wait, piece, is_last) in pieces {
            tokio::time::sleep(wait).await;
            let end = if is_last { "0\r\n\r\n" } else { "" };
            let chunk = format!("{:x}\r\n{}\r\n{end}", piece.len(), String::from_utf8_lossy(piece));
            if write.write_all(chunk.as_bytes()).await.is_err() || write.flush().await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut buffer = Vec::new();
    tokio::select! {
        answer = read_message(&mut read, &mut buffer, false) => answer.map_or((0, false), |answer| (answer.status, answer.is_whole)),
        () = sending => unreachable!(),
    }
}

async fn ask_http2(
    proxy: &Proxy,
    path: &str,
    pieces: impl Iterator<Item = (Duration, &'static [u8], bool)>,
) -> (u16, bool) {
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::post(format!("https://a.test{path}")).body(()).unwrap();
    let (answer, mut send) = client.send_request(ask, false).unwrap();
    let sending = async {
        for (wait, piece, is_last) in pieces {
            tokio::time::sleep(wait).await;
            send.reserve_capacity(piece.len());
            while send.capacity() < piece.len() {
                if !matches!(std::future::poll_fn(|cx| send.poll_capacity(cx)).await, Some(Ok(_))) {
                    break;
                }
            }
            if send.send_data(Bytes::from_static(piece), is_last).is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let Ok(answer) = answer.await else { return (0, false) };
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            if piece.is_err() {
                return (status, false);
            }
        }
        (status, true)
    };
    tokio::select! {
        seen = reading => seen,
        () = sending => unreachable!(),
    }
}

// === the tables ===

/// Tries each case for each pair, all at once; `pause` is longer than the waits for upstreams.
async fn try_all(defaults: &str, cases: &'static [Case], pause: Duration) -> Proxy {
    let (mut upstreams, mut paths) = (String::new(), String::new());
    for case in cases {
        for protocol in UPSTREAMS {
            let (name, address) = (format!("{}-{protocol}", case.name), upstream(protocol, case.manner).await);
            upstreams += &format!(
                "  {name}: {{ endpoints: [ {{ address: \"{address}\" }} ], protocol: {protocol}, tls: {{ verify: false }} }}\n"
            );
            paths += &format!("  - {{ paths: [ {{ prefix: /{name} }} ], backends: [ {{ upstream: {name} }} ] }}\n");
        }
    }
    let proxy =
        Arc::new(Proxy::start(&format!("defaults: {defaults}\nupstreams:\n{upstreams}routes:\n{paths}"), &[]).await);
    let mut tasks = tokio::task::JoinSet::new();
    for case in cases {
        for (client, protocol) in CLIENTS.into_iter().flat_map(|client| UPSTREAMS.map(|protocol| (client, protocol))) {
            let proxy = proxy.clone();
            tasks.spawn(async move { try_one(&proxy, case, client, protocol, pause).await });
        }
    }
    let wrong: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Arc::into_inner(proxy).unwrap()
}

/// What is wrong with one case for one pair.
async fn try_one(proxy: &Proxy, case: &Case, client: Client, protocol: &str, pause: Duration) -> Option<String> {
    let path = format!("/{}-{protocol}/{client:?}", case.name);
    let asked = tokio::time::timeout(PATIENCE, ask(proxy, client, &path, case.upload, pause)).await;
    let Ok(seen) = asked else { return Some(format!("{path}: never answered")) };
    let line = proxy.log_line(|line| line["url.path"] == path).await;
    let attempts = line["attempts"].as_array().map_or(0, Vec::len);
    let told =
        (line["reason"].as_str().unwrap_or_default(), line["attempts"][0]["outcome"].as_str().unwrap_or_default());
    let is_right = seen == (case.status, case.is_whole) && told == (case.reason, case.outcome) && attempts == 1;
    (!is_right).then(|| format!("{path}: {seen:?}; {line}"))
}

const fn case(name: &'static str, upload: Upload, manner: Manner, answer: (u16, bool), reason: &'static str) -> Case {
    Case { name, upload, manner, status: answer.0, is_whole: answer.1, reason, outcome: reason }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_wait_for_an_upstream_runs_only_while_the_upstream_owes() {
    static CASES: [Case; 6] = [
        case("pauses", Upload::Pauses, Manner::Answers, (200, true), "upstream"),
        case("dialogue", Upload::Pauses, Manner::AnswersEarly, (200, true), "upstream"),
        case("silent", Upload::AtOnce, Manner::IsSilent, (504, true), "upstream_timeout"),
        case("silent-after-pause", Upload::Pauses, Manner::IsSilent, (504, true), "upstream_timeout"),
        case("half", Upload::AtOnce, Manner::StopsHalfway, (200, false), "upstream_timeout"),
        case("deaf", Upload::Floods, Manner::IsDeaf, (504, true), "upstream_timeout"),
    ];
    try_all("{ timeouts: { read: 3s, send: 3s } }", &CASES, Duration::from_secs(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_that_does_not_come_is_the_client_s_fault() {
    static CASES: [Case; 4] = [
        case("stops", Upload::Stops, Manner::Answers, (408, true), "body_timeout"),
        case("drips", Upload::Drips, Manner::Answers, (408, true), "body_timeout"),
        case("stops-in-dialogue", Upload::Stops, Manner::AnswersEarly, (200, false), "body_timeout"),
        case("deaf-to-a-stop", Upload::Stops, Manner::IsDeaf, (408, true), "body_timeout"),
    ];
    let defaults = "{ limits: { bodyTimeout: 2s }, timeouts: { read: 200ms, send: 200ms } }";
    try_all(defaults, &CASES, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waits_of_the_same_length_blame_whoever_owes() {
    static CASES: [Case; 4] = [
        case("stops", Upload::Stops, Manner::Answers, (408, true), "body_timeout"),
        case("stops-in-dialogue", Upload::Stops, Manner::AnswersEarly, (200, false), "body_timeout"),
        case("silent", Upload::AtOnce, Manner::IsSilent, (504, true), "upstream_timeout"),
        case("deaf", Upload::Floods, Manner::IsDeaf, (504, true), "upstream_timeout"),
    ];
    let defaults = "{ limits: { bodyTimeout: 2s }, timeouts: { read: 2s, send: 2s } }";
    try_all(defaults, &CASES, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_body_that_stalls_ends_alone() {
    let echo = Echo::start("a").await;
    let conf = format!(
        "defaults: {{ limits: {{ bodyTimeout: 1s }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n",
        echo.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = |method, path: &str| {
        http::Request::builder().method(method).uri(format!("https://a.test{path}")).body(()).unwrap()
    };
    let (stalled, mut send) = client.send_request(ask("POST", "/stalled"), false).unwrap();
    send.send_data("ab".into(), false).unwrap();
    let (before, _) = client.send_request(ask("GET", "/before"), true).unwrap();
    assert_eq!(before.await.unwrap().status(), 200);
    assert_eq!(tokio::time::timeout(PATIENCE, stalled).await.unwrap().unwrap().status(), 408);
    let (after, _) = client.send_request(ask("GET", "/after"), true).unwrap();
    assert_eq!(after.await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sent_again_whole_and_leaves_its_connection_usable() {
    // Answers one request of each connection, and drops the next.
    let once = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        let Some(request) = read_message(&mut stream, &mut buffer, true).await else { return };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        stream.write_all(&[head.as_bytes(), &request.body].concat()).await.unwrap();
        let _ = read_message(&mut stream, &mut buffer, true).await;
    })
    .await;
    let conf = format!(
        "defaults: {{ timeouts: {{ read: 30s }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{once}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut client = Connection::open(proxy.http()).await;
    for (number, body) in ["first", "second, longer", "third"].into_iter().enumerate() {
        let head = format!("PUT /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = client.send(head + body).await.expect("the client's connection is kept");
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
    let line = proxy.log_line(|line| line["url.path"] == "/1").await;
    let outcomes: Vec<_> = line["attempts"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, ["upstream_reset", "upstream"], "{line}");
}
