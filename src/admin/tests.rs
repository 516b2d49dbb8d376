use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{ClientError, get};
use super::*;
use crate::telemetry::http::Server;

struct Fixed;

impl Inspect for Fixed {
    fn status(&self) -> Value {
        json!({ "generation": 3 })
    }

    fn routes(&self) -> Value {
        json!([{ "host": "a.test", "path": "/" }])
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Value, String> {
        match &*query.url {
            "nonsense" => Err("`nonsense` is not a URL".to_owned()),
            url => Ok(json!({ "method": query.method.as_str(), "url": url })),
        }
    }

    fn upstreams(&self) -> Value {
        json!(["upstreams"])
    }

    fn certificates(&self) -> Value {
        json!(["certificates"])
    }

    fn diagnostics(&self) -> Value {
        json!([])
    }

    fn snapshot(&self) -> Value {
        json!({})
    }
}

/// The server stops when the test's runtime is dropped.
async fn start() -> SocketAddr {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = server.local_addr();
    tokio::spawn(server.serve(Arc::new(AdminPages::new(Arc::new(Fixed), address)), std::future::pending()));
    address
}

async fn raw(address: SocketAddr, line: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn every_question_is_answered_to_the_client() {
    let address = start().await;
    let base = format!("http://{address}");
    for (question, expected) in [
        ("status", json!({ "generation": 3 })),
        ("routes", json!([{ "host": "a.test", "path": "/" }])),
        ("upstreams", json!(["upstreams"])),
        ("certificates", json!(["certificates"])),
        ("diagnostics", json!([])),
        ("snapshot", json!({})),
        ("explain?method=PUT&url=http%3A%2F%2Fa.test%2F", json!({ "method": "PUT", "url": "http://a.test/" })),
    ] {
        assert_eq!(get(&base, &format!("/api/v1/{question}")).await.unwrap(), expected, "{question}");
    }
    let localhost = format!("localhost:{}", address.port());
    assert!(get(&localhost, "/api/v1/status").await.is_ok(), "without a scheme, by name");
}

#[tokio::test]
async fn the_client_says_why_there_is_no_answer() {
    let address = start().await;
    let base = format!("http://{address}/");
    let error = get(&base, "/api/v1/explain?url=nonsense").await.unwrap_err();
    let expected =
        format!("http://{address}/api/v1/explain?url=nonsense responds 400 Bad Request: `nonsense` is not a URL");
    assert_eq!(error.to_string(), expected);
    assert!(matches!(get(&base, "/api/v1/x").await, Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })));
    assert!(matches!(get(&base, "/").await, Err(ClientError::Json { .. })));
    for wrong in ["https://localhost", "", "http://localhost/api", "::"] {
        assert!(matches!(get(wrong, "/").await, Err(ClientError::Url { .. })), "{wrong}");
    }
    // Bound and not listening, so that nobody else gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let free = socket.local_addr().unwrap();
    assert!(matches!(get(&format!("http://{free}"), "/").await, Err(ClientError::Connect { .. })));
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_path() {
    let address = start().await;
    for path in ["/", "/page.js", "/api/v1/status", "/api/v1/explain?url=a", "/nothing"] {
        let answer = raw(address, &format!("GET {path}"), "evil.example").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        let own = raw(address, &format!("GET {path}"), &address.to_string()).await;
        assert!(!own.starts_with("HTTP/1.1 403 "), "{path}: {own}");
    }
}

#[tokio::test]
async fn what_came_through_a_proxy_is_refused_on_every_path() {
    let address = start().await;
    for path in ["/", "/page.js", "/api/v1/snapshot", "/nothing"] {
        for field in
            ["X-Forwarded-For: 192.0.2.1", "x-forwarded-proto: https", "CDN-Loop: tidegate", "Forwarded: for=x"]
        {
            let answer = raw(address, &format!("GET {path}"), &format!("localhost\r\n{field}")).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path} {field}: {answer}");
        }
    }
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let address = start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = raw(address, &format!("{method} /api/v1/status"), "localhost").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"), "{method}: {answer}");
    }
    let head = raw(address, "HEAD /api/v1/status", "localhost").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let address = start().await;
    let page = raw(address, "GET /", "localhost").await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'";
    assert!(page.contains(policy) && page.contains("x-frame-options: DENY"), "{page}");
    let attributes = page.split(" href=\"").chain(page.split(" src=\"")).filter_map(|text| text.split_once('"'));
    let sources: BTreeSet<&str> = attributes.map(|(source, _)| source).filter(|text| !text.contains('<')).collect();
    assert_eq!(sources, BTreeSet::from(["/page.css", "/page.js", "data:,"]));
    for (path, kind) in [("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let asset = raw(address, &format!("GET {path}"), "localhost").await;
        assert!(asset.contains(&format!("content-type: {kind}; charset=utf-8")), "{asset}");
    }
    // Answers are shown as text only: what an object is named cannot become markup.
    assert!(!include_str!("page.js").contains("innerHTML"));
}
