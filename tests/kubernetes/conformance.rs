//! The public conformance scenarios of Ingress v1 (kubernetes-sigs/ingress-controller-conformance: default_backend,
//! host_rules, ingress_class, load_balancing, path_rules), told anew for this program. On a real cluster only.

use std::collections::BTreeSet;

use crate::real::{Cluster, all_of, ingress, said};
use crate::support::{Connection, PATIENCE, get, presented, request, tls, tls_secret};

/// Requests of all kinds, and what the backend must have seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_backend() {
    let Some(cluster) = Cluster::enter("default-backend").await else { return };
    cluster.serve(&[("echo-service", 1)]).await;
    let spec = "  defaultBackend: { service: { name: echo-service, port: { number: 8080 } } }\n";
    cluster.put(&ingress("default-backend", spec)).await;
    let edge = cluster.edge("").await;
    edge.until("my-host", 200).await;
    let address = edge.http().to_string();
    for (method, host, path) in [
        ("GET", "my-host", "/"),
        ("GET", "my-host", "/sub-path"),
        ("POST", "some-host", "/"),
        ("PUT", &address, "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource"),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\r\n"
        );
        let response = request(edge.http(), &head).await;
        let what = format!("{method} {host}{path}");
        assert_eq!((response.status, said(&response, "service")), (200, "echo-service".to_owned()), "{what}");
        assert!(response.first_line.starts_with("HTTP/1.1"), "{what}");
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(response.header(name).is_some(), "{what} has no {name}");
        }
        assert_eq!((said(&response, "method"), said(&response, "path")), (method.to_owned(), path.to_owned()));
        assert_eq!((said(&response, "proto"), said(&response, "host")), ("HTTP/1.1".to_owned(), host.to_owned()));
        assert_eq!(response.json()["headers"]["User-Agent"][0], "Go-http-client/1.1", "{what}");
    }
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_rules() {
    let Some(cluster) = Cluster::enter("host-rules").await else { return };
    cluster.serve(&[("wildcard-foo-com", 1), ("foo-bar-com", 1)]).await;
    let (secret, der) = tls_secret("conformance-tls", &["foo.bar.com"]);
    cluster.put(&secret).await;
    let path = |service: &str, port: &str| {
        format!(
            "http: {{ paths: [ {{ path: /, pathType: Prefix, backend: {{ service: {{ name: {service}, port: {{ {port} }} }} }} }} ] }}"
        )
    };
    let spec = format!(
        "  tls: [ {{ hosts: [foo.bar.com], secretName: conformance-tls }} ]\n  rules:\n    - {{ host: \"*.foo.com\", {} }}\n    - {{ host: foo.bar.com, {} }}\n",
        path("wildcard-foo-com", "number: 8080"),
        path("foo-bar-com", "name: http")
    );
    cluster.put(&ingress("host-rules", &spec)).await;
    let edge = cluster.edge("").await;
    edge.until("bar.foo.com", 200).await;
    // 1: TLS with the certificate of the host.
    assert_eq!(presented(edge.https(), "foo.bar.com").await, der);
    let stream = tls(edge.https(), "foo.bar.com", &["http/1.1"]).await.unwrap();
    let response = Connection { stream, buffer: Vec::new() }.get("foo.bar.com", "/").await.unwrap();
    assert_eq!((response.status, said(&response, "service")), (200, "foo-bar-com".to_owned()));
    assert_eq!(said(&response, "host"), "foo.bar.com");
    // 2: in clear, a redirect to the same place.
    let response = get(edge.http(), "foo.bar.com", "/").await;
    assert_eq!((response.status, response.header("location")), (308, Some("https://foo.bar.com/")));
    // 3 to 6: hosts that match, and those that do not.
    for (host, status) in [("subdomain.bar.com", 404), ("bar.foo.com", 200), ("baz.bar.foo.com", 404), ("foo.com", 404)]
    {
        let response = get(edge.http(), host, "/").await;
        assert_eq!(response.status, status, "{host}");
        if status == 200 {
            assert_eq!(
                (said(&response, "service"), said(&response, "host")),
                ("wildcard-foo-com".to_owned(), host.to_owned())
            );
        }
    }
    cluster.leave().await;
}

