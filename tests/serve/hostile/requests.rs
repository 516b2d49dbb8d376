//! HTTP/1 requests that two parsers could read differently.

use super::*;

/// What must become of a vector.
#[derive(Clone, Copy)]
enum Fate {
    /// A 400-class answer or none; no whole request reaches the upstream.
    Refused,
    /// Answered 200; the upstream saw exactly this target.
    Served(&'static str),
}
use Fate::{Refused, Served};

type Vector = (String, Vec<u8>, Fate);

const BODY: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// `POST /x` with these field lines and what follows them.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{rest}")
}

/// `GET /x` with these field lines.
fn with(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn line(line: &str) -> String {
    format!("{line}\r\nHost: a.test\r\n\r\n")
}

fn host(value: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {value}\r\n\r\n")
}

fn framing() -> Vec<(String, Fate)> {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    let cl = |value: &str| post(&format!("Content-Length: {value}\r\n"), "hello");
    let length = BODY.len();
    let mut all = vec![
        (cl("5"), Served("/x")),
        (cl("005"), Served("/x")),
        (post(&format!("Content-Length: {length}\r\n"), BODY), Served("/x")),
        (chunked("5\r\nhello\r\n0\r\n\r\n"), Served("/x")),
        (chunked(&format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n")), Served("/x")),
        (chunked("5;ext=1\r\nhello\r\n0;ext\r\n\r\n"), Served("/x")),
        (chunked("5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"), Served("/x")),
        (chunked("0000000005\r\nhello\r\n0\r\n\r\n"), Served("/x")),
        (te("Chunked"), Served("/x")),
        (post("Content-Length: 0\r\n", ""), Served("/x")),
        // Told twice is told once (RFC 9110 section 8.6).
        (cl("5, 5"), Served("/x")),
        (cl("5,5"), Served("/x")),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), Served("/x")),
    ];
    for value in [
        "+5",
        "-5",
        "-0",
        "0x5",
        "5, 6",
        "5,05",
        "5,6",
        "5 5",
        "5;",
        "5.0",
        "",
        " ",
        "five",
        "\u{0c}5",
        "5\u{0}",
        "18446744073709551616",
        "99999999999999999999999999",
        "5e0",
        "٥",
        "\"5\"",
        "0_5",
        "5\t5",
        ",5",
        "5,",
    ] {
        all.push((cl(value), Refused));
    }
    for value in [
        "gzip",
        "identity",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chun\tked",
        "\u{0b}chunked",
        "chunked\u{0}",
        "",
        "chunked, gzip",
        "cow",
        "ｃhunked",
        "trailers, chunked",
    ] {
        all.push((te(value), Refused));
    }
    let both = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 0\r\nTransfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
        "CONTENT-LENGTH: 5\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 05\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length:\r\n 5\r\n",
        "Connection: Content-Length\r\nContent-Length: 5\r\n",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    ];
    all.extend(both.iter().map(|fields| (post(fields, "0\r\n\r\n"), Refused)));
    // Names that only look like it: dropped or harmless, never framing.
    all.push((post("Content_Length: 5\r\n", ""), Served("/x")));
    all.push((post("Transfer_Encoding: chunked\r\n", ""), Served("/x")));
    all.push((post("X-Content-Length: 5\r\n", ""), Served("/x")));
    for size in [
        "-5",
        "+5",
        "0x5",
        " 5",
        "g",
        "FFFFFFFFFFFFFFFFF",
        "10000000000000005",
        "5\u{0}",
        "5\r5",
        "_5",
        "5.",
        "5\n5",
        "fffffffffffffffb",
    ] {
        all.push((chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), Refused));
    }
    // The engine reads a size without digits as 0 and what follows as trailers; the upstream gets a canonical end.
    for size in ["5 ", "5 ;ext", "", ";ext"] {
        all.push((chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), Served("/x")));
    }
    for body in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5",
        "5\r\nhello\n0\r\n\r\n",
    ] {
        all.push((chunked(body), Refused));
    }
    all.push((post("Content-Length: 50\r\n", "short"), Refused));
    for version in ["HTTP/1.0", "HTTP/0.9"] {
        let head = format!("POST /x {version}\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        all.push((head, Refused));
    }
    all
}

