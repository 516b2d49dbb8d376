//! From request to backend: Ingress rules and conf routes.

use crate::support::*;

/// The path and host rules of the public Ingress conformance scenarios.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingress_paths_and_hosts_match_as_the_api_says() {
    let (foo, exact, bbb, aaa, wild) = (
        Echo::start("foo-prefix").await,
        Echo::start("foo-exact").await,
        Echo::start("aaa-slash-bbb").await,
        Echo::start("aaa").await,
        Echo::start("wild").await,
    );
    let rules = ingress("rules", "paths.test", &[("/foo", "foo"), ("/aaa/bbb/", "bbb"), ("/aaa", "aaa")])
        + "      - { path: /foo, pathType: Exact, backend: { service: { name: exact, port: { name: http } } } }\n";
    let manifests = rules
        + &ingress("wild", "*.foo.test", &[("/", "wild")])
        + &service("foo", &[foo.address])
        + &service("exact", &[exact.address])
        + &service("bbb", &[bbb.address])
        + &service("aaa", &[aaa.address])
        + &service("wild", &[wild.address]);
    let proxy = Proxy::start("", &[("all.yaml", manifests)]).await;
    let cases = [
        ("paths.test", "/foo", "foo-exact"),
        ("paths.test", "/foo/", "foo-prefix"),
        ("paths.test", "/foo/x?y=z", "foo-prefix"),
        ("PATHS.test:80", "/foo", "foo-exact"),
        ("paths.test.", "/foo", "foo-exact"),
        ("paths.test", "/FOO", ""),
        ("paths.test", "/foobar", ""),
        ("paths.test", "/aaa/bbb", "aaa-slash-bbb"),
        ("paths.test", "/aaa/bbb/ccc", "aaa-slash-bbb"),
        ("paths.test", "/aaa/ccc", "aaa"),
        ("paths.test", "/aaaccc", ""),
        ("paths.test", "/x/../foo/./y", "foo-prefix"),
        ("paths.test", "//foo", "foo-exact"),
        ("paths.test", "/%66oo", "foo-exact"),
        ("bar.foo.test", "/", "wild"),
        ("baz.bar.foo.test", "/", ""),
        ("foo.test", "/", ""),
        ("unknown.test", "/", ""),
    ];
    for (host, path, expected) in cases {
        let response = get(proxy.http(), host, path).await;
        let status = if expected.is_empty() { 404 } else { 200 };
        assert_eq!((response.status, response.server().as_str()), (status, expected), "{host}{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_gets_the_canonical_form_that_was_routed() {
    let echo = Echo::start("a").await;
    let manifests = ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address]);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    let response = get(proxy.http(), "A.test", "/x/../%61dmin//p%c3%a4th/?q=%2F..").await;
    assert_eq!(response.json()["target"], "/admin/p%C3%A4th/?q=%2F..");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_backend_takes_what_no_rule_wants() {
    let (a, rest) = (Echo::start("a").await, Echo::start("rest").await);
    let rest_only = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: rest, namespace: default }\nspec: { ingressClassName: tidegate, defaultBackend: { service: { name: rest, port: { number: 80 } } } }\n";
    let manifests = ingress("a", "a.test", &[("/a", "a")])
        + rest_only
        + &service("a", &[a.address])
        + &service("rest", &[rest.address]);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    assert_eq!(get(proxy.http(), "a.test", "/a").await.server(), "a");
    assert_eq!(get(proxy.http(), "other.test", "/any").await.server(), "rest");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = request(
            proxy.http(),
            &format!(
                "{method} /resource HTTP/1.1\r\nHost: some.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        )
        .await;
        assert_eq!((response.server().as_str(), response.json()["method"].as_str()), ("rest", Some(method)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conf_routes_match_on_method_header_query_and_regex() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let conf = format!(
        r#"
upstreams:
  a: {{ endpoints: [ {{ address: "{}" }} ] }}
  b: {{ endpoints: [ {{ address: "{}" }} ] }}
routes:
  - {{ hosts: [m.test], methods: [POST], backends: [ {{ upstream: b }} ] }}
  - {{ hosts: [m.test], headers: [ {{ name: X-Env, exact: canary }} ], backends: [ {{ upstream: b }} ] }}
  - {{ hosts: [m.test], query: [ {{ name: v, regex: "[0-9]+" }} ], backends: [ {{ upstream: b }} ] }}
  - {{ hosts: [m.test], paths: [ {{ regex: "/re/[a-c]+$" }} ], backends: [ {{ upstream: b }} ] }}
  - {{ hosts: [m.test], backends: [ {{ upstream: a }} ] }}
  - {{ hosts: ["**.deep.test"], backends: [ {{ upstream: b }} ] }}
"#,
        a.address, b.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let ask = async |line: &str, more: &str| {
        request(proxy.http(), &format!("{line} HTTP/1.1\r\nHost: m.test\r\nConnection: close\r\n{more}\r\n"))
            .await
            .server()
    };
    assert_eq!(ask("GET /", "").await, "a");
    assert_eq!(ask("POST /", "Content-Length: 0\r\n").await, "b");
    assert_eq!(ask("GET /", "X-Env: canary\r\n").await, "b");
    assert_eq!(ask("GET /", "X-Env: canary2\r\n").await, "a");
    assert_eq!(ask("GET /?v=12", "").await, "b");
    assert_eq!(ask("GET /?v=12x", "").await, "a");
    assert_eq!(ask("GET /re/abc", "").await, "b");
    assert_eq!(ask("GET /re/abd", "").await, "a");
    assert_eq!(get(proxy.http(), "x.y.deep.test", "/").await.server(), "b");
    assert_eq!(get(proxy.http(), "deep.test", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_requests_and_zero_gets_none() {
    let (a, b, c) = (Echo::start("a").await, Echo::start("b").await, Echo::start("c").await);
    let conf = format!(
        r#"
upstreams:
  a: {{ endpoints: [ {{ address: "{}" }} ] }}
  b: {{ endpoints: [ {{ address: "{}" }} ] }}
  c: {{ endpoints: [ {{ address: "{}" }} ] }}
routes:
  - {{ backends: [ {{ upstream: a, weight: 3 }}, {{ upstream: b, weight: 1 }}, {{ upstream: c, weight: 0 }} ] }}
"#,
        a.address, b.address, c.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut connection = Connection::open(proxy.http()).await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        *counts.entry(connection.get("w.test", "/").await.unwrap().server()).or_insert(0) += 1;
    }
    assert!((650..850).contains(&counts["a"]), "{counts:?}");
    assert!((150..350).contains(&counts["b"]), "{counts:?}");
    assert!(!counts.contains_key("c"), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_and_fixed_responses_answer_without_an_upstream() {
    let conf = r#"
routes:
  - { hosts: [r.test], paths: [ { prefix: /old } ], redirect: { status: 301, scheme: https, host: new.test, prefix: /fresh } }
  - { hosts: [r.test], paths: [ { exact: /full } ], redirect: { path: /there, port: 8443 } }
  - { hosts: [r.test], paths: [ { exact: /hello } ], respond: { status: 201, body: "{\"a\":1}", contentType: application/json } }
"#;
    let proxy = Proxy::start(conf, &[]).await;
    let moved = get(proxy.http(), "r.test", "/old/a/b?q=1").await;
    assert_eq!((moved.status, moved.header("location")), (301, Some("https://new.test/fresh/a/b?q=1")));
    let full = get(proxy.http(), "r.test", "/full?q=1").await;
    assert_eq!((full.status, full.header("location")), (302, Some("http://r.test:8443/there?q=1")));
    let fixed = get(proxy.http(), "r.test", "/hello").await;
    assert_eq!(
        (fixed.status, fixed.header("content-type"), fixed.text().as_str()),
        (201, Some("application/json"), "{\"a\":1}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_robin_reaches_all_ten_endpoints_of_a_service() {
    let mut echoes = Vec::new();
    for index in 0..10 {
        echoes.push(Echo::start(&format!("pod-{index}")).await);
    }
    let addresses: Vec<_> = echoes.iter().map(|echo| echo.address).collect();
    let manifests = ingress("a", "a.test", &[("/", "a")]) + &service("a", &addresses);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..100 {
        *seen.entry(get(proxy.http(), "a.test", "/").await.server()).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert!(seen.values().all(|count| *count == 10), "round robin is even: {seen:?}");
}
