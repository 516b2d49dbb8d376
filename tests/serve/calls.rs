//! Plugins that ask other servers: by URL, by upstream, within bounds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    BoxFuture, BuildContext, BuildError, CallError, Define, Flow, HttpClient, Plugin, ReasonCode, Reply,
    RequestContext, Stage, Verdict, plugin,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

/// Lets in whom the server at this URL lets in.
struct ForwardAuth {
    url: String,
    http: HttpClient,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ForwardAuthConfig {
    url: String,
    max_calls: Option<u32>,
    timeout_ms: Option<u64>,
}

const UNREACHABLE: ReasonCode = ReasonCode::new("auth_unreachable");

impl Define for ForwardAuth {
    const NAME: &'static str = "forward-auth";
    const STAGE: Stage = Stage::Authenticate;
    type Config = ForwardAuthConfig;

    fn build(config: ForwardAuthConfig, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        let http = cx.http().with_max_response(1000).with_max_calls(config.max_calls.unwrap_or(64));
        Ok(Self {
            url: config.url,
            http: http.with_timeout(Duration::from_millis(config.timeout_ms.unwrap_or(20_000))),
        })
    }
}

#[plugin]
impl Plugin for ForwardAuth {
    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        Flow::Wait
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async {
            // The path and query of the request are the rest of the URL.
            let url = format!("{}{}?{}", self.url, cx.path, cx.query.unwrap_or_default());
            let request = http::Request::put(url).header("x-user", "ann").body("secret".into()).unwrap();
            match self.http.send(request).await {
                Ok(response) if response.status().is_success() => Verdict::Continue,
                Ok(response) => Verdict::Reply(Reply::new(response.status())),
                Err(error) => {
                    let status = match error {
                        CallError::TooMany => StatusCode::SERVICE_UNAVAILABLE,
                        CallError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                        CallError::NoAddress | CallError::NoUpstream => StatusCode::FORBIDDEN,
                        _ => StatusCode::BAD_GATEWAY,
                    };
                    Verdict::Reply(Reply::new(status).because(UNREACHABLE))
                }
            }
        })
    }
}

async fn proxy(auth: &str, upstreams: &str) -> Proxy {
    let conf = format!(
        "plugins: {{ p: {{ type: forward-auth, {auth} }} }}\n{upstreams}routes:\n  - {{ hosts: [p.test], respond: {{ body: in }}, plugins: [p] }}\n"
    );
    Proxy::start_with(Tidegate::builder().plugin::<ForwardAuth>(), &conf, &[]).await
}

async fn status(proxy: &Proxy, path: &str) -> u16 {
    get(proxy.http(), "p.test", path).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_server_decides_by_url_or_upstream_and_connections_are_kept() {
    let echo = Echo::start("auth").await;
    let by_url = proxy(&format!("url: \"http://{}\"", echo.address), "").await;
    let upstreams = format!("upstreams: {{ auth: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\n", echo.address);
    let by_upstream = proxy("url: \"upstream://auth\"", &upstreams).await;
    for proxy in [&by_url, &by_upstream] {
        assert_eq!(status(proxy, "/check").await, 200);
        assert_eq!(status(proxy, "/check?status=418").await, 418);
        assert_eq!(status(proxy, "/check?size=5000").await, 502, "more than the plugin takes");
        let metrics = metrics(proxy).await;
        assert_eq!(metrics["tidegate_plugin_calls_total{plugin=\"p\",result=\"done\"}"], 2.0);
        assert_eq!(metrics["tidegate_plugin_calls_total{plugin=\"p\",result=\"too_large\"}"], 1.0);
        assert_eq!(metrics["tidegate_plugin_replies_total{plugin=\"p\",reason=\"auth_unreachable\"}"], 1.0);
    }
    assert_eq!(echo.requests.load(Ordering::Relaxed), 6);
    assert_eq!(status(&proxy("url: \"upstream://none\"", &upstreams).await, "/").await, 403);
    assert_eq!(status(&proxy("url: \"ftp://a\"", &upstreams).await, "/").await, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_used_again_and_one_that_was_closed_meanwhile_is_made_anew() {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = connections.clone();
    // Each connection serves two calls.
    let server = raw_server(move |mut stream| {
        let counted = counted.clone();
        async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut buffer = Vec::new();
            for _ in 0..2 {
                let Some(call) = read_message(&mut stream, &mut buffer, true).await else { return };
                assert_eq!((call.header("x-user"), &call.body[..]), (Some("ann"), &b"secret"[..]));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let proxy = proxy(&format!("url: \"http://{server}\""), "").await;
    for _ in 0..6 {
        assert_eq!(status(&proxy, "/").await, 200);
    }
    let made = connections.load(Ordering::Relaxed);
    assert!((3..=4).contains(&made), "{made} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_in_time_and_so_many_are_under_way_at_most() {
    let silent = raw_server(|mut stream| async move {
        let mut byte = [0; 64];
        while stream.read(&mut byte).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let proxy = proxy(&format!("url: \"http://{silent}\", maxCalls: 1, timeoutMs: 1500"), "").await;
    let address = proxy.http();
    let first = tokio::spawn(async move { get(address, "p.test", "/").await.status });
    let second = tokio::spawn(async move { get(address, "p.test", "/").await.status });
    let mut both = [first.await.unwrap(), second.await.unwrap()];
    both.sort_unstable();
    assert_eq!(both, [503, 504]);
    let dead = dead_address().await;
    let proxy = self::proxy(&format!("url: \"http://{dead}\""), "").await;
    assert_eq!(status(&proxy, "/").await, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_as_the_upstream_says_and_http_2_is_spoken_where_it_does() {
    let made = rcgen::generate_simple_self_signed(vec!["up.test".to_owned()]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let acceptor = tls::acceptor_of(&made, &[]);
    let secure = raw_server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut buffer = Vec::new();
            while read_message(&mut stream, &mut buffer, true).await.is_some() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    })
    .await;
    let h2c = raw_server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let _ = respond.send_response(http::Response::builder().status(204).body(()).unwrap(), true);
        }
    })
    .await;
    let upstreams = format!(
        "upstreams:\n  any: {{ protocol: https, tls: {{ verify: false }}, endpoints: [ {{ address: \"{secure}\" }} ] }}\n  ca: {{ protocol: https, tls: {{ serverName: up.test, caFile: {ca:?} }}, endpoints: [ {{ address: \"{secure}\" }} ] }}\n  name: {{ protocol: https, tls: {{ serverName: other.test, caFile: {ca:?} }}, endpoints: [ {{ address: \"{secure}\" }} ] }}\n  h2c: {{ protocol: h2c, endpoints: [ {{ address: \"{h2c}\" }} ] }}\n"
    );
    for (url, expected) in [
        (format!("https://{secure}"), 502),
        ("upstream://any".to_owned(), 200),
        ("upstream://ca".to_owned(), 200),
        ("upstream://name".to_owned(), 502),
        ("upstream://h2c".to_owned(), 200),
    ] {
        let proxy = proxy(&format!("url: \"{url}\""), &upstreams).await;
        assert_eq!(status(&proxy, "/").await, expected, "{url}");
    }
}
