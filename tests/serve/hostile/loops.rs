//! Requests that come round again, and the field by which that is known (RFC 8586).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A server that sends everything back to where it came from, as a careless reverse proxy does.
struct Mirror {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    rounds: Arc<AtomicUsize>,
}

impl Mirror {
    async fn start() -> Self {
        let (target, rounds) = (Arc::<OnceLock<SocketAddr>>::default(), Arc::<AtomicUsize>::default());
        let (to, count) = (target.clone(), rounds.clone());
        let address = raw_server(move |mut stream| {
            let (to, count) = (to.clone(), count.clone());
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                let Some(target) = to.get() else { return };
                let mut back = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut back).await;
            }
        })
        .await;
        Self { address, target, rounds }
    }
}

/// A proxy all of whose routes lead back to it.
async fn start_round(routes: &str) -> (Proxy, Mirror) {
    let mirror = Mirror::start().await;
    let conf =
        format!("upstreams: {{ m: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n{routes}", mirror.address);
    let proxy = Proxy::start(&conf, &[]).await;
    mirror.target.set(proxy.http()).unwrap();
    (proxy, mirror)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_round_again_is_refused_whatever_plugins_do() {
    let (proxy, mirror) = start_round(
        "  - { backends: [ { upstream: m } ] }\n  - { hosts: [p.test], backends: [ { upstream: m } ], plugins: [ { type: headers, request: { remove: [CDN-Loop] } }, { type: headers, request: { set: { CDN-Loop: \"x;a=\\\"\" } } } ] }\n",
    )
    .await;
    for (host, fields) in [
        ("a.test", ""),
        ("p.test", ""),
        ("a.test", UPGRADE),
        ("a.test", "CDN-Loop: other;a=\"\r\nCDN-Loop: x, \"\\\r\n"),
        ("a.test", "Content-Length: 2\r\n"),
    ] {
        let before = mirror.rounds.load(Ordering::Relaxed);
        let body = if fields.contains("Length") { "hi" } else { "" };
        let answer = request(proxy.http(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}")).await;
        assert_eq!(answer.status, 508, "{host} {fields:?}: {answer:?}");
        // It went by eight times; connections may be kept for a next round.
        let rounds = mirror.rounds.load(Ordering::Relaxed) - before;
        assert!(rounds <= 8, "{host} {fields:?}: {rounds}");
    }
    let line = proxy.log_line(|line| line["reason"] == "loop_detected").await;
    assert_eq!(line["http.response.status_code"], 508);
    let counted = metrics(&proxy).await;
    assert!(counted.keys().any(|name| name.contains("reason=\"loop_detected\"")), "{counted:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_over_http2_ends_as_well() {
    let (proxy, _mirror) = start_round("  - { backends: [ { upstream: m } ] }\n").await;
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::get("https://a.test/").body(()).unwrap();
    let (answer, _) = client.send_request(ask, true).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 508);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_told_who_has_seen_the_request() {
    let (proxy, recorder) = start(OPEN).await;
    for (fields, expected) in [
        ("", "tidegate"),
        ("CDN-Loop: other.example:80;v=1\r\n", "other.example:80;v=1, tidegate"),
        ("CDN-Loop: a;b=\"c, d\"\r\nAccept: */*\r\ncdn-loop: e\r\n", "a;b=\"c, d\", e, tidegate"),
        ("Cdn-Loop: tidegate\r\n", "tidegate, tidegate"),
    ] {
        let before = recorder.seen().len();
        let head = format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        assert_eq!(request(proxy.http(), &head).await.status, 200, "{fields}");
        assert_eq!(recorder.whole_since(before)[0].values("cdn-loop"), [expected]);
    }
    let before = recorder.seen().len();
    for nominated in ["CDN-Loop", "close, cdn-LOOP"] {
        let head = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nCDN-Loop: a\r\nConnection: {nominated}\r\n\r\n");
        assert_eq!(request(proxy.http(), &head).await.status, 400, "{nominated}");
    }
    assert!(recorder.whole_since(before).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_and_the_hops_are_the_conf_s_and_change_live() {
    let recorder = Recorder::start().await;
    let conf = format!(
        "defaults: {{ loopId: \"edge.example:8080\", limits: {{ hops: 1 }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n",
        recorder.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let ask = |value: &'static str| {
        let head = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nCDN-Loop: {value}\r\nConnection: close\r\n\r\n");
        let address = proxy.http();
        async move { request(address, &head).await.status }
    };
    assert_eq!(ask("tidegate, tidegate").await, 200);
    assert_eq!(recorder.whole_since(0)[0].values("cdn-loop"), ["tidegate, tidegate, edge.example:8080"]);
    assert_eq!(ask("Edge.Example:8080").await, 508);
    let change = |text: &str| text.replace("hops: 1", "hops: 2").replace("edge.example:8080", "inner");
    reconfigure(&proxy, change, "GET / HTTP/1.1\r\nHost: a.test\r\nCDN-Loop: inner, inner\r\n\r\n", 508).await;
    assert_eq!((ask("edge.example:8080, inner").await, ask("inner, INNER").await), (200, 508));
}