/// An Ingress of a class that nobody has is not served, and gets no address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingress_class() {
    let Some(cluster) = Cluster::enter("ingress-class").await else { return };
    cluster.serve(&[("echo", 1)]).await;
    let edge = cluster.edge("ingress: { status: { addresses: [192.0.2.9] } }\n").await;
    cluster
        .put(&ingress("unknown", &all_of("unknown.test", "echo")).replace("tidegate", "some-invalid-class-name"))
        .await;
    cluster.put(&ingress("known", &all_of("known.test", "echo"))).await;
    let has_address = |ingress: &serde_json::Value| ingress["status"]["loadBalancer"]["ingress"].is_array();
    // By then the other one, which is older, would have got one too.
    cluster.until(&cluster.path("Ingress", "known"), has_address).await;
    assert!(!has_address(&cluster.until(&cluster.path("Ingress", "unknown"), |_| true).await));
    assert_eq!(get(edge.http(), "unknown.test", "/").await.status, 404);
    edge.running.stop().await;
    cluster.leave().await;
}

/// All of ten pods get requests when each comes on a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancing() {
    let Some(cluster) = Cluster::enter("load-balancing").await else { return };
    cluster.serve(&[("echo-service", 1)]).await;
    let spec = "  defaultBackend: { service: { name: echo-service, port: { number: 8080 } } }\n";
    cluster.put(&ingress("load-balancing", spec)).await;
    let edge = cluster.edge("").await;
    edge.until("any.test", 200).await;
    cluster.serve(&[("echo-service", 10)]).await;
    let wait = async {
        loop {
            let mut pods = BTreeSet::new();
            for _ in 0..100 {
                let response = get(edge.http(), "any.test", "/").await;
                assert_eq!(response.status, 200);
                pods.insert(said(&response, "pod"));
            }
            if pods.len() == 10 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("ten pods in a hundred requests");
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_rules() {
    let Some(cluster) = Cluster::enter("path-rules").await else { return };
    let services = [
        "foo-exact",
        "foo-prefix",
        "aaa-slash-bbb-prefix",
        "aaa-prefix",
        "aaa-slash-bbb-slash-prefix",
        "foo-slash-exact",
    ];
    cluster.serve(&services.map(|service| (service, 1))).await;
    let rule = |host: &str, paths: &[(&str, &str, &str)]| {
        let paths = paths.iter().map(|(kind, path, service)| {
            format!("{{ path: {path}, pathType: {kind}, backend: {{ service: {{ name: {service}, port: {{ number: 8080 }} }} }} }}")
        });
        format!("    - {{ host: {host}, http: {{ paths: [ {} ] }} }}\n", paths.collect::<Vec<_>>().join(", "))
    };
    let spec = "  rules:\n".to_owned()
        + &rule("exact-path-rules", &[("Exact", "/foo", "foo-exact")])
        + &rule(
            "prefix-path-rules",
            &[
                ("Prefix", "/foo", "foo-prefix"),
                ("Prefix", "/aaa/bbb", "aaa-slash-bbb-prefix"),
                ("Prefix", "/aaa", "aaa-prefix"),
            ],
        )
        + &rule("mixed-path-rules", &[("Prefix", "/foo", "foo-prefix"), ("Exact", "/foo", "foo-exact")])
        + &rule(
            "trailing-slash-path-rules",
            &[("Prefix", "/aaa/bbb/", "aaa-slash-bbb-slash-prefix"), ("Exact", "/foo/", "foo-slash-exact")],
        );
    cluster.put(&ingress("path-rules", &spec)).await;
    let edge = cluster.edge("").await;
    let wanted = [
        ("exact-path-rules", "/foo", Some("foo-exact")),
        ("exact-path-rules", "/foo/", None),
        ("exact-path-rules", "/FOO", None),
        ("exact-path-rules", "/bar", None),
        ("prefix-path-rules", "/foo", Some("foo-prefix")),
        ("prefix-path-rules", "/foo/", Some("foo-prefix")),
        ("prefix-path-rules", "/FOO", None),
        ("prefix-path-rules", "/aaa/bbb", Some("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/bbb/ccc", Some("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/ccc", Some("aaa-prefix")),
        ("prefix-path-rules", "/aaaccc", None),
        ("mixed-path-rules", "/foo", Some("foo-exact")),
        ("trailing-slash-path-rules", "/aaa/bbb", Some("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/aaa/bbb/", Some("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/foo", None),
        ("trailing-slash-path-rules", "/foo/", Some("foo-slash-exact")),
    ];
    for (host, path, service) in wanted {
        let response = get(edge.http(), host, path).await;
        match service {
            Some(service) => {
                assert_eq!((response.status, said(&response, "service")), (200, service.to_owned()), "{host}{path}")
            }
            None => assert_eq!(response.status, 404, "{host}{path}"),
        }
    }
    cluster.leave().await;
}
