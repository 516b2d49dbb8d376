//! HTTP/2 upstreams that say that they did not process a request (RFC 9113 sections 6.8 and 8.7).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::frames::*;
use crate::support::*;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What an upstream does with a request that has a body.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// GOAWAY with a last stream below it, and this error.
    GoAway(u32),
    /// The same, and the connection is closed.
    GoAwayAndClose(u32),
    /// RST_STREAM with this error.
    Reset(u32),
    /// GOAWAY that names it as the last stream, then an answer.
    TakeAndAnswer,
    /// GOAWAY that names it as the last stream, and the connection is closed.
    TakeAndClose,
}
use Act::{GoAway, GoAwayAndClose, Reset, TakeAndAnswer, TakeAndClose};

/// When it does so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    AtHead,
    /// At the head, and of requests without a body too.
    AtAnyHead,
    /// When so many bytes of the body have come.
    InBody(usize),
}
use When::{AtAnyHead, AtHead, InBody};

/// What such an upstream saw.
#[derive(Default)]
struct Seen {
    connections: usize,
    /// Requests with a body, whether they were answered or not.
    requests: usize,
    /// Bodies that were answered.
    bodies: Vec<Vec<u8>>,
    /// Requests on a connection that had said GOAWAY before.
    late: usize,
}

/// An upstream that acts so on the first requests with a body, and gives back the bodies of all others.
#[derive(Clone)]
struct Refuser {
    act: Act,
    when: When,
    left: Arc<Mutex<usize>>,
    seen: Arc<Mutex<Seen>>,
    /// How many requests it has acted on.
    acted: Arc<watch::Sender<usize>>,
}

impl Refuser {
    fn new(act: Act, when: When, count: usize) -> Self {
        let acted = Arc::new(watch::Sender::new(0));
        Self { act, when, left: Arc::new(Mutex::new(count)), seen: Arc::default(), acted }
    }

    async fn start(&self, is_tls: bool) -> SocketAddr {
        let own = self.clone();
        let acceptor = crate::support::tls::acceptor(b"h2");
        raw_server(move |stream| {
            let (own, acceptor) = (own.clone(), acceptor.clone());
            async move {
                if !is_tls {
                    own.serve(stream).await;
                } else if let Ok(stream) = acceptor.accept(stream).await {
                    own.serve(stream).await;
                }
            }
        })
        .await
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        // Windows of 1 MiB: none of it is about them.
        let Some(mut raw) = Frames::server(stream, &[(4, 1 << 20)]).await else { return };
        raw.frame(WINDOW, 0, 0, &(1u32 << 24).to_be_bytes()).await;
        self.seen.lock().unwrap().connections += 1;
        let (mut bodies, mut has_gone) = (BTreeMap::new(), false);
        while let Some((kind, flags, id, payload)) = raw.next().await {
            let is_last = flags & END_STREAM != 0;
            match kind {
                HEADERS => {
                    let mut seen = self.seen.lock().unwrap();
                    seen.late += usize::from(has_gone);
                    seen.requests += usize::from(!is_last || self.when == AtAnyHead);
                    bodies.insert(id, Vec::new());
                }
                DATA if bodies.contains_key(&id) => bodies.get_mut(&id).unwrap().extend(payload),
                _ => continue,
            }
            let is_request = kind == DATA || !is_last || self.when == AtAnyHead;
            let arrived = bodies.get(&id).map_or(0, Vec::len);
            if is_request && self.is_due(kind == HEADERS, arrived) {
                has_gone |= !matches!(self.act, Reset(_));
                if !self.act(&mut raw, id).await {
                    // Closed with bytes unread, it would be reset, and what was said lost.
                    return raw.finish().await;
                }
                if !matches!(self.act, TakeAndAnswer) {
                    bodies.remove(&id);
                    continue;
                }
            }
            if is_last && let Some(body) = bodies.remove(&id) {
                if is_request {
                    // Whoever has the response may look at once.
                    self.seen.lock().unwrap().bodies.push(body.clone());
                }
                raw.frame(HEADERS, END_HEADERS, id, &[0x88]).await;
                raw.frame(DATA, END_STREAM, id, &body).await;
            }
        }
    }

