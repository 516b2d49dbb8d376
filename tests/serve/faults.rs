//! Upstreams that fail in every way; the client is never told a lie, and the next request is answered right.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// What an upstream does after it has read a request.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    says: Vec<u8>,
    then: Then,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Close,
    Reset,
    /// Keeps the connection open and says nothing more.
    Hang,
    /// Repeats the last piece until the connection ends.
    Repeat(&'static str),
    /// Reads on and answers further requests with `stale`.
    Serve,
}

/// What the client may get.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// An answer of tidegate's own with one of these statuses.
    Status(&'static [u16]),
    /// Status 200, but visibly not whole.
    Cut,
    /// This status and body, whole.
    Whole(u16, &'static str),
}
use Fate::{Cut, Status, Whole};
use Then::{Close, Hang, Repeat, Reset, Serve};

const BAD: Fate = Status(&[502]);
const SLOW: Fate = Status(&[504]);

fn fault(name: &'static str, says: &str, then: Then, fate: Fate) -> Fault {
    Fault { name, says: says.chars().map(|c| u8::try_from(c).unwrap()).collect(), then, fate }
}

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{rest}")
}

/// Faults of a head.
fn heads() -> Vec<Fault> {
    let mut all = vec![
        fault("closes before its head", "", Close, BAD),
        fault("resets before its head", "", Reset, BAD),
        fault("says nothing", "", Hang, SLOW),
        fault("closes in its status line", "HTTP/1.1 20", Close, BAD),
        fault("closes in a field", &ok("Content-Length: 5\r\nX-A: b"), Close, BAD),
        fault("resets in a field", &ok("X-A: b"), Reset, BAD),
        fault("stops in a field", &ok("X-A: b"), Hang, SLOW),
        fault("drips its head without end", "HTTP/1.1 200 OK\r\n", Repeat("X-A: b\r\n"), Status(&[502, 504])),
        fault(
            "has a field without end",
            "HTTP/1.1 200 OK\r\nX-A: ",
            Repeat("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
            Status(&[502, 504]),
        ),
        fault("storms with 100", "", Repeat("HTTP/1.1 100 Continue\r\n\r\n"), BAD),
        fault("storms with 103", "", Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), BAD),
        fault(
            "switches unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            Hang,
            BAD,
        ),
        fault("has 500 fields", &ok(&"X-A: b\r\n".repeat(500)), Close, BAD),
        fault(
            "has a field of 2 MB",
            &ok(&format!("X-A: {}\r\nContent-Length: 0\r\n\r\n", "b".repeat(2_000_000))),
            Close,
            BAD,
        ),
    ];
    for first in [
        "\0\u{1}garbage",
        "SSH-2.0-OpenSSH_9.2",
        "<html>hello</html>",
        "HTTP/0.9 200 OK",
        "HTTP/1.1 99 Low",
        "HTTP/1.1 1000 High",
        "HTTP/1.1 abc Text",
        "HTTP/1.1 -20 Minus",
        "HTTP/1.1 20 Short",
        "HTTP/1.1",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 2 0 0",
        "hTTp/1.1 200 OK",
        "HTTP/1.1 000 Zero",
    ] {
        let says = format!("{first}\r\nContent-Length: 6\r\n\r\nforged");
        all.push(Fault { name: "is no HTTP/1 answer", says: says.into_bytes(), then: Close, fate: BAD });
    }
    for field in ["X A: b", ": b", "X-A: b\0c", "X-A: b\rc", "X\u{1}: b"] {
        all.push(fault("has a bad field", &ok(&format!("{field}\r\nContent-Length: 6\r\n\r\nforged")), Close, BAD));
    }
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: -5",
        "Content-Length: +5",
        "Content-Length: abc",
        "Content-Length: 99999999999999999999999",
    ] {
        all.push(fault("has no sane length", &ok(&format!("{lengths}\r\n\r\nforged")), Close, BAD));
    }
    all
}

