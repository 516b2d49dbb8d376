//! Endpoints that die, are slow, speak TLS, or are checked.

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_costs_no_request() {
    let (a, dead) = (Echo::start("a").await, dead_address().await);
    let manifests = ingress("a", "a.test", &[("/", "a")]) + &service("a", &[a.address, dead]);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    for _ in 0..20 {
        assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a");
        let post = request(
            proxy.http(),
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
        )
        .await;
        assert_eq!(post.json()["body"], "body", "nothing was sent to the dead one, so a POST may move on too");
    }
    let line = proxy.log_line(|line| line["attempts"].as_array().is_some_and(|attempts| attempts.len() == 2)).await;
    assert_eq!(line["attempts"][0]["outcome"], "connect_failed", "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_dies_between_requests_is_passed_over() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let manifests = ingress("a", "a.test", &[("/", "a")]) + &service("a", &[a.address, b.address]);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    let mut connection = Connection::open(proxy.http()).await;
    for _ in 0..10 {
        assert_eq!(connection.get("a.test", "/").await.unwrap().status, 200);
    }
    let before = proxy.running.revision();
    proxy.put("a.yaml", &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[b.address])));
    proxy.running.after(before).await;
    for _ in 0..10 {
        assert_eq!(connection.get("a.test", "/").await.unwrap().server(), "b", "a removed endpoint gets nothing new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_take_endpoints_out_and_in() {
    let good = Echo::start("good").await;
    let is_up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = is_up.clone();
    let flaky = raw_server(move |mut stream| {
        let switch = switch.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            let mut buffer = Vec::new();
            while read_message(&mut stream, &mut buffer, true).await.is_some() {
                let status = if switch.load(std::sync::atomic::Ordering::Relaxed) { 200 } else { 500 };
                let head = format!("HTTP/1.1 {status} S\r\nX-Echo: flaky\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
            }
        }
    })
    .await;
    let conf = format!(
        r#"
upstreams:
  u:
    endpoints: [ {{ address: "{}" }}, {{ address: "{flaky}" }} ]
    healthCheck: {{ http: {{ path: /healthz }}, interval: 100ms, unhealthyThreshold: 1 }}
routes: [ {{ hosts: [u.test], backends: [ {{ upstream: u }} ] }} ]
"#,
        good.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    until_servers(&proxy, &["good"]).await;
    is_up.store(true, std::sync::atomic::Ordering::Relaxed);
    until_servers(&proxy, &["flaky", "good"]).await;
}

/// Waits until ten requests in a row are answered by exactly these servers.
async fn until_servers(proxy: &Proxy, expected: &[&str]) {
    let wait = async {
        loop {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..10 {
                seen.insert(get(proxy.http(), "u.test", "/").await.server());
            }
            if seen.iter().map(String::as_str).eq(expected.iter().copied()) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never answered by {expected:?} only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_upstreams_are_verified_against_their_own_authority() {
    let made = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    let address = tls_echo(&made).await;
    let indent = |pem: String| pem.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let conf = format!(
        r#"
upstreams:
  good:
    endpoints: [ {{ address: "{address}" }} ]
    protocol: https
    tls:
      serverName: up.test
      ca: |
{}
  wrong:
    endpoints: [ {{ address: "{address}" }} ]
    protocol: https
    tls:
      serverName: up.test
      ca: |
{}
  blind:
    endpoints: [ {{ address: "{address}" }} ]
    protocol: https
    tls: {{ verify: false }}
routes:
  - {{ hosts: [good.test], backends: [ {{ upstream: good }} ] }}
  - {{ hosts: [wrong.test], backends: [ {{ upstream: wrong }} ] }}
  - {{ hosts: [blind.test], backends: [ {{ upstream: blind }} ] }}
"#,
        indent(made.cert.pem()),
        indent(other.cert.pem())
    );
    let proxy = Proxy::start(&conf, &[]).await;
    for _ in 0..2 {
        assert_eq!(get(proxy.http(), "good.test", "/").await.status, 200);
        assert_eq!(get(proxy.http(), "wrong.test", "/").await.status, 502, "a pooled connection is not shared");
        assert_eq!(get(proxy.http(), "blind.test", "/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_verify_is_told_by_what_is_wrong_with_it() {
    let made = |name: &str, until: i32| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
    };
    let (good, old, foreign, stranger) =
        (made("up.test", 4000), made("up.test", 2020), made("other.test", 4000), made("up.test", 4000));
    let version_1 = as_version_1(good.cert.der());
    let version_1 = tls_server(crate::support::tls::acceptor_with(vec![version_1.into()], &good.signing_key)).await;
    let mut upstreams = String::new();
    let mut upstream = |name: &str, address: std::net::SocketAddr, ca: &rcgen::Certificate, verify: bool| {
        let ca = ca.pem().lines().map(|line| format!("        {line}\n")).collect::<String>();
        upstreams += &format!(
            "  {name}:\n    endpoints: [ {{ address: \"{address}\" }} ]\n    protocol: https\n    tls:\n      verify: {verify}\n      serverName: up.test\n      ca: |\n{ca}"
        );
    };
    upstream("expired", tls_echo(&old).await, &old.cert, true);
    upstream("name", tls_echo(&foreign).await, &foreign.cert, true);
    upstream("untrusted", tls_echo(&stranger).await, &good.cert, true);
    upstream("unusable", version_1, &good.cert, true);
    upstream("taken", version_1, &good.cert, false);
    let route = |name| format!("  - {{ hosts: [{name}.test], backends: [ {{ upstream: {name} }} ] }}\n");
    let names = ["expired", "name", "untrusted", "unusable"];
    let routes: String = names.iter().chain(&["taken"]).map(route).collect();
    let proxy = Proxy::start(&format!("upstreams:\n{upstreams}routes:\n{routes}"), &[]).await;
    for name in names {
        let host = format!("{name}.test");
        assert_eq!(get(proxy.http(), &host, "/").await.status, 502, "{name}");
        let line = proxy.log_line(|line| line["server.address"] == host.as_str()).await;
        assert_eq!(line["reason"], format!("upstream_certificate_{name}"), "{line}");
    }
    for _ in 0..2 {
        assert_eq!(get(proxy.http(), "taken.test", "/").await.status, 200, "nothing is verified, so X.509 v1 is taken");
    }
}

/// A certificate without version and extensions; nobody looks at its signature.
fn as_version_1(der: &[u8]) -> Vec<u8> {
    use x509_parser::asn1_rs::{Any, FromDer};
    fn parts(der: &[u8]) -> Vec<&[u8]> {
        let mut rest = Any::from_der(der).unwrap().1.data;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (after, _) = Any::from_der(rest).unwrap();
            let (part, _) = rest.split_at(rest.len() - after.len());
            parts.push(part);
            rest = after;
        }
        parts
    }
    let wrap = |content: Vec<u8>| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], &length[..], &content].concat()
    };
    let whole = parts(der);
    let body: Vec<&[u8]> = parts(whole[0]).into_iter().filter(|part| !matches!(part[0], 0xa0 | 0xa3)).collect();
    wrap([&wrap(body.concat())[..], &whole[1..].concat()].concat())
}

/// A TLS server that answers 200 to everything.
async fn tls_echo(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> std::net::SocketAddr {
    tls_server(crate::support::tls::acceptor_of(made, &[])).await
}

async fn tls_server(acceptor: tokio_rustls::TlsAcceptor) -> std::net::SocketAddr {
    raw_server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut buffer = Vec::new();
            while read_message(&mut stream, &mut buffer, true).await.is_some() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_never_ended_cleanly() {
    let cut = raw_server(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let _ = read_message(&mut stream, &mut Vec::new(), true).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await;
    })
    .await;
    let conf = format!(
        "upstreams: {{ c: {{ endpoints: [ {{ address: \"{cut}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: c }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let response = get(proxy.http(), "c.test", "/").await;
    assert!(!response.is_whole, "{response:?}");
    let line = proxy.log_line(|line| line["server.address"] == "c.test").await;
    assert_eq!(line["reason"], "upstream_reset", "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_pass_bytes_both_ways() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let echo = Echo::start("a").await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n",
        echo.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut connection = Connection::open(proxy.http()).await;
    let head = "GET /chat HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let response = connection.send(head).await.unwrap();
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    for size in [1, 100, 100_000] {
        let message = vec![b'm'; size];
        connection.stream.write_all(&message).await.unwrap();
        let mut back = vec![0; size];
        if let Err(error) = connection.stream.read_exact(&mut back).await {
            panic!("{size} bytes: {error}: {}", proxy.log_line(|_| true).await);
        }
        assert_eq!(back, message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_other_endpoints_when_all_refuse() {
    let (a, dead) = (Echo::start("a").await, dead_address().await);
    let routed = ingress("a", "a.test", &[("/", "a")]);
    let conf = "defaults: { timeouts: { endpoints: 30s }, attempts: 1 }\n";
    let proxy = Proxy::start(conf, &[("a.yaml", routed.clone() + &service("a", &[dead]))]).await;
    let waiting = tokio::spawn({
        let http = proxy.http();
        async move { get(http, "a.test", "/").await }
    });
    until_metric(&proxy, "tidegate_upstream_endpoint_waiting", 1.0).await;
    proxy.put("a.yaml", &(routed + &service("a", &[dead, a.address])));
    assert_eq!(waiting.await.unwrap().server(), "a");
    let line = proxy.log_line(|line| line["attempts"].as_array().is_some_and(|attempts| attempts.len() == 2)).await;
    assert_eq!(
        (&line["attempts"][0]["outcome"], &line["http.response.status_code"]),
        (&"connect_failed".into(), &200.into()),
        "{line}"
    );
    until_metric(&proxy, "tidegate_upstream_endpoint_waits_total{result=\"endpoint\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_endpoints_has_its_limit_and_is_not_repeated() {
    let dead = dead_address().await;
    let routed = |name: &str| ingress(name, &format!("{name}.test"), &[("/", name)]) + &service(name, &[dead]);
    let conf = |wait: &str| format!("defaults: {{ timeouts: {{ endpoints: {wait} }} }}\n");
    let proxy = Proxy::start(&conf("10ms"), &[("a.yaml", routed("a"))]).await;
    for _ in 0..3 {
        assert_eq!(get(proxy.http(), "a.test", "/").await.status, 502);
    }
    let vain = "tidegate_upstream_endpoint_waits_total{result=\"vain\"}";
    until_metric(&proxy, vain, 1.0).await;

    let proxy = Proxy::start(&conf("0s"), &[("b.yaml", routed("b"))]).await;
    assert_eq!(get(proxy.http(), "b.test", "/").await.status, 502);
    until_metric(&proxy, vain, 0.0).await;
}