    fn is_due(&self, is_head: bool, arrived: usize) -> bool {
        let mut left = self.left.lock().unwrap();
        let is_now = match self.when {
            AtHead | AtAnyHead => is_head,
            InBody(bytes) => arrived >= bytes,
        };
        let is_due = is_now && *left > 0;
        *left -= usize::from(is_due);
        is_due
    }

    /// Says whether the connection stays.
    async fn act<S: AsyncRead + AsyncWrite + Unpin>(&self, raw: &mut Frames<S>, id: u32) -> bool {
        let goaway = |last: u32, error: u32| [last.to_be_bytes(), error.to_be_bytes()].concat();
        let below = id.saturating_sub(2);
        match self.act {
            GoAway(error) | GoAwayAndClose(error) => raw.frame(GOAWAY, 0, 0, &goaway(below, error)).await,
            TakeAndAnswer | TakeAndClose => raw.frame(GOAWAY, 0, 0, &goaway(id, NO_ERROR)).await,
            Reset(error) => raw.frame(RST, 0, id, &error.to_be_bytes()).await,
        };
        self.acted.send_modify(|count| *count += 1);
        !matches!(self.act, GoAwayAndClose(_) | TakeAndClose)
    }

    async fn has_acted(&self) {
        let mut acted = self.acted.subscribe();
        tokio::time::timeout(PATIENCE, acted.wait_for(|count| *count > 0)).await.expect("it acts").unwrap();
    }
}

/// A proxy whose hosts `once.test` and `thrice.test` ask these endpoints, with so many attempts.
async fn proxy(endpoints: &[SocketAddr], is_tls: bool) -> Proxy {
    let list: String = endpoints.iter().map(|address| format!("{{ address: \"{address}\" }}, ")).collect();
    let spoken = if is_tls { "protocol: h2, tls: { verify: false }" } else { "protocol: h2c" };
    let route = |host: &str, attempts: u8| {
        format!("  - {{ hosts: [{host}.test], backends: [ {{ upstream: a }} ], attempts: {attempts} }}\n")
    };
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {list} ], {spoken} }} }}\nroutes:\n{}{}",
        route("once", 1),
        route("thrice", 3)
    );
    Proxy::start(&conf, &[]).await
}

