//! TLS by server name, HTTP/2, and certificates that change.

use crate::support::*;
use bytes::Bytes;

fn tls_ingress(name: &str, host: &str, secret: &str) -> String {
    ingress(name, host, &[("/", "a")]) + &format!("  tls: [ {{ hosts: [\"{host}\"], secretName: {secret} }} ]\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_follow_the_server_name() {
    let echo = Echo::start("a").await;
    let (one, one_der) = tls_secret("one", &["one.test"]);
    let (wild, wild_der) = tls_secret("wild", &["*.wild.test"]);
    let manifests = tls_ingress("one", "one.test", "one")
        + &tls_ingress("wild", "*.wild.test", "wild")
        + &service("a", &[echo.address])
        + &one
        + &wild;
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    assert_eq!(presented(proxy.https(), "one.test").await, one_der);
    assert_eq!(presented(proxy.https(), "x.wild.test").await, wild_der);
    let default = presented(proxy.https(), "unknown.test").await;
    assert!(default != one_der && default != wild_der, "unknown names get the default certificate");
    assert_eq!(presented(proxy.https(), "y.x.wild.test").await, default, "a wildcard stands for one label");
    let stream = tls(proxy.https(), "one.test", &["http/1.1"]).await.unwrap();
    let mut connection = Connection { stream, buffer: Vec::new() };
    let response = connection.get("one.test", "/").await.unwrap();
    assert_eq!((response.server().as_str(), response.seen("x-forwarded-proto").as_deref()), ("a", Some("https")));
    assert_eq!(response.seen("x-forwarded-port").as_deref(), Some("443"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_serves_the_next_handshake_and_spares_open_connections() {
    let echo = Echo::start("a").await;
    let (first, first_der) = tls_secret("cert", &["c.test"]);
    let (second, second_der) = tls_secret("cert", &["c.test"]);
    let routes = tls_ingress("c", "c.test", "cert") + &service("a", &[echo.address]);
    let proxy = Proxy::start("", &[("a.yaml", routes), ("cert.yaml", first)]).await;
    assert_eq!(presented(proxy.https(), "c.test").await, first_der);
    let stream = tls(proxy.https(), "c.test", &["http/1.1"]).await.unwrap();
    let mut open = Connection { stream, buffer: Vec::new() };
    assert_eq!(open.get("c.test", "/").await.unwrap().status, 200);
    proxy.put("cert.yaml", &second);
    until_presented(&proxy, "c.test", &second_der).await;
    assert_eq!(open.get("c.test", "/").await.unwrap().status, 200, "the open connection goes on");
    let bad = [
        ("kubernetes.io/tls", "tls.crt: rubbish, tls.key: rubbish", "InvalidCertificate"),
        ("kubernetes.io/tls", "tls.crt: only", "InvalidSecret"),
        ("Opaque", "tls.crt: a, tls.key: b", "InvalidCertificate"),
    ];
    for (kind, data, code) in bad {
        let before = proxy.running.revision();
        proxy.put("cert.yaml", &secret(kind, data));
        proxy.running.after(before).await;
        let found = proxy.running.diagnostics();
        assert_eq!(presented(proxy.https(), "c.test").await, second_der, "{kind} with {data} keeps the last good one");
        assert!(found.iter().any(|diagnostic| diagnostic.code.as_str() == code), "{code} is not in {found:?}");
    }
    let before = proxy.running.revision();
    proxy.remove("cert.yaml");
    proxy.running.after(before).await;
    let default = presented(proxy.https(), "unknown.test").await;
    assert_eq!(presented(proxy.https(), "c.test").await, default, "a Secret that is gone leaves the default one");
}

/// An Ingress of a namespace of its own; `rest` is what stands beside the rules.
fn tenant(namespace: &str, created: &str, host: &str, path: &str, rest: &str) -> String {
    let rule = format!(
        "host: \"{host}\", http: {{ paths: [ {{ path: {path}, pathType: Prefix, backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }} ] }}"
    );
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ namespace: {namespace}, name: web, creationTimestamp: \"{created}\" }}\nspec:\n  ingressClassName: tidegate\n  rules: [ {{ {rule} }} ]\n{rest}"
    )
}

fn of(namespace: &str, manifest: &str) -> String {
    manifest.replace("namespace: default", &format!("namespace: {namespace}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_entries_and_default_backends_of_others_change_nothing_on_a_host() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (own, own_der) = tls_secret("cert", &["shop.test"]);
    let (foreign, foreign_der) = tls_secret("cert", &["shop.test", "other.test", "unknown.test"]);
    let entry = "  tls: [ { hosts: [shop.test, other.test], secretName: cert } ]\n  defaultBackend: { service: { name: web, port: { number: 80 } } }\n";
    let stranger = tenant("two", "2026-01-01T00:00:00Z", "other.test", "/", entry)
        + &tenant("two", "2026-01-01T00:00:00Z", "", "/x", "  tls: [ { secretName: cert } ]\n")
            .replace("name: web, creation", "name: wide, creation")
        + &of("two", &(service("web", &[b.address]) + &foreign));
    let owner = |rest: &str| {
        tenant("one", "2020-01-01T00:00:00Z", "shop.test", "/shop", rest) + &of("one", &service("web", &[a.address]))
    };
    let proxy = Proxy::start("", &[("owner.yaml", owner("")), ("stranger.yaml", stranger)]).await;
    let default = presented(proxy.https(), "nobody.test").await;
    assert!(default != own_der && default != foreign_der);
    for name in ["shop.test", "unknown.test"] {
        assert_eq!(presented(proxy.https(), name).await, default, "{name}: a certificate of others");
    }
    assert_eq!(presented(proxy.https(), "other.test").await, foreign_der);
    for (host, path, status) in [("shop.test", "/shop", 200), ("shop.test", "/else", 404), ("other.test", "/", 308)] {
        assert_eq!(get(proxy.http(), host, path).await.status, status, "{host}{path}");
    }
    let codes: Vec<&str> = proxy.running.diagnostics().iter().map(|found| found.code.as_str()).collect();
    assert!(
        ["TlsHostOfOthers", "CertificateWithoutHost", "HostNamedByOthers"].iter().all(|code| codes.contains(code)),
        "{codes:?}"
    );
    let with_tls = owner("  tls: [ { hosts: [shop.test], secretName: cert } ]\n") + &of("one", &own);
    proxy.put("owner.yaml", &with_tls);
    until_presented(&proxy, "shop.test", &own_der).await;
    assert_eq!(get(proxy.http(), "shop.test", "/shop").await.status, 308, "its own entry redirects");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_its_namespace_serves_by_a_wildcard_or_by_no_host_is_redirected_and_has_its_certificate() {
    let echo = Echo::start("a").await;
    let (cert, der) = tls_secret("cert", &["x.wild.test", "any.test"]);
    let entry = |host: &str| format!("  tls: [ {{ hosts: [{host}], secretName: cert }} ]\n");
    let manifests = ingress("wild", "*.wild.test", &[("/", "a")])
        + &entry("x.wild.test")
        + &ingress("any", "", &[("/", "a")])
        + &entry("any.test")
        + &service("a", &[echo.address])
        + &cert;
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    let default = presented(proxy.https(), "nobody.test").await;
    for (name, is_named) in [("x.wild.test", true), ("any.test", true), ("y.wild.test", false), ("some.test", false)] {
        let want = if is_named { (&der, 308) } else { (&default, 200) };
        let seen = (presented(proxy.https(), name).await, get(proxy.http(), name, "/").await.status);
        assert_eq!((&seen.0, seen.1), want, "{name}");
    }
}

fn secret(kind: &str, data: &str) -> String {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: { name: cert, namespace: default }\n";
    format!("{head}type: {kind}\nstringData: {{ {data} }}\n")
}

async fn until_presented(proxy: &Proxy, name: &str, expected: &[u8]) {
    let wait = async {
        while presented(proxy.https(), name).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the new certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_requests_reach_http1_upstreams_with_one_cookie_field() {
    let echo = Echo::start("a").await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ hosts: [h2.test], backends: [ {{ upstream: a }} ] }} ]\n",
        echo.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let stream = tls(proxy.https(), "h2.test", &["h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::get("https://h2.test/x").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let (answer, _) = client.send_request(ask, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = collect(answer.into_body()).await;
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let cookies: Vec<_> = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case("cookie"))
        .map(|header| header[1].as_str().unwrap())
        .collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

async fn collect(mut body: h2::RecvStream) -> Bytes {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        let _ = body.flow_control().release_capacity(chunk.len());
        all.extend_from_slice(&chunk);
    }
    all.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_keeps_its_trailers_from_http2_to_http2() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    body.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    let conf = format!(
        "upstreams: {{ g: {{ endpoints: [ {{ address: \"{address}\" }} ], protocol: h2c }} }}\nroutes: [ {{ backends: [ {{ upstream: g }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let stream = tls(proxy.https(), "g.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::post("https://g.test/svc/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut send) = client.send_request(ask.body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    while let Some(chunk) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.unwrap().len());
    }
    let trailers = body.trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
}
