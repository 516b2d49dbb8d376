//! Plugins that say where a request goes and what is asked for there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    BuildContext, BuildError, Choice, Define, Flow, Plugin, RequestContext, RouteContext, Shared, Stage,
    UpstreamRequest, plugin,
};

use crate::support::*;

/// Asks for what the client's fields say, as a careless plugin would.
struct Rewrite;

#[derive(Deserialize, JsonSchema)]
struct RewriteConfig {}

impl Define for Rewrite {
    const NAME: &'static str = "rewrite";
    const STAGE: Stage = Stage::Transform;
    type Config = RewriteConfig;

    fn build(_: RewriteConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[plugin]
impl Plugin for Rewrite {
    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
        // Escaped, as what a plugin makes of other parts of a request may hold any byte.
        let told = |name: &str| {
            let text = head.headers.map().get(name)?.to_str().unwrap();
            Some(serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap())
        };
        let [path, query, host, method] = ["to-path", "to-query", "to-host", "to-method"].map(told);
        let _checked = path.map(|path| head.set_path(path));
        let _checked = query.map(|query| head.set_query(Some(&*query).filter(|query| !query.is_empty())));
        let _checked = host.map(|host| head.set_host(host));
        let _checked = method.map(|method| head.set_method(Method::from_bytes(method.as_bytes()).unwrap()));
        // Framing is the proxy's, whatever a plugin does to it.
        head.headers.set(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("7"));
        head.headers.set(http::header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
    }
}

/// Sends a request where its field says.
struct Steer {
    upstreams: Vec<Arc<str>>,
}

#[derive(Deserialize, JsonSchema)]
struct SteerConfig {
    upstreams: Vec<String>,
}

impl Define for Steer {
    const NAME: &'static str = "steer";
    const STAGE: Stage = Stage::Route;
    type Config = SteerConfig;

    fn build(config: SteerConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { upstreams: config.upstreams.into_iter().map(Into::into).collect() })
    }
}

#[plugin]
impl Plugin for Steer {
    fn upstreams(&self) -> Vec<Arc<str>> {
        self.upstreams.clone()
    }

    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        assert!(cx.peer.ip().is_loopback() && cx.listener == "http" && cx.announced.is_none());
        Flow::Continue
    }

    fn on_route(&self, cx: &mut RouteContext<'_>) -> Choice {
        let Some(to) = cx.headers().get("x-to").and_then(|to| to.to_str().ok()) else { return Choice::Pass };
        let position = cx.backends().position(|backend| backend.name == to);
        match (position, to) {
            (Some(position), _) => Choice::Backend(position),
            (None, "beyond") => Choice::Backend(9),
            (None, "panic") => panic!("as the test wants"),
            (None, name) => Choice::Upstream(name.into()),
        }
    }
}

async fn rewriting() -> (Proxy, Echo) {
    let echo = Echo::start("a").await;
    let conf = format!(
        "plugins: {{ p: {{ type: rewrite }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [p] }}\n",
        echo.address
    );
    (Proxy::start_with(Tidegate::builder().plugin::<Rewrite>(), &conf, &[]).await, echo)
}