fn post(host: &str, path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {host}.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Outcomes of the attempts of the request for a path.
async fn outcomes(proxy: &Proxy, path: &str) -> Vec<String> {
    let line = proxy.log_line(|line| line["url.path"] == path).await;
    let attempts = line["attempts"].as_array().unwrap().iter();
    attempts.map(|one| one["outcome"].as_str().unwrap().to_owned()).collect()
}

const UNPROCESSED: [(Act, When); 8] = [
    (GoAway(NO_ERROR), AtHead),
    (GoAway(ENHANCE_YOUR_CALM), AtHead),
    (GoAwayAndClose(NO_ERROR), AtHead),
    (GoAwayAndClose(INTERNAL_ERROR), AtHead),
    (Reset(REFUSED_STREAM), AtHead),
    (GoAway(NO_ERROR), InBody(1)),
    (GoAwayAndClose(NO_ERROR), InBody(1)),
    (Reset(REFUSED_STREAM), InBody(1)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_not_processed_is_sent_again() {
    for (act, when) in UNPROCESSED {
        for is_tls in [false, true] {
            for is_kept in [false, true] {
                let name = format!("{act:?} {when:?}, TLS {is_tls}, kept {is_kept}");
                let refuser = Refuser::new(act, when, 1);
                let proxy = proxy(&[refuser.start(is_tls).await], is_tls).await;
                if is_kept {
                    assert_eq!(get(proxy.http(), "thrice.test", "/first").await.status, 200, "{name}");
                }
                // It stays: whoever has the whole answer and leaves may be gone before the endpoint has ended its stream.
                let mut client = Connection::open(proxy.http()).await;
                let answer = client.send(post("thrice", "/call", "hello")).await.unwrap_or_default();
                assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{name}: {answer:?}");
                let mut outcomes = outcomes(&proxy, "/call").await;
                if !matches!(act, Reset(_)) {
                    // The second attempt may meet the same connection, whose last word is not read yet, and send nothing.
                    outcomes.dedup();
                }
                assert_eq!(outcomes, ["upstream_refused", "upstream"], "{name}");
                let seen = refuser.seen.lock().unwrap();
                assert_eq!((seen.requests, seen.bodies.len(), seen.late), (2, 1, 0), "{name}");
            }
        }
    }
}

/// Who asks for one try asks for one that can come to something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_at_its_end_is_no_try() {
    for act in [GoAway(NO_ERROR), GoAway(ENHANCE_YOUR_CALM), GoAwayAndClose(NO_ERROR), Reset(REFUSED_STREAM)] {
        let is_connection = !matches!(act, Reset(_));
        for is_kept in [false, true] {
            let refuser = Refuser::new(act, AtHead, 1);
            let proxy = proxy(&[refuser.start(false).await], false).await;
            if is_kept {
                assert_eq!(get(proxy.http(), "once.test", "/first").await.status, 200);
            }
            let answer = request(proxy.http(), &post("once", "/call", "hello")).await;
            let expected = if is_kept && is_connection { 200 } else { 502 };
            assert_eq!(answer.status, expected, "{act:?}, kept {is_kept}");
            let line = proxy.log_line(|line| line["url.path"] == "/call").await;
            let reason = if expected == 200 { "upstream" } else { "upstream_refused" };
            assert_eq!(line["reason"], reason, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_without_end_are_bounded() {
    // As many attempts as are allowed, and three that do not count where each connection is a kept one at its end.
    for (act, host, expected) in [
        (Reset(REFUSED_STREAM), "once", 1),
        (Reset(REFUSED_STREAM), "thrice", 3),
        (GoAway(NO_ERROR), "once", 1),
        (GoAway(NO_ERROR), "thrice", 3),
        (GoAwayAndClose(NO_ERROR), "thrice", 3),
    ] {
        let refuser = Refuser::new(act, AtAnyHead, usize::MAX);
        let proxy = proxy(&[refuser.start(false).await], false).await;
        let ask = format!("DELETE /call HTTP/1.1\r\nHost: {host}.test\r\n\r\n");
        let answer = request(proxy.http(), &ask).await;
        assert_eq!(answer.status, 502, "{act:?}");
        assert_eq!(outcomes(&proxy, "/call").await, vec!["upstream_refused"; expected], "{act:?}");
        assert_eq!(refuser.seen.lock().unwrap().requests, expected, "{act:?}");
    }
}

/// A connection whose first word is GOAWAY takes no request at all: each such one is given up at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_take_no_stream_are_bounded() {
    for error in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let connections = Arc::new(Mutex::new(0));
        let count = connections.clone();
        let address = raw_server(move |stream| {
            *count.lock().unwrap() += 1;
            async move {
                let Some(mut raw) = Frames::server(stream, &[]).await else { return };
                raw.frame(GOAWAY, 0, 0, &[0u32.to_be_bytes(), error.to_be_bytes()].concat()).await;
                while raw.next().await.is_some() {}
            }
        })
        .await;
        let proxy = proxy(&[address], false).await;
        let answer = request(proxy.http(), "DELETE /call HTTP/1.1\r\nHost: thrice.test\r\n\r\n").await;
        assert_eq!(answer.status, 502);
        let outcomes = outcomes(&proxy, "/call").await;
        assert!(
            (3..=6).contains(&outcomes.len()) && outcomes.iter().all(|it| it == "upstream_refused"),
            "{outcomes:?}"
        );
        // A try may still meet the connection of the one before it, whose last word is not read yet.
        let connections = *connections.lock().unwrap();
        assert!((2..=outcomes.len()).contains(&connections), "{connections} for {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_is_asked_first() {
    let (refusing, willing) =
        (Refuser::new(Reset(REFUSED_STREAM), AtHead, usize::MAX), Refuser::new(Reset(0), AtHead, 0));
    let proxy = proxy(&[refusing.start(false).await, willing.start(false).await], false).await;
    for number in 0..6 {
        let answer = request(proxy.http(), &post("thrice", &format!("/{number}"), "hello")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        let attempts = outcomes(&proxy, &format!("/{number}")).await;
        assert!(attempts.len() <= 2, "{attempts:?}");
    }
    assert_eq!(willing.seen.lock().unwrap().bodies.len(), 6);
    assert!(refusing.seen.lock().unwrap().requests > 0);
}

/// An upload goes on where it was, whatever frames it; what was sent is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_under_way_is_sent_again_whole() {
    for (act, is_chunked) in
        [(GoAway(NO_ERROR), false), (GoAwayAndClose(NO_ERROR), true), (Reset(REFUSED_STREAM), true)]
    {
        let refuser = Refuser::new(act, InBody(1), 1);
        let proxy = proxy(&[refuser.start(false).await], false).await;
        let mut client = Connection::open(proxy.http()).await;
        let half = "x".repeat(20_000);
        let (head, piece, end) = match is_chunked {
            true => ("Transfer-Encoding: chunked".to_owned(), format!("4e20\r\n{half}\r\n"), "0\r\n\r\n"),
            false => ("Content-Length: 40000".to_owned(), half.clone(), ""),
        };
        let first = format!("POST /up HTTP/1.1\r\nHost: thrice.test\r\n{head}\r\n\r\n{piece}");
        client.stream.write_all(first.as_bytes()).await.unwrap();
        refuser.has_acted().await;
        let answer = client.send(format!("{piece}{end}")).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 40_000), "{act:?}");
        assert_eq!(refuser.seen.lock().unwrap().late, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_an_http2_client_is_sent_again_whole() {
    for act in [GoAway(NO_ERROR), Reset(REFUSED_STREAM)] {
        let refuser = Refuser::new(act, InBody(1), 1);
        let proxy = proxy(&[refuser.start(true).await], true).await;
        let mut raw = Raw::open(&proxy, &[]).await;
        let head = [(":method", "POST"), (":scheme", "https"), (":authority", "thrice.test"), (":path", "/up")];
        raw.frame(HEADERS, END_HEADERS, 1, &block(&head)).await;
        raw.frame(DATA, 0, 1, &[b'x'; 10_000]).await;
        refuser.has_acted().await;
        raw.frame(DATA, END_STREAM, 1, &[b'x'; 10_000]).await;
        assert_eq!(raw.outcome(1).await, Got::Status("200".into()), "{act:?}");
        assert_eq!(refuser.seen.lock().unwrap().bodies, [vec![b'x'; 20_000]], "{act:?}");
    }
}

/// Of a body, 64 KiB are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_kept_is_not_sent_again() {
    let refuser = Refuser::new(Reset(REFUSED_STREAM), InBody(70_000), 1);
    let proxy = proxy(&[refuser.start(false).await], false).await;
    let mut client = Connection::open(proxy.http()).await;
    let first =
        format!("POST /up HTTP/1.1\r\nHost: thrice.test\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(100_000));
    client.stream.write_all(first.as_bytes()).await.unwrap();
    refuser.has_acted().await;
    let answer = client.read().await.unwrap();
    assert_eq!((answer.status, refuser.seen.lock().unwrap().requests), (502, 1));
}

/// Other resets, and ends of connections that named the request as theirs, may come after it was processed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_processed_is_not_sent_again() {
    for act in [Reset(NO_ERROR), Reset(INTERNAL_ERROR), Reset(CANCEL), Reset(ENHANCE_YOUR_CALM), TakeAndClose] {
        for is_kept in [false, true] {
            let refuser = Refuser::new(act, AtHead, 1);
            let proxy = proxy(&[refuser.start(false).await], false).await;
            if is_kept {
                assert_eq!(get(proxy.http(), "thrice.test", "/first").await.status, 200);
            }
            let answer = request(proxy.http(), &post("thrice", "/call", "hello")).await;
            assert_eq!((answer.status, refuser.seen.lock().unwrap().requests), (502, 1), "{act:?}, kept {is_kept}");
            assert_eq!(outcomes(&proxy, "/call").await, ["upstream_reset"], "{act:?}, kept {is_kept}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_said_goaway_ends_its_requests_and_takes_no_more() {
    let refuser = Refuser::new(TakeAndAnswer, AtHead, 1);
    let proxy = proxy(&[refuser.start(false).await], false).await;
    for number in 0..4 {
        let answer = request(proxy.http(), &post("once", &format!("/{number}"), "hello")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!(outcomes(&proxy, &format!("/{number}")).await, ["upstream"]);
    }
    let seen = refuser.seen.lock().unwrap();
    assert_eq!((seen.connections, seen.late), (2, 0));
}
