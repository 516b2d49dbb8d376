//! Options of the conf, each by its effect.

use crate::support::*;

fn route_to(address: std::net::SocketAddr) -> String {
    format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{address}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_header_is_added_changed_or_left_out() {
    let echo = Echo::start("a").await;
    for (option, expected) in [("", Some("tidegate")), ("edge-7", Some("edge-7")), ("\"off\"", None)] {
        let defaults =
            if option.is_empty() { String::new() } else { format!("defaults: {{ serverHeader: {option} }}\n") };
        let proxy = Proxy::start(&(defaults + &route_to(echo.address)), &[]).await;
        assert_eq!(get(proxy.http(), "a.test", "/").await.header("server"), expected, "upstream's answer, {option}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_serves_so_many_requests() {
    let echo = Echo::start("a").await;
    let conf = "defaults: { limits: { keepAliveRequests: 3 } }\n".to_owned() + &route_to(echo.address);
    let proxy = Proxy::start(&conf, &[]).await;
    let mut connection = Connection::open(proxy.http()).await;
    for served in 1..=3 {
        let response = connection.get("a.test", "/").await.unwrap();
        assert_eq!(response.status, 200, "request {served}");
    }
    assert!(connection.get("a.test", "/").await.is_none(), "the fourth needs a new connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_bound_how_many_endpoints_are_asked() {
    let dead = [dead_address().await, dead_address().await, dead_address().await, dead_address().await];
    let endpoints: Vec<String> = dead.iter().map(|address| format!("{{ address: \"{address}\" }}")).collect();
    let conf = format!(
        "upstreams: {{ d: {{ endpoints: [ {} ] }} }}\nroutes:\n  - {{ hosts: [two.test], attempts: 2, backends: [ {{ upstream: d }} ] }}\n  - {{ hosts: [three.test], backends: [ {{ upstream: d }} ] }}\n",
        endpoints.join(", ")
    );
    let proxy = Proxy::start(&conf, &[]).await;
    for (host, attempts) in [("two.test", 2), ("three.test", 3)] {
        assert_eq!(get(proxy.http(), host, "/").await.status, 502);
        let line = proxy.log_line(|line| line["server.address"] == host).await;
        assert_eq!(line["attempts"].as_array().map(Vec::len), Some(attempts), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_offer_the_protocols_and_present_the_certificate_that_they_are_told() {
    let made = rcgen::generate_simple_self_signed(vec!["own.test".to_owned()]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let (crt, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&crt, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let conf = format!(
        "listeners:\n  - {{ name: http, address: \"127.0.0.1:0\", protocol: http }}\n  - {{ name: https, address: \"127.0.0.1:0\", protocol: https, tls: {{ alpn: [http/1.1], minVersion: \"1.3\", certificateFile: {:?}, keyFile: {:?} }} }}\nroutes: [ {{ respond: {{ body: hello }} }} ]\n",
        crt, key
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let stream = tls(proxy.https(), "any.test", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "h2 is not offered");
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(presented(proxy.https(), "any.test").await, made.cert.der().to_vec());
    let renewed = rcgen::generate_simple_self_signed(vec!["own.test".to_owned()]).unwrap();
    std::fs::write(&crt, renewed.cert.pem()).unwrap();
    std::fs::write(&key, renewed.signing_key.serialize_pem()).unwrap();
    let file = proxy.folder.path().join("tidegate.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("hello", "changed");
    std::fs::write(&file, text).unwrap();
    proxy.until("any.test", "/", |response| response.text() == "changed").await;
    assert_eq!(presented(proxy.https(), "any.test").await, renewed.cert.der().to_vec(), "read again with the conf");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_logs_take_the_form_that_they_are_told() {
    for (format, expected) in [
        ("combined", "\"GET /x?y=1 HTTP/1.1\" 200 5 \"-\" \"probe\""),
        ("{ nginx: \"$request_method|$host|$status|$body_bytes_sent|$http_user_agent\" }", "GET|log.test|200|5|probe"),
    ] {
        let conf = format!(
            "accessLog: {{ path: access.log, format: {format} }}\nroutes: [ {{ respond: {{ body: hello }} }} ]\n"
        );
        let proxy = Proxy::start(&conf, &[]).await;
        let ask = "GET /x?y=1 HTTP/1.1\r\nHost: log.test\r\nUser-Agent: probe\r\nConnection: close\r\n\r\n";
        assert_eq!(request(proxy.http(), ask).await.status, 200);
        let file = proxy.folder.path().join("access.log");
        let wait = async {
            while !std::fs::read_to_string(&file).unwrap_or_default().contains(expected) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let text = || std::fs::read_to_string(&file).unwrap_or_default();
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{expected} is not in {}", text()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_while_serving() {
    let echo = Echo::start("a").await;
    let conf = format!(
        "upstreams: {{ n: {{ dns: \"localhost:{}\" }} }}\nroutes: [ {{ backends: [ {{ upstream: n }} ] }} ]\n",
        echo.address.port()
    );
    let proxy = Proxy::start(&conf, &[]).await;
    proxy.until("n.test", "/", |response| response.server() == "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_names_are_served_only_when_allowed() {
    let echo = Echo::start("a").await;
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: ext, namespace: default }}\nspec: {{ type: ExternalName, externalName: localhost, ports: [ {{ name: http, port: 80, targetPort: {} }} ] }}\n",
        echo.address.port()
    );
    let port = service.replace("port: 80", &format!("port: {}", echo.address.port()));
    let route =
        ingress("e", "e.test", &[("/", "ext")]).replace("number: 80", &format!("number: {}", echo.address.port()));
    let proxy = Proxy::start("", &[("e.yaml", route.clone() + &port)]).await;
    assert_eq!(get(proxy.http(), "e.test", "/").await.status, 503);
    assert!(proxy.running.diagnostics().iter().any(|found| found.code.as_str() == "ExternalNameDisabled"));
    let allowed = "defaults: { allowExternalName: true, allowAddresses: [127.0.0.0/8] }\n";
    let proxy = Proxy::start(allowed, &[("e.yaml", route + &port)]).await;
    proxy.until("e.test", "/", |response| response.server() == "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_probed_when_an_annotation_says_so() {
    let good = Echo::start("good").await;
    let bad = raw_server(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let mut buffer = Vec::new();
        while read_message(&mut stream, &mut buffer, true).await.is_some() {
            let _ = stream.write_all(b"HTTP/1.1 500 S\r\nX-Echo: bad\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let annotated = service("p", &[good.address, bad]).replacen(
        "metadata: { name: p, namespace: default }",
        "metadata: { name: p, namespace: default, annotations: { tidegate.io/health-check: \"path=/healthz,interval=100ms,unhealthy=1\" } }",
        1,
    );
    let proxy = Proxy::start("", &[("p.yaml", ingress("p", "p.test", &[("/", "p")]) + &annotated)]).await;
    let wait = async {
        let mut run = 0;
        while run < 10 {
            run = if get(proxy.http(), "p.test", "/").await.server() == "good" { run + 1 } else { 0 };
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("only the healthy endpoint answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_goes_before_service_does() {
    let conf = "shutdown: { delay: 30s, timeout: 0s }\nroutes: [ { respond: { body: still } } ]\n";
    let proxy = Proxy::start(conf, &[]).await;
    let (http, telemetry) = (proxy.http(), proxy.running.telemetry().unwrap());
    let running = std::sync::Arc::new(proxy.running);
    let stopping = tokio::spawn({
        let running = running.clone();
        async move { running.stop().await }
    });
    let unready = async {
        while get(telemetry, "localhost", "/readyz").await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.expect("readiness goes first");
    assert_eq!(get(http, "s.test", "/").await.text(), "still", "traffic is served through the delay");
    stopping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_its_own_stands_for_unknown_names() {
    let (secret, der) = tls_secret("fallback", &["fallback.test"]);
    let conf = "defaults: { certificate: default/fallback }\n";
    let proxy = Proxy::start(conf, &[("s.yaml", secret)]).await;
    assert_eq!(presented(proxy.https(), "unknown.test").await, der);
}

/// Answers with the request's field names, spelled as they came, and a field of an odd spelling.
async fn speller() -> std::net::SocketAddr {
    raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = read_message(&mut stream, &mut buffer, true).await {
            let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
            let body = names.join(",");
            let answer =
                format!("HTTP/1.1 299 Fine\r\nX-ODD-Answer: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spelling_of_header_names_is_kept_when_told_so() {
    let upstream = speller().await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-ODD-Request: 1\r\n\r\n";
    for (option, asked, answered) in [
        ("", "x-odd-request", "x-odd-answer"),
        ("defaults: { preserveHeaderCase: true }\n", "X-ODD-Request", "X-ODD-Answer"),
    ] {
        let proxy = Proxy::start(&(option.to_owned() + &route_to(upstream)), &[]).await;
        let response = crate::support::request(proxy.http(), request).await;
        assert!(response.text().split(',').any(|name| name == asked), "{option}: {}", response.text());
        assert!(response.headers.iter().any(|(name, _)| name == answered), "{option}: {:?}", response.headers);
        assert_eq!(response.first_line, "HTTP/1.1 299 Fine", "the upstream's own phrase stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_upstreams_are_told_about_the_client_can_be_left_out() {
    let upstream = speller().await;
    let told = |option: &'static str| async move {
        let proxy = Proxy::start(&(option.to_owned() + &route_to(upstream)), &[]).await;
        let names = get(proxy.http(), "a.test", "/").await.text();
        let own = |name: &&str| name.starts_with("x-") || *name == "forwarded";
        let mut names: Vec<String> = names.split(',').filter(own).map(str::to_owned).collect();
        names.sort_unstable();
        names.join(",")
    };
    let forwarded = "x-forwarded-for,x-forwarded-host,x-forwarded-port,x-forwarded-proto,x-real-ip";
    assert_eq!(told("").await, format!("{forwarded},x-request-id"));
    assert_eq!(told("defaults: { xForwardedHeaders: false }\n").await, "x-request-id");
    assert_eq!(told("defaults: { requestIdHeader: false }\n").await, forwarded);
    assert_eq!(
        told("defaults: { xForwardedHeaders: false, requestIdHeader: false, forwardedHeader: true }\n").await,
        "forwarded"
    );
}
