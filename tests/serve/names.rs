//! What metrics and the access log call a route, and the backend that a request went to.

use std::collections::BTreeMap;

use crate::support::*;

/// Requests that ended, by these labels.
fn counted(metrics: &BTreeMap<String, f64>, labels: &str) -> f64 {
    let series = metrics.iter().filter(|(name, _)| name.starts_with(&format!("tidegate_requests_total{{{labels}")));
    series.map(|(_, count)| count).sum()
}

/// The names of the log line of a request.
async fn named(proxy: &Proxy, path: &str) -> [String; 5] {
    let line = proxy.log_line(|line| line["url.path"] == path).await;
    let names = ["namespace", "route.kind", "route.name", "service", "upstream"];
    names.map(|name| line[name].as_str().unwrap_or("-").to_owned())
}

/// Of several backends each counts its own requests, and the log names the one that was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_weighted_backends_the_one_that_was_asked_is_named() {
    let (a, b, s) = (Echo::start("a").await, Echo::start("b").await, Echo::start("s").await);
    let conf = format!(
        "upstreams:
  a: {{ endpoints: [ {{ address: \"{}\" }} ] }}
  b: {{ endpoints: [ {{ address: \"{}\" }} ] }}
routes:
  - name: mixed
    plugins: [ {{ type: headers, request: {{ set: {{ X-Service: \"${{route.service}}\" }} }} }} ]
    backends: [ {{ upstream: a }}, {{ upstream: b, weight: 2 }}, {{ service: default/s:80 }}, {{ upstream: b, weight: 0 }} ]
",
        a.address, b.address
    );
    let proxy = Proxy::start(&conf, &[("s.yaml", service("s", &[s.address]))]).await;
    let labels = [("a", "a", "upstream/a"), ("b", "b", "upstream/b"), ("s", "default/s", "default/s:80")];
    let mut answered = BTreeMap::new();
    let mut asked = 0;
    while answered.len() < 3 {
        let path = format!("/{asked}");
        let response = get(proxy.http(), "x.test", &path).await;
        let (_, service, upstream) = labels.iter().find(|(server, ..)| *server == response.server()).unwrap();
        assert_eq!(response.seen("x-service").as_deref(), Some(*service), "plugins see the same name");
        let [namespace, kind, route, logged, id] = named(&proxy, &path).await;
        assert_eq!((&*namespace, &*kind, &*route, &*logged, &*id), ("", "Conf", "mixed", *service, *upstream));
        *answered.entry(*service).or_default() += 1.0;
        asked += 1;
    }
    let metrics = metrics(&proxy).await;
    for (service, count) in answered {
        let labels = format!("namespace=\"\",kind=\"Conf\",route=\"mixed\",service=\"{service}\"");
        assert_eq!(counted(&metrics, &labels), count, "{service}");
        let durations = format!("tidegate_upstream_response_duration_seconds_count{{{labels}}}");
        assert_eq!(metrics.get(&durations), Some(&count), "{durations}");
    }
    let nobody = counted(&metrics, "namespace=\"\",kind=\"Conf\",route=\"mixed\",service=\"\"");
    assert_eq!(nobody, 0.0, "every request was let through to a backend");
}

/// What ends before a backend is chosen counts for none of several, and for the only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_no_backend_was_asked_for_is_named_by_what_is_certain() {
    let conf = "upstreams: { a: { endpoints: [] }, b: { endpoints: [] } }
routes:
  - { name: several, paths: [ { prefix: /several } ], maxBody: 1, backends: [ { upstream: a }, { upstream: b } ] }
  - { name: single, paths: [ { prefix: /single } ], maxBody: 1, backends: [ { upstream: a }, { upstream: b, weight: 0 } ] }
  - { name: same, paths: [ { prefix: /same } ], maxBody: 1, backends: [ { service: x/s:80 }, { service: x/s:81 } ] }
  - { name: fixed, paths: [ { prefix: /fixed } ], respond: { body: x } }
";
    let proxy = Proxy::start(conf, &[]).await;
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxx");
    for (path, status, service, upstream) in
        [("/several", 413, "", "-"), ("/single", 413, "a", "-"), ("/same", 413, "x/s", "-"), ("/fixed", 200, "", "-")]
    {
        assert_eq!(request(proxy.http(), &post(path)).await.status, status, "{path}");
        let expected = ["", "Conf", &path[1..], service, upstream].map(str::to_owned);
        assert_eq!(named(&proxy, path).await, expected, "{path}");
    }
    // Nobody is ready: the backend was asked for nevertheless.
    assert_eq!(get(proxy.http(), "x", "/several/get").await.status, 503);
    let [.., service, upstream] = named(&proxy, "/several/get").await;
    assert!(["a", "b"].contains(&&*service) && upstream == format!("upstream/{service}"), "{service} {upstream}");
}

/// Objects of one name in two namespaces, and a conf route of that name, have series of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_one_name_are_told_apart() {
    let echo = Echo::start("e").await;
    let objects = ingress("shop", "one.test", &[("/", "a")]) + &service("a", &[echo.address]);
    let others = objects.replace("namespace: default", "namespace: other").replace("one.test", "two.test");
    let conf = "routes: [ { name: shop, hosts: [three.test], backends: [ { service: default/a:80 } ] } ]\n";
    let proxy = Proxy::start(conf, &[("one.yaml", objects), ("two.yaml", others)]).await;
    for (host, namespace, kind, service) in [
        ("one.test", "default", "Ingress", "a"),
        ("two.test", "other", "Ingress", "a"),
        ("three.test", "", "Conf", "default/a"),
    ] {
        let path = format!("/{host}");
        assert_eq!(get(proxy.http(), host, &path).await.status, 200, "{host}");
        let [told_namespace, told_kind, route, told_service, _] = named(&proxy, &path).await;
        assert_eq!((&*told_namespace, &*told_kind, &*route, &*told_service), (namespace, kind, "shop", service));
        let labels =
            format!("namespace=\"{namespace}\",kind=\"{kind}\",route=\"shop\",service=\"{service}\",path=\"/\"");
        assert_eq!(counted(&metrics(&proxy).await, &labels), 1.0, "{labels}");
    }
}