/// Faults of a body.
fn bodies() -> Vec<Fault> {
    let chunked = |body: &str| ok(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    let mut all = vec![
        fault("closes in a body with a length", &ok("Content-Length: 50\r\n\r\nhalf"), Close, Cut),
        fault("resets in a body with a length", &ok("Content-Length: 50\r\n\r\nhalf"), Reset, Cut),
        fault("stops in a body with a length", &ok("Content-Length: 50\r\n\r\nhalf"), Hang, Cut),
        fault("closes before its body", &ok("Content-Length: 50\r\n\r\n"), Close, Cut),
        fault("closes in a chunk", &chunked("a\r\nhalf"), Close, Cut),
        fault("closes after a chunk", &chunked("4\r\nhalf\r\n"), Close, Cut),
        fault("resets after a chunk", &chunked("4\r\nhalf\r\n"), Reset, Cut),
        fault("stops after a chunk", &chunked("4\r\nhalf\r\n"), Hang, Cut),
        fault("closes in a chunk's size", &chunked("4\r\nhalf\r\n5"), Close, Cut),
        fault("closes in its last chunk", &chunked("4\r\nhalf\r\n0"), Close, Cut),
        fault(
            "has more than its length",
            &ok("Content-Length: 4\r\n\r\nwholeHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
            Serve,
            Whole(200, "whol"),
        ),
        fault(
            "answers twice",
            &ok("Content-Length: 5\r\n\r\nwholeHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
            Serve,
            Whole(200, "whole"),
        ),
        fault(
            "answers twice, chunked",
            &chunked("5\r\nwhole\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
            Serve,
            Whole(200, "whole"),
        ),
        fault(
            "has a body with 204",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            Serve,
            Whole(204, ""),
        ),
        fault(
            "has a body with 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nforged",
            Serve,
            Whole(304, ""),
        ),
        fault("has trailers", &chunked("5\r\nwhole\r\n0\r\nX-Trailer: 1\r\n\r\n"), Close, Whole(200, "whole")),
        fault("ends by closing", &ok("\r\nwhole"), Close, Whole(200, "whole")),
        fault(
            "has a space before a colon",
            &ok("X-A : b\r\nContent-Length: 5\r\n\r\nwhole"),
            Close,
            Whole(200, "whole"),
        ),
        fault(
            "has early hints",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
            Close,
            Whole(200, "whole"),
        ),
    ];
    for size in ["g", "-1", "+5", "0x5", "FFFFFFFFFFFFFFFFF", "5 5"] {
        let says = chunked(&format!("4\r\nhalf\r\n{size}\r\nhello\r\n0\r\n\r\n"));
        all.push(Fault { name: "has a bad chunk size", says: says.into_bytes(), then: Close, fate: Cut });
    }
    all.push(fault("has a chunk that is too long", &chunked("4\r\nhalfway\r\n0\r\n\r\n"), Close, Cut));
    all
}

async fn misbehave(mut stream: TcpStream, fault: Fault) {
    let mut buffer = Vec::new();
    if read_message(&mut stream, &mut buffer, true).await.is_none() {
        return;
    }
    let _ = stream.write_all(&fault.says).await;
    match fault.then {
        Close => {}
        Reset => {
            // Closing with a linger of zero sends RST.
            let socket = socket2::Socket::from(stream.into_std().unwrap());
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        Hang => std::future::pending().await,
        Repeat(piece) => while stream.write_all(piece.repeat(100).as_bytes()).await.is_ok() {},
        Serve => {
            while read_message(&mut stream, &mut buffer, true).await.is_some() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale").await;
            }
            let _ = stream.read(&mut [0]).await;
        }
    }
}

/// A proxy with one host for each fault, besides a healthy one.
async fn start(faults: &[Fault]) -> Proxy {
    let echo = Echo::start("healthy").await;
    let mut upstreams = format!("  healthy: {{ endpoints: [ {{ address: \"{}\" }} ] }}\n", echo.address);
    let mut routes = "  - { hosts: [healthy.test], backends: [ { upstream: healthy } ] }\n".to_owned();
    for (index, fault) in faults.iter().enumerate() {
        let fault = fault.clone();
        let address = raw_server(move |stream| misbehave(stream, fault.clone())).await;
        upstreams += &format!("  u{index}: {{ endpoints: [ {{ address: \"{address}\" }} ] }}\n");
        routes += &format!(
            "  - {{ hosts: [u{index}.test], backends: [ {{ upstream: u{index} }} ], timeouts: {{ read: 300ms }} }}\n"
        );
    }
    Proxy::start(&format!("upstreams:\n{upstreams}routes:\n{routes}"), &[]).await
}

/// What is wrong with what the client got.
async fn judge(proxy: &Proxy, index: usize, fault: &Fault) -> Option<String> {
    let mut connection = Connection::open(proxy.http()).await;
    let mut answer = connection.get(&format!("u{index}.test"), "/x").await.unwrap_or_default();
    while (100..200).contains(&answer.status) && answer.status != 101 {
        answer = connection.read().await.unwrap_or_default();
    }
    let is_right = match fault.fate {
        Status(statuses) => statuses.contains(&answer.status) && answer.is_whole,
        Cut => (answer.status == 200 && !answer.is_whole) || answer.status == 502,
        Whole(status, body) => answer.status == status && answer.is_whole && answer.text() == body,
    };
    if !is_right || answer.text().contains("forged") {
        return Some(format!(
            "{} {:?}: {answer:?}",
            fault.name,
            String::from_utf8_lossy(&fault.says[..fault.says.len().min(80)])
        ));
    }
    // The next request on this connection, when it is kept, and on a new one, gets its own answer.
    let next = connection.get("healthy.test", "/next").await;
    let on_new = get(proxy.http(), "healthy.test", "/new").await;
    let is_own = |answer: &Response, path: &str| answer.server() == "healthy" && answer.json()["target"] == path;
    if !next.is_none_or(|next| is_own(&next, "/next")) || !is_own(&on_new, "/new") {
        return Some(format!("{}: the next answer is not its own", fault.name));
    }
    // And so does the next one to the same upstream: nothing forged or left over comes from the pool.
    let again = get(proxy.http(), &format!("u{index}.test"), "/again").await;
    if again.text().contains("forged") || (again.text() == "stale" && matches!(fault.name, "answers twice")) {
        return Some(format!("{}: the pool gave back a spoilt connection: {again:?}", fault.name));
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn faults_of_upstreams_are_told_and_harm_no_other_request() {
    let faults = [heads(), bodies()].concat();
    assert!(faults.len() >= 30);
    let proxy = std::sync::Arc::new(start(&faults).await);
    let mut tasks = tokio::task::JoinSet::new();
    for (index, fault) in faults.into_iter().enumerate() {
        let proxy = proxy.clone();
        tasks.spawn(async move {
            let name = fault.name;
            let judged = tokio::time::timeout(PATIENCE, judge(&proxy, index, &fault)).await;
            judged.unwrap_or_else(|_| Some(format!("{name}: never answered")))
        });
    }
    let wrong: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_after_head_never_becomes_an_answer() {
    let says = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let proxy = start(&[fault("has a body with HEAD", says, Serve, Whole(200, ""))]).await;
    for _ in 0..3 {
        let head = "HEAD /x HTTP/1.1\r\nHost: u0.test\r\nConnection: close\r\n\r\n";
        let mut connection = Connection::open(proxy.http()).await;
        connection.stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        connection.stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("HTTP/1.1 200") && !text.contains("forged"), "{text}");
    }
}