/// An HTTP/2 server in clear that answers with what it is asked.
async fn h2c() -> std::net::SocketAddr {
    raw_server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let seen = format!("{} {}", request.method(), request.uri());
            let answer = http::Response::builder().header("x-seen", seen).body(()).unwrap();
            let _ = respond.send_response(answer, true);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_asked_for_the_same_on_both_sides() {
    let conf = format!(
        "plugins: {{ p: {{ type: rewrite }} }}\nupstreams: {{ a: {{ protocol: h2c, endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [p] }}\n",
        h2c().await
    );
    let to_h2 = Proxy::start_with(Tidegate::builder().plugin::<Rewrite>(), &conf, &[]).await;
    let (to_h1, _echo) = rewriting().await;
    let fields = "To-Path: /new\r\nTo-Host: other.test:81\r\nTo-Method: PUT\r\n";
    let seen = |host: &str, path: &str| format!("PUT http://{host}{path}");
    assert_eq!(ask(&to_h2, "GET /old?a=1", fields).await.header("x-seen"), Some(&*seen("other.test:81", "/new?a=1")));
    for (proxy, is_h2) in [(&to_h2, true), (&to_h1, false)] {
        let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::get("https://p.test/old?a=1").header("to-host", "other.test").header("to-method", "PUT");
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        if is_h2 {
            assert_eq!(answer.headers()["x-seen"], seen("other.test", "/old?a=1"));
        } else {
            let (_, mut body) = answer.into_parts();
            let text = body.data().await.unwrap().unwrap();
            let seen: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!((seen["method"].as_str(), seen["target"].as_str()), (Some("PUT"), Some("/old?a=1")));
            assert!(seen["headers"].to_string().contains("other.test"), "{seen}");
        }
    }
}

async fn ask(proxy: &Proxy, head: &str, fields: &str) -> Response {
    request(proxy.http(), &format!("{head} HTTP/1.1\r\nHost: p.test\r\n{fields}Connection: close\r\n\r\n")).await
}

async fn explain(proxy: &Proxy, url: &str) -> serde_json::Value {
    let admin = proxy.running.admin().unwrap();
    get(admin, "localhost", &format!("/api/v1/explain?method=GET&url={url}")).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_asks_for_is_asked_for_and_the_log_has_both() {
    let (proxy, _echo) = rewriting().await;
    let fields = "To-Path: /new/place\r\nTo-Query: b=2\r\nTo-Host: Other.test:81\r\nTo-Method: PUT\r\n";
    let answer = ask(&proxy, "GET /old?a=1", fields).await;
    let seen = answer.json();
    assert_eq!((seen["method"].as_str(), seen["target"].as_str()), (Some("PUT"), Some("/new/place?b=2")));
    assert_eq!(answer.seen("host").as_deref(), Some("other.test:81"));
    assert_eq!(answer.seen("transfer-encoding"), None);
    assert_eq!(answer.seen("content-length").as_deref(), Some("0"), "a PUT without a body says so");
    let line = proxy.log_line(|line| line["url.path"] == "/old").await;
    assert_eq!((&line["url.query"], &line["http.request.method"]), (&"a=1".into(), &"GET".into()));
    assert_eq!((&line["upstream.url.path"], &line["upstream.url.query"]), (&"/new/place".into(), &"b=2".into()));
    assert_eq!(
        (&line["upstream.server.address"], &line["upstream.request.method"]),
        (&"other.test:81".into(), &"PUT".into())
    );
    let admin = proxy.running.admin().unwrap();
    let asked = "/api/v1/explain?method=GET&url=http://p.test/old%3Fa%3D1&header=to-path:%20/new/place";
    let explained = get(admin, "localhost", asked).await.json();
    assert_eq!(
        (&explained["canonical"], &explained["sent"]),
        (&"p.test/old?a=1".into(), &"GET p.test/new/place?a=1".into()),
        "{explained}"
    );
    let plain = ask(&proxy, "GET /plain?a=1", "").await;
    assert_eq!(plain.json()["target"], "/plain?a=1");
    let line = proxy.log_line(|line| line["url.path"] == "/plain").await;
    assert!(line.get("upstream.url.path").is_none(), "{line}");
    assert_eq!(ask(&proxy, "GET /q?a=1", "To-Query: \r\n").await.json()["target"], "/q");
    assert_eq!(ask(&proxy, "HEAD /h", "To-Method: HEAD\r\nTo-Path: /other\r\n").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_readers_could_take_differently_is_never_sent() {
    let (proxy, echo) = rewriting().await;
    let smuggled = "/ HTTP/1.1\\r\\nHost: p.test\\r\\n\\r\\nGET /secret";
    for fields in [
        format!("To-Path: {smuggled}"),
        "To-Path: relative".into(),
        "To-Path: //elsewhere/".into(),
        "To-Path: /a/../b".into(),
        "To-Path: /a/%2e%2e/b".into(),
        "To-Path: /a%2Fb".into(),
        "To-Path: /a?b".into(),
        "To-Path: /a\\u0000".into(),
        "To-Path: http://other.test/".into(),
        "To-Query: a b".into(),
        "To-Query: a\\r\\nX: y".into(),
        "To-Host: a.test\\r\\nX: y".into(),
        "To-Host: user@a.test".into(),
        "To-Host: a/b".into(),
        "To-Host:".into(),
        "To-Method: CONNECT".into(),
        "To-Method: HEAD".into(),
    ] {
        let answer = ask(&proxy, "GET /bad", &format!("{fields}\r\n")).await;
        assert_eq!(answer.status, 500, "{fields}");
    }
    assert_eq!(ask(&proxy, "HEAD /bad", "To-Method: GET\r\n").await.status, 500);
    assert_eq!(echo.requests.load(Ordering::Relaxed), 0);
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/bad").await["reason"], "internal");
    assert!(metrics(&proxy).await["tidegate_plugin_events_total{plugin=\"p\",event=\"broken\"}"] >= 18.0);
    assert_eq!(ask(&proxy, "GET /good", "").await.status, 200);
}

async fn steered() -> (Proxy, [Echo; 3]) {
    steered_among("{ upstream: main }, { upstream: canary, weight: 0 }").await
}

async fn steered_among(backends: &str) -> (Proxy, [Echo; 3]) {
    let echoes = [Echo::start("main").await, Echo::start("canary").await, Echo::start("other").await];
    let upstream =
        |name: &str, echo: &Echo| format!("{name}: {{ endpoints: [ {{ address: \"{}\" }} ] }}", echo.address);
    let upstreams: Vec<String> =
        ["main", "canary", "other"].into_iter().zip(&echoes).map(|(name, echo)| upstream(name, echo)).collect();
    let conf = format!(
        "plugins: {{ p: {{ type: steer, upstreams: [other, missing] }} }}\nupstreams: {{ {} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {backends} ], plugins: [p] }}\n",
        upstreams.join(", ")
    );
    (Proxy::start_with(Tidegate::builder().plugin::<Steer>(), &conf, &[]).await, echoes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_chooses_a_backend_or_an_upstream_and_what_is_none_is_refused() {
    let (proxy, _echoes) = steered().await;
    for (fields, expected) in
        [("", "main"), ("X-To: main\r\n", "main"), ("X-To: canary\r\n", "canary"), ("X-To: other\r\n", "other")]
    {
        let path = format!("/to-{}", fields.len());
        let answer = ask(&proxy, &format!("GET {path}"), fields).await;
        assert_eq!((answer.status, answer.server().as_str()), (200, expected));
        let line = proxy.log_line(|line| line["url.path"] == path).await;
        assert_eq!((&line["service"], &line["upstream"]), (&expected.into(), &format!("upstream/{expected}").into()));
    }
    for (to, status, reason) in [
        ("missing", 503, "invalid_backend"),
        // The conf has it, but the plugin has not said that it may choose it.
        ("nobody", 503, "invalid_backend"),
        ("beyond", 500, "internal"),
        ("panic", 500, "internal"),
    ] {
        let answer = ask(&proxy, &format!("GET /{to}"), &format!("X-To: {to}\r\n")).await;
        assert_eq!(answer.status, status, "{to}");
        assert_eq!(proxy.log_line(|line| line["url.path"] == format!("/{to}")).await["reason"], reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_by_weight_is_told_by_its_name_behind_a_backend_without_a_share() {
    let (proxy, _echoes) = steered_among("{ upstream: canary, weight: 0 }, { upstream: main }").await;
    for (fields, expected) in [("", "main"), ("X-To: canary\r\n", "canary"), ("X-To: other\r\n", "other")] {
        let path = format!("/to-{}", fields.len());
        let answer = ask(&proxy, &format!("GET {path}"), fields).await;
        assert_eq!((answer.status, answer.server().as_str()), (200, expected));
        assert_eq!(proxy.log_line(|line| line["url.path"] == path).await["service"], expected);
    }
    let explained = explain(&proxy, "http://p.test/").await;
    let told = explained["upstreams"].as_array().unwrap().iter().map(|it| it["service"].as_str().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), ["main", "canary", "other", "missing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_who_may_choose_and_what_is_sent_and_a_missing_upstream_is_told() {
    let (proxy, _echoes) = steered().await;
    let explained = explain(&proxy, "http://p.test/").await;
    assert_eq!(explained["chosenBy"], serde_json::json!(["p"]), "{explained}");
    let ids: Vec<_> = explained["upstreams"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["upstream/main", "upstream/canary", "upstream/other", "upstream/missing"]);
    let is_told = || proxy.running.diagnostics().iter().any(|it| it.code.as_str() == "PluginUpstreamNotFound");
    assert!(is_told());
    let file = proxy.folder.path().join("tidegate.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let new = proxy.folder.path().join("new.yaml");
    std::fs::write(&new, text.replace("upstreams: { main", "upstreams: { missing: { builtin: echo }, main")).unwrap();
    std::fs::rename(new, file).unwrap();
    let heard = async {
        while is_told() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the finding goes");
    assert_eq!(ask(&proxy, "GET /found", "X-To: missing\r\n").await.status, 200);
}
