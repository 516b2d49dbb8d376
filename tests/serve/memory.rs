//! Bytes are bounded: answers that nobody reads, connections of one source, and the memory of the process.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::frames::{DATA, END_STREAM, HEADERS, Raw, SETTINGS, WINDOW};
use super::support::*;

/// A conf with one upstream for every host.
fn conf(address: std::net::SocketAddr, limits: &str) -> String {
    format!(
        "defaults: {{ limits: {{ {limits} }} }}\nupstreams: {{ u: {{ endpoints: [ {{ address: \"{address}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: u }} ] }} ]\n"
    )
}

async fn metric(proxy: &Proxy, name: &str) -> f64 {
    metrics(proxy).await.get(name).copied().unwrap_or_default()
}

async fn until(proxy: &Proxy, name: &str, fits: impl Fn(f64) -> bool) -> f64 {
    let wait = async {
        loop {
            let value = metric(proxy, name).await;
            if fits(value) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} never fitted"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_source_are_limited_and_those_of_a_trusted_proxy_are_not() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(echo.address, "connectionsPerSource: 2"), &[]).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(proxy.http()).await;
        assert_eq!(connection.get("a.test", "/").await.unwrap().status, 200);
        kept.push(connection);
    }
    let mut third = Connection::open(proxy.http()).await;
    assert!(third.get("a.test", "/").await.is_none(), "closed on accept");
    let name = "tidegate_connection_failures_total{listener=\"http\",reason=\"source_limit\"}";
    assert!(metric(&proxy, name).await >= 1.0);
    kept.pop();
    let wait = async {
        while Connection::open(proxy.http()).await.get("a.test", "/").await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("there is room again");
    let trusting = format!("trustedProxies: [127.0.0.0/8]\n{}", conf(echo.address, "connectionsPerSource: 1"));
    let proxy = Proxy::start(&trusting, &[]).await;
    let mut first = Connection::open(proxy.http()).await;
    assert_eq!(first.get("a.test", "/").await.unwrap().status, 200);
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200, "it stands for many");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_is_begun_when_memory_is_nearly_used_up() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(echo.address, "memory: 1MiB"), &[]).await;
    until(&proxy, "tidegate_overload", |it| it == 1.0).await;
    let refused = get(proxy.http(), "a.test", "/").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("connection"), Some("close"));
    assert_eq!(proxy.log_line(|line| line["http.response.status_code"] == 503).await["reason"], "overload");
    assert_eq!(get(proxy.running.telemetry().unwrap(), "t", "/healthz").await.status, 200);
    assert!(metric(&proxy, "tidegate_overload_refused_total{what=\"request\"}").await >= 1.0);
    assert_eq!(metric(&proxy, "tidegate_memory_limit_bytes").await, 1048576.0);
    assert!(metric(&proxy, "tidegate_memory_used_bytes").await > 1048576.0);
    assert_eq!(echo.requests.load(std::sync::atomic::Ordering::Relaxed), 0);
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(proxy.http()).await.unwrap());
    }
    let name = "tidegate_connection_failures_total{listener=\"http\",reason=\"overload\"}";
    until(&proxy, name, |it| it >= 1.0).await;
    drop(silent);
    std::fs::write(proxy.folder.path().join("tidegate.yaml"), replaced(&proxy, "memory: 1MiB", "memory: 0B")).unwrap();
    proxy.running.reload();
    until(&proxy, "tidegate_overload", |it| it == 0.0).await;
    assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a");
}

fn replaced(proxy: &Proxy, old: &str, new: &str) -> String {
    let text = std::fs::read_to_string(proxy.folder.path().join("tidegate.yaml")).unwrap();
    assert!(text.contains(old));
    text.replace(old, new)
}

const STREAMS: u32 = 60;
/// Bytes of an answer.
const LARGE: usize = 1 << 20;

/// Asks for a large answer on each of so many streams, and lets none of it come.
async fn stalled(proxy: &Proxy) -> Raw {
    let mut raw = Raw::open(proxy, &[(4, 0)]).await;
    let path = format!("/?size={LARGE}");
    for stream in 0..STREAMS {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", &*path)];
        raw.request(1 + 2 * stream, &fields).await;
    }
    let mut answered = 0;
    while answered < STREAMS {
        let (kind, ..) = raw.soon().await.expect("an answer's head");
        answered += u32::from(kind == HEADERS);
    }
    raw
}

/// Lets everything come; gives how many bytes that was.
async fn read_all(raw: &mut Raw) -> usize {
    let largest = ((1_u32 << 31) - 1).to_be_bytes();
    raw.frame(SETTINGS, 0, 0, &[&[0, 4], &largest[..]].concat()).await;
    raw.frame(WINDOW, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
    let (mut bytes, mut ended) = (0, 0);
    while ended < STREAMS {
        let (kind, flags, _, payload) = raw.soon().await.expect("a frame");
        if kind == DATA {
            bytes += payload.len();
            ended += u32::from(flags & END_STREAM != 0);
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_held_back_at_their_upstreams() {
    let echo = Echo::start("a").await;
    held_back(&echo, "", 4 << 20).await;
}

/// Of answers that nobody reads no more is held than that, and every byte of them comes once it may.
pub async fn held_back(echo: &Echo, limits: &str, most: u32) {
    let proxy = Proxy::start(&conf(echo.address, limits), &[]).await;
    let mut raw = stalled(&proxy).await;
    until(&proxy, "tidegate_h2_response_buffer_waits_total", |it| it >= 1.0).await;
    let held = metric(&proxy, "tidegate_h2_response_buffer_bytes").await;
    // Each answer may go on by 1 KiB, and several threads by a piece before they see what the others have read.
    let slack = f64::from(4 * (64 << 10)) + f64::from(STREAMS * (2 << 10));
    assert!(held > 0.0 && held <= f64::from(most) + slack, "{held} bytes, more than {most}");
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200, "other connections are served");
    assert_eq!(read_all(&mut raw).await, LARGE * usize::try_from(STREAMS).unwrap());
    drop(raw);
    until(&proxy, "tidegate_h2_response_buffer_bytes", |it| it == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_its_answers_gives_back_what_they_held() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(echo.address, ""), &[]).await;
    let raw = stalled(&proxy).await;
    until(&proxy, "tidegate_h2_response_buffer_bytes", |it| it > 0.0).await;
    drop(raw);
    until(&proxy, "tidegate_h2_response_buffer_bytes", |it| it == 0.0).await;
    until(&proxy, "tidegate_capacity_used{resource=\"requests\"}", |it| it == 0.0).await;
}

/// Whoever asks one request after another on a kept connection is not held up by the wait for each, however the bytes
/// of two requests lie together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_lie_together_are_all_answered() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(echo.address, ""), &[]).await;
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for requests in
        [vec![get, get, get], vec![post, get, post, get], vec![chunked, get, get, chunked, get], vec![get, "\r\n", get]]
    {
        let count = requests.iter().filter(|request| request.len() > 2).count();
        let all = requests.concat();
        for cut in [all.len(), 1, get.len(), get.len() + 1, all.len() - 1] {
            let mut connection = Connection::open(proxy.http()).await;
            let (first, rest) = all.split_at(cut.min(all.len()));
            connection.stream.write_all(first.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            connection.stream.write_all(rest.as_bytes()).await.unwrap();
            for _ in 0..count {
                let answer = tokio::time::timeout(PATIENCE, connection.read()).await.expect("an answer in time");
                assert_eq!(answer.unwrap().status, 200, "{requests:?} cut at {cut}");
            }
        }
    }
}