fn lines_and_fields() -> Vec<(String, Fate)> {
    let mut all = vec![
        (with(""), Served("/x")),
        (with("X-A: b\r\nx-a: c\r\n"), Served("/x")),
        (with("X-Empty:\r\n"), Served("/x")),
        (with("X-Tab:\tb\tc\t\r\n"), Served("/x")),
        (with("X-Utf8: h\u{e9}\r\n"), Served("/x")),
        ("GET /x HTTP/1.1\nHost: a.test\n\n".into(), Served("/x")),
        ("\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(), Served("/x")),
        ("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n".into(), Served("/x")),
    ];
    for fields in [
        "X-A: b\rc\r\n",
        "X-A: b\r\r\n",
        "X-A: b\u{0}c\r\n",
        "X-A\u{0}: b\r\n",
        "X\rA: b\r\n",
        "X-A : b\r\n",
        "X-A\t: b\r\n",
        " X-A: b\r\n",
        "X-A: b\r\n c\r\n",
        "X-A: b\r\n\tc\r\n",
        ": b\r\n",
        " : b\r\n",
        "X A: b\r\n",
        "X-A\r\n",
        "X(A): b\r\n",
        "X@A: b\r\n",
        "X/A: b\r\n",
        "X\u{e9}: b\r\n",
        "X\u{7f}: b\r\n",
        "X{A}: b\r\n",
        "X-A: b\u{7f}\r\n",
        "X-A: b\u{1}\r\n",
        "X-A: b\u{1b}[0m\r\n",
        "\"X\": b\r\n",
        "X-A: b\rX-Evil: 1\r\n",
        "X-A=b\r\n",
        "X\u{b}A: b\r\n",
        "GET /smuggled HTTP/1.1\r\n",
    ] {
        all.push((with(fields), Refused));
    }
    for first in [
        "GET /x HTTP/2.0",
        "GET /x HTTP/1.2",
        "GET /x HTTP/1.10",
        "GET /x HTTP/3",
        "GET /x HTTP/0.9",
        "GET /x http/1.1",
        "GET /x HTTP/1.1 x",
        "GET /x",
        "GET",
        "",
        "GET  HTTP/1.1",
        "GET /x\u{0} HTTP/1.1",
        "GET\u{0} /x HTTP/1.1",
        "G\u{e9}T /x HTTP/1.1",
        "GE(T /x HTTP/1.1",
        "GET /x HTTP/1.1\u{0}",
        "GET /x HTP/1.1",
        " GET /x HTTP/1.1",
        "\0GET /x HTTP/1.1",
        "GET /x HTTP/-1.1",
        "GET /x HTTP/1,1",
        "GET /x HTTP/11",
        "PRI * HTTP/2.0",
        "CONNECT a.test:443 HTTP/1.1",
        "CONNECT /x HTTP/1.1",
        "TRACE /x HTTP/1.1",
        "CONNECT a.test HTTP/1.1",
        "GET * HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET a.test HTTP/1.1",
        "GET http://b.test/x HTTP/1.1",
        "GET http://u@a.test/x HTTP/1.1",
        "GET http://u:p@a.test/x HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http:/x HTTP/1.1",
        "GET http://a.test:81/x HTTP/1.1",
        "GET ftp://a.test/x HTTP/1.1",
        "GET http://a.test@b.test/x HTTP/1.1",
        "GET http://a.test\\@b.test/x HTTP/1.1",
        "GET javascript:x HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET /\u{ff}\u{fe} HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /a%2fb HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET /../x HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "OPTIONS x HTTP/1.1",
    ] {
        all.push((line(first), Refused));
    }
    let long = "M".repeat(5000);
    all.extend([
        (line("GET http://a.test/x HTTP/1.1"), Served("/x")),
        (line("GET HTTP://A.TEST/x HTTP/1.1"), Refused),
        // Raw spaces and control bytes of targets are percent-encoded before they are routed and forwarded.
        (line("GET /a b HTTP/1.1"), Served("/a%20b")),
        (line("GET /x?a b HTTP/1.1"), Served("/x?a%20b")),
        (line("GET /x?a\u{1}b HTTP/1.1"), Served("/x?a%01b")),
        (line("GET /x\u{1}y HTTP/1.1"), Served("/x%01y")),
        (line("GET /x\u{7f} HTTP/1.1"), Served("/x%7F")),
        (line("GET /x\r HTTP/1.1"), Served("/x%0D")),
        (line("GET /x?a%0Ab HTTP/1.1"), Served("/x?a%0Ab")),
        (line("GET http://a.test?x HTTP/1.1"), Served("/?x")),
        (line("GET /x?a=/../%2f\\ HTTP/1.1"), Served("/x?a=/../%2f\\")),
        (line("GET //x HTTP/1.1"), Served("/x")),
        (line("get /x HTTP/1.1"), Served("/x")),
        (line("M-SEARCH /x HTTP/1.1"), Served("/x")),
        (line("PROPFIND /x HTTP/1.1"), Served("/x")),
        (line("DELETE /x HTTP/1.1"), Served("/x")),
        (line(&format!("{long} /x HTTP/1.1")), Refused),
        (line(&format!("GET /{} HTTP/1.1", "x".repeat(5000))), Refused),
        (line(&format!("GET /{} HTTP/1.1", "x".repeat(200_000))), Refused),
        (with(&"X-A: b\r\n".repeat(60)), Refused),
        (with(&"X-A: b\r\n".repeat(3000)), Refused),
        (with(&format!("X-A: {}\r\n", "b".repeat(20_000))), Refused),
        (with(&format!("X-A: {}\r\n", "b".repeat(2_000_000))), Refused),
        (with(&format!("{}: b\r\n", "X".repeat(70_000))), Refused),
    ]);
    all
}

fn hosts_and_hops() -> Vec<(String, Fate)> {
    let mut all = vec![
        ("GET /x HTTP/1.1\r\n\r\n".into(), Refused),
        ("GET /x HTTP/1.0\r\n\r\n".into(), Served("/x")),
        ("GET http://a.test/x HTTP/1.1\r\n\r\n".into(), Served("/x")),
        (with("Host: a.test\r\n"), Refused),
        (with("Host: b.test\r\n"), Refused),
        (with("host : b.test\r\n"), Refused),
        (with(" Host: b.test\r\n"), Refused),
    ];
    for value in [
        "",
        "a.test, b.test",
        "a.test b.test",
        "u@a.test",
        "u:p@a.test",
        "a.test:0",
        "a.test:65536",
        "a.test:abc",
        "a.test:",
        "a.test:80:80",
        "a.test:+80",
        "a.test:-1",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[::g]",
        "a..test",
        ".a.test",
        "a.test..",
        ".",
        "-a.test",
        "a-.test",
        "a.test/x",
        "a.test?x",
        "a.test#x",
        "a.test\\x",
        "\"a.test\"",
        "a%2etest",
        "a.test\u{0}",
        "a.te\u{0}st",
        "\u{e9}.test",
        "*",
        "*.test",
        "a.test;b",
        "<a>",
        "a\tb",
        "a.test:８０",
        "http://a.test",
    ] {
        all.push((host(value), Refused));
    }
    for value in
        ["a.test:8080", "A.TEST", "a.test.", "a_b.test", "127.0.0.1", "[::1]", "[::1]:80", "xn--bcher-kva.test"]
    {
        all.push((host(value), Served("/x")));
    }
    for name in [
        "Authorization",
        "Cookie",
        "Host",
        "X-Forwarded-For",
        "X-Real-IP",
        "Content-Type",
        "Forwarded",
        "close, Cookie",
        "x-forwarded-proto",
        "a,b,c,d,e,f,g,h,i,j,k",
        "Origin",
        "Range",
    ] {
        all.push((with(&format!("Connection: {name}\r\n{name}: 1\r\n").replace("Host: 1\r\n", "")), Refused));
    }
    for fields in [
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect:\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        all.push((with(fields), Refused));
    }
    for fields in [
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: spdy/3.1\r\nConnection: Upgrade\r\n",
        "Connection: X-Foo\r\nX-Foo: 1\r\n",
        "TE: trailers\r\n",
        "Keep-Alive: timeout=1000000\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Trailer: Host\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
    ] {
        all.push((with(fields), Served("/x")));
    }
    // Pipelining: the second request is lost or served as a request of its own, never part of the first.
    all.push((with("") + &format!("GET {AFTER} HTTP/1.1\r\nHost: a.test\r\n\r\n"), Served("/x")));
    all.push((
        post("Content-Length: 5\r\n", "hello") + &format!("GET {AFTER} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        Served("/x"),
    ));
    all.push((post("Content-Length: 0\r\n", "") + "garbage\r\n\r\n", Served("/x")));
    all
}

fn corpus() -> Vec<Vector> {
    let all = [framing(), lines_and_fields(), hosts_and_hops()].concat();
    let raw = |text: &str| -> Vec<u8> {
        // One byte a character where that is possible: so vectors can hold bytes that are no UTF-8.
        text.chars()
            .flat_map(|c| u8::try_from(c).map_or_else(|_| c.to_string().into_bytes(), |byte| vec![byte]))
            .collect()
    };
    all.into_iter().map(|(text, fate)| (text.chars().take(120).collect(), raw(&text), fate)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn doubtful_requests_are_refused_and_others_reach_the_upstream_once_in_one_framing() {
    let corpus = corpus();
    assert!(corpus.len() >= 120, "{}", corpus.len());
    let shards = (0..4).map(|shard| {
        let vectors: Vec<Vector> = corpus.iter().skip(shard).step_by(4).cloned().collect();
        tokio::spawn(run(vectors))
    });
    let mut faults = Vec::new();
    for shard in shards.collect::<Vec<_>>() {
        faults.extend(shard.await.unwrap());
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), corpus.len(), faults.join("\n"));
}

async fn run(vectors: Vec<Vector>) -> Vec<String> {
    let (proxy, recorder) = start(OPEN).await;
    let mut faults = Vec::new();
    for (name, bytes, fate) in &vectors {
        let before = recorder.seen().len();
        let answers = exchange(proxy.http(), bytes).await;
        let is_healthy = probe(&proxy).await;
        let seen = recorder.whole_since(before);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let targets: Vec<String> = seen.iter().map(Seen::target).collect();
        let first = statuses.first().copied();
        let is_right = match fate {
            Refused => first.is_none_or(|status| (400..500).contains(&status)) && targets.is_empty(),
            Served(target) => first == Some(200) && answers[0].is_whole && targets == [*target],
        };
        let fault = seen.iter().find_map(Seen::fault);
        if !is_right || !is_healthy || fault.is_some() {
            faults.push(format!("{name:?}: {statuses:?}, upstream saw {targets:?} {fault:?}"));
        }
    }
    let expected = vectors.iter().filter(|(_, _, fate)| matches!(fate, Served(_))).count();
    let found = recorder.whole_since(0).len();
    if found != expected {
        faults.push(format!("{found} whole requests reached the upstream, not {expected}"));
    }
    faults
}
