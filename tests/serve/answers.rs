//! What tidegate answers itself: status, body, fields and reason code.

use tokio::io::AsyncWriteExt;

use crate::support::*;
use tidegate::Reason;

/// Sends a raw request and returns status and the reason that the access log gives for it.
async fn reason(proxy: &Proxy, head: &str) -> (u16, String) {
    let id: String = (0..12).map(|_| fastrand::alphanumeric()).collect();
    let head = head.replace("\r\n\r\n", &format!("\r\nUser-Agent: {id}\r\nConnection: close\r\n\r\n"));
    let response = request(proxy.http(), &head).await;
    let line = proxy.log_line(|line| line["user_agent.original"] == id.as_str()).await;
    (response.status, line["reason"].as_str().unwrap_or_default().to_owned())
}

fn get_head(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

async fn proxy_with_every_fault() -> Proxy {
    let echo = Echo::start("echo").await;
    let dead = dead_address().await;
    let silent = raw_server(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let closing = raw_server(|mut stream| async move {
        let _ = read_message(&mut stream, &mut Vec::new(), true).await;
    })
    .await;
    let garbage = raw_server(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let _ = read_message(&mut stream, &mut Vec::new(), true).await;
        let _ = stream.write_all(b"\x00\x01garbage\r\n\r\n").await;
    })
    .await;
    let tunnel = raw_server(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let _ = read_message(&mut stream, &mut Vec::new(), true).await;
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged").await;
        std::future::pending::<()>().await;
    })
    .await;
    let not_tls = raw_server(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read_u8().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let conf = format!(
        r#"
defaults: {{ limits: {{ uri: 1KiB, headers: 8KiB, headerCount: 20 }} }}
upstreams:
  echo: {{ endpoints: [ {{ address: "{}" }} ] }}
  dead: {{ endpoints: [ {{ address: "{dead}" }} ] }}
  silent: {{ endpoints: [ {{ address: "{silent}" }} ] }}
  closing: {{ endpoints: [ {{ address: "{closing}" }} ] }}
  garbage: {{ endpoints: [ {{ address: "{garbage}" }} ] }}
  tunnel: {{ endpoints: [ {{ address: "{tunnel}" }} ] }}
  not-tls: {{ endpoints: [ {{ address: "{not_tls}" }} ], protocol: https }}
  mute-tls: {{ endpoints: [ {{ address: "{silent}" }} ], protocol: https }}
  empty: {{ endpoints: [] }}
routes:
  - {{ hosts: [echo.test], backends: [ {{ upstream: echo }} ], maxBody: 10B }}
  - {{ hosts: [dead.test], backends: [ {{ upstream: dead }} ] }}
  - {{ hosts: [silent.test], backends: [ {{ upstream: silent }} ], timeouts: {{ read: 100ms }} }}
  - {{ hosts: [closing.test], backends: [ {{ upstream: closing }} ] }}
  - {{ hosts: [garbage.test], backends: [ {{ upstream: garbage }} ] }}
  - {{ hosts: [tunnel.test], backends: [ {{ upstream: tunnel }} ] }}
  - {{ hosts: [tls.test], backends: [ {{ upstream: not-tls }} ] }}
  - {{ hosts: [mute.test], backends: [ {{ upstream: mute-tls }} ], timeouts: {{ connect: 100ms }} }}
  - {{ hosts: [empty.test], backends: [ {{ upstream: empty }} ] }}
  - {{ hosts: [invalid.test], backends: [ {{ upstream: nowhere }} ] }}
  - {{ hosts: [broken.test], backends: [ {{ upstream: echo }} ], plugins: [ {{ type: headers, nonsense: 1 }} ] }}
  - {{ hosts: [secure.test], backends: [ {{ upstream: echo }} ], httpsRedirect: true }}
  - {{ hosts: [redirect.test], redirect: {{ path: /x }} }}
  - {{ hosts: [respond.test], respond: {{ body: hello }} }}
"#,
        echo.address
    );
    Proxy::start(&conf, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_that_a_single_request_can_reach_is_reached() {
    let proxy = proxy_with_every_fault().await;
    let long = format!("/{}", "x".repeat(2000));
    let many: String = (0..30).map(|n| format!("X-H{n}: v\r\n")).collect();
    let cases = [
        (get_head("echo.test", "/"), 200, Reason::Upstream),
        (get_head("nobody.test", "/"), 404, Reason::NoRoute),
        (get_head("dead.test", "/"), 502, Reason::ConnectFailed),
        (get_head("silent.test", "/"), 504, Reason::UpstreamTimeout),
        (get_head("closing.test", "/"), 502, Reason::UpstreamReset),
        (get_head("garbage.test", "/"), 502, Reason::UpstreamProtocol),
        (get_head("tunnel.test", "/"), 502, Reason::UpstreamProtocol),
        (get_head("tls.test", "/"), 502, Reason::UpstreamTls),
        (get_head("mute.test", "/"), 504, Reason::ConnectTimeout),
        (get_head("empty.test", "/"), 503, Reason::NoEndpoints),
        (get_head("invalid.test", "/"), 503, Reason::InvalidBackend),
        (get_head("broken.test", "/"), 503, Reason::BrokenPolicy),
        (get_head("secure.test", "/"), 308, Reason::HttpsRedirect),
        (get_head("redirect.test", "/"), 302, Reason::Redirect),
        (get_head("respond.test", "/"), 200, Reason::DirectResponse),
        (get_head("echo.test", "/a%2fb"), 400, Reason::BadPath),
        (get_head("echo.test", "/a%00b"), 400, Reason::BadPath),
        (get_head("echo.test", "/a\\b"), 400, Reason::BadPath),
        (get_head("echo.test", "/../x"), 400, Reason::BadPath),
        (get_head("ec ho.test", "/"), 400, Reason::BadHost),
        (get_head("a,b", "/"), 400, Reason::BadHost),
        (get_head("echo.test:99999", "/"), 400, Reason::BadHost),
        ("GET / HTTP/1.1\r\nX-None: 1\r\n\r\n".to_owned(), 400, Reason::BadHost),
        ("TRACE / HTTP/1.1\r\nHost: echo.test\r\n\r\n".to_owned(), 405, Reason::BadMethod),
        ("GET / HTTP/1.1\r\nHost: echo.test\r\nExpect: magic\r\n\r\n".to_owned(), 400, Reason::BadRequest),
        ("POST / HTTP/1.1\r\nHost: echo.test\r\nContent-Length: 11\r\n\r\n".to_owned(), 413, Reason::BodyTooLarge),
        (get_head("echo.test", &long), 414, Reason::UriTooLong),
        (format!("GET / HTTP/1.1\r\nHost: echo.test\r\n{many}\r\n"), 431, Reason::HeadersTooLarge),
    ];
    for (head, status, expected) in cases {
        let first = head.lines().take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(reason(&proxy, &head).await, (status, expected.as_str().to_owned()), "{first:.80}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_carry_type_length_date_server_and_request_id() {
    let proxy = Proxy::start("", &[]).await;
    let plain = get(proxy.http(), "nobody.test", "/").await;
    for name in ["content-type", "content-length", "date", "server", "x-request-id"] {
        assert!(plain.header(name).is_some(), "{name} is missing: {plain:?}");
    }
    assert_eq!(plain.header("server"), Some("tidegate"));
    assert!(plain.text().contains(plain.header("x-request-id").unwrap()), "{}", plain.text());
    let json = request(
        proxy.http(),
        "GET / HTTP/1.1\r\nHost: nobody.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(json.header("content-type"), Some("application/problem+json"));
    assert_eq!(json.json()["status"], 404);
    assert_eq!(json.json()["requestId"].as_str(), json.header("x-request-id"), "{}", json.text());
    let head = request(proxy.http(), "HEAD / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    let grpc = request(
        proxy.http(),
        "POST /svc/Method HTTP/1.1\r\nHost: nobody.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("12")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_sent_to_https_for_hosts_with_tls() {
    let echo = Echo::start("a").await;
    let tls = "  tls: [ { hosts: [a.test], secretName: none } ]\n";
    let off = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: b\n  namespace: default\n  annotations: { nginx.ingress.kubernetes.io/ssl-redirect: \"false\" }\nspec:\n  ingressClassName: tidegate\n  tls: [ { hosts: [b.test], secretName: none } ]\n  rules: [ { host: b.test, http: { paths: [ { path: /, pathType: Prefix, backend: { service: { name: a, port: { number: 80 } } } } ] } } ]\n";
    let manifests = ingress("a", "a.test", &[("/", "a")]) + tls + "---\n" + off + &service("a", &[echo.address]);
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    let redirect = get(proxy.http(), "a.test:8080", "/x/y?z=1").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("https://a.test/x/y?z=1")));
    assert_eq!(get(proxy.http(), "a.test", "/.well-known/acme-challenge/token").await.status, 200);
    assert_eq!(get(proxy.http(), "b.test", "/").await.server(), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_fields_tell_the_truth_unless_the_peer_is_trusted() {
    let echo = Echo::start("a").await;
    let route = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n",
        echo.address
    );
    let ask = "GET / HTTP/1.1\r\nHost: f.test:8080\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 9.9.9.9\r\nX-Request-ID: mine\r\nProxy: evil\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\n\r\n";
    let proxy = Proxy::start(&route, &[]).await;
    let untrusted = request(proxy.http(), ask).await;
    assert_eq!(untrusted.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(untrusted.seen("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(untrusted.seen("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(untrusted.seen("x-forwarded-host").as_deref(), Some("f.test:8080"));
    assert_ne!(untrusted.seen("x-request-id").as_deref(), Some("mine"));
    assert_eq!(untrusted.seen("x-request-id").unwrap().len(), 32);
    for dropped in ["x_forwarded_for", "proxy", "x-drop"] {
        assert_eq!(untrusted.seen(dropped), None, "{dropped}");
    }
    assert_eq!(untrusted.header("keep-alive"), None, "hop-by-hop fields of the answer are removed");
    let proxy =
        Proxy::start(&format!("trustedProxies: [127.0.0.0/8]\ndefaults: {{ forwardedHeader: true }}\n{route}"), &[])
            .await;
    let trusted = request(proxy.http(), ask).await;
    assert_eq!(trusted.seen("x-forwarded-for").as_deref(), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(trusted.seen("x-real-ip").as_deref(), Some("1.2.3.4"));
    assert_eq!(trusted.seen("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(trusted.seen("x-request-id").as_deref(), Some("mine"));
    assert!(trusted.seen("forwarded").is_some());
}

/// RFC 9110 section 8.6, RFC 9112 section 6.1: an answer that ends with its head has no length, whatever it came with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_end_with_their_head_have_no_length() {
    let upstream = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(asked) = read_message(&mut stream, &mut buffer, true).await {
            let answer = match asked.first_line.split(' ').nth(1) {
                Some("/length") => "HTTP/1.1 204 No Content\r\nContent-Length: 120\r\n\r\n",
                Some("/zero") => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                Some("/chunked") => "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some("/hints") => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"
                }
                Some("/same") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 120\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{upstream}\" }} ] }} }}\nroutes:\n  - {{ backends: [ {{ upstream: a }} ] }}\n  - {{ hosts: [own.test], respond: {{ status: 204, body: none }} }}\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut connection = Connection::open(proxy.http()).await;
    for (host, path) in
        [("a.test", "/length"), ("a.test", "/zero"), ("a.test", "/chunked"), ("a.test", "/hints"), ("own.test", "/")]
    {
        let mut answer = connection.get(host, path).await.unwrap();
        if answer.status == 103 {
            assert_eq!((answer.header("link"), answer.header("content-length")), (Some("</a>"), None));
            assert_eq!((answer.header("connection"), answer.header("x-hop")), (None, None));
            answer = connection.read().await.unwrap();
        }
        assert_eq!(answer.status, 204, "{host}{path}");
        let lengths = (answer.header("content-length"), answer.header("transfer-encoding"));
        assert_eq!(lengths, (None, None), "{host}{path}");
        assert_eq!(connection.get("a.test", "/next").await.unwrap().text(), "secret", "the next answer is whole");
    }
    let same = connection.get("a.test", "/same").await.unwrap();
    assert_eq!((same.status, same.header("content-length")), (304, Some("120")), "what 200 would have");
    assert_eq!(connection.get("a.test", "/next").await.unwrap().text(), "secret");
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (mut client, h2) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(h2);
    for (host, path) in [("a.test", "/length"), ("a.test", "/chunked"), ("own.test", "/")] {
        let ask = http::Request::get(format!("https://{host}{path}")).body(()).unwrap();
        let (answer, _) = client.send_request(ask, true).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("content-length")), (204, None), "{host}{path}");
        assert!(answer.into_body().data().await.is_none(), "no body: {host}{path}");
    }
}
