//! Plugins at work: what they change, refuse and break.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    BodyChunk, BodyFlow, BoxFuture, BuildContext, BuildError, Define, Flow, LogRecord, Plugin, RequestContext,
    ResponseContext, ResponseFlow, Shared, Stage, UpstreamRequest, Verdict, plugin,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

/// Panics in the hook that is configured, when the request asks for it by path.
struct Panics {
    hook: String,
}

#[derive(Deserialize, JsonSchema)]
struct PanicsConfig {
    hook: String,
}

impl Panics {
    fn at(&self, hook: &str, path: &str) {
        assert!(self.hook != hook || path != "/panic", "as configured");
    }
}

impl Define for Panics {
    const NAME: &'static str = "panics";
    const STAGE: Stage = Stage::Transform;
    type Config = PanicsConfig;

    fn build(config: PanicsConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { hook: config.hook })
    }
}

/// Left by the request hook for the hooks that do not see the path.
struct Asked;

#[plugin]
impl Plugin for Panics {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        self.at("request", cx.path);
        if cx.path == "/panic" {
            cx.shared().put(Asked);
        }
        if self.hook == "wait" { Flow::Wait } else { Flow::Continue }
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async {
            self.at("wait", cx.path);
            Verdict::Continue
        })
    }

    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
        self.at("upstream_request", head.facts().path);
    }

    fn on_request_body(&self, _: &mut BodyChunk<'_>, shared: &mut Shared) -> BodyFlow {
        assert!(self.hook != "request_body" || shared.get::<Asked>().is_none(), "as configured");
        BodyFlow::Continue
    }

    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        self.at("response", cx.facts().path);
        ResponseFlow::Continue
    }

    fn on_response_body(&self, _: &mut BodyChunk<'_>, shared: &mut Shared) -> BodyFlow {
        assert!(self.hook != "response_body" || shared.get::<Asked>().is_none(), "as configured");
        BodyFlow::Continue
    }

    fn on_log(&self, record: &LogRecord<'_>) {
        self.at("log", record.facts.path);
    }
}

fn conf(echo: &Echo, plugin: &str) -> String {
    format!(
        "plugins: {{ p: {plugin} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [p] }}\n  - {{ hosts: [free.test], backends: [ {{ upstream: a }} ] }}\n",
        echo.address
    )
}

async fn panicking(hook: &str) -> (Proxy, Echo) {
    let echo = Echo::start("a").await;
    let builder = Tidegate::builder().plugin::<Panics>();
    (Proxy::start_with(builder, &conf(&echo, &format!("{{ type: panics, hook: {hook} }}")), &[]).await, echo)
}

async fn panics_counted(proxy: &Proxy) -> f64 {
    metrics(proxy).await["tidegate_plugin_events_total{plugin=\"p\",event=\"panic\"}"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_answers_500_is_counted_and_harms_no_other_request() {
    for hook in ["request", "wait", "upstream_request", "request_body", "response"] {
        let (proxy, echo) = panicking(hook).await;
        let post = "POST /panic HTTP/1.1\r\nHost: p.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        assert_eq!(request(proxy.http(), post).await.status, 500, "{hook}");
        assert!(panics_counted(&proxy).await >= 1.0, "{hook}");
        if ["request", "wait", "upstream_request"].contains(&hook) {
            assert_eq!(echo.requests.load(std::sync::atomic::Ordering::Relaxed), 0, "{hook}: the upstream saw it");
        }
        assert_eq!(get(proxy.http(), "p.test", "/fine").await.status, 200, "{hook}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_after_the_head_ends_the_answer_and_one_in_the_log_changes_nothing() {
    let (proxy, _echo) = panicking("response_body").await;
    let broken = get(proxy.http(), "p.test", "/panic").await;
    assert!(broken.status == 500 || !broken.is_whole, "{broken:?}");
    assert_eq!(get(proxy.http(), "p.test", "/fine").await.status, 200);
    let (proxy, _echo) = panicking("log").await;
    assert_eq!(get(proxy.http(), "p.test", "/panic").await.status, 200);
    proxy.log_line(|line| line["url.path"] == "/panic").await;
    assert_eq!(get(proxy.http(), "p.test", "/fine").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_an_answer_of_the_proxy_s_own_is_500_too() {
    let builder = Tidegate::builder().plugin::<Panics>();
    let conf =
        "routes: [ { hosts: [p.test], respond: { body: hello }, plugins: [ { type: panics, hook: response } ] } ]\n";
    let proxy = Proxy::start_with(builder, conf, &[]).await;
    let answer = get(proxy.http(), "p.test", "/panic").await;
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(!answer.text().contains("hello"));
    assert_eq!(get(proxy.http(), "p.test", "/").await.text(), "hello");
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/panic").await["reason"], "internal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_an_upgrade_makes_no_tunnel() {
    for hook in ["upstream_request", "response"] {
        let (proxy, _echo) = panicking(hook).await;
        let answer = request(proxy.http(), &format!("GET /panic HTTP/1.1\r\nHost: p.test\r\n{UPGRADE}\r\n")).await;
        assert_eq!(answer.status, 500, "{hook}");
    }
}

const CHANGES: &str = "{ type: headers, request: { set: { x-client: \"${client.ip}\", x-a: set }, add: { x-b: two }, remove: [x-gone] }, response: { set: { x-path: \"${request.path}\" }, remove: [x-echo] } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_set_added_and_removed_on_both_sides() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(&echo, CHANGES), &[]).await;
    let ask = "GET /x HTTP/1.1\r\nHost: p.test\r\nX-A: one\r\nX-Gone: 1\r\nConnection: close\r\n\r\n";
    let answer = request(proxy.http(), ask).await;
    let seen = |name| answer.seen(name);
    assert_eq!(seen("x-client").as_deref(), Some("127.0.0.1"));
    assert_eq!((seen("x-a").as_deref(), seen("x-b").as_deref(), seen("x-gone")), (Some("set"), Some("two"), None));
    assert_eq!((answer.header("x-path"), answer.header("x-echo")), (Some("/x"), None));
    let mut socket = Connection::open(proxy.http()).await;
    let switched = socket.send(format!("GET /ws HTTP/1.1\r\nHost: p.test\r\n{UPGRADE}\r\n")).await.unwrap();
    assert_eq!((switched.status, switched.header("x-path")), (101, Some("/ws")));
    socket.stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    tokio::time::timeout(PATIENCE, socket.stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"ping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_rate_is_429_for_that_key_only_and_survives_other_changes() {
    let echo = Echo::start("a").await;
    let limit = "{ type: rate-limit, rate: 1/h, burst: 1, key: { header: x-key } }";
    let proxy = Proxy::start(&conf(&echo, limit), &[]).await;
    let ask = |key: &str| format!("GET /k HTTP/1.1\r\nHost: p.test\r\nX-Key: {key}\r\nConnection: close\r\n\r\n");
    assert_eq!(request(proxy.http(), &ask("one")).await.status, 200);
    let refused = request(proxy.http(), &ask("one")).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some(), "{refused:?}");
    assert_eq!(proxy.log_line(|line| line["reason"] != "upstream").await["reason"], "rate_limited");
    assert_eq!(request(proxy.http(), &ask("two")).await.status, 200);
    let upgrade = format!("GET / HTTP/1.1\r\nHost: p.test\r\nX-Key: one\r\n{UPGRADE}\r\n");
    assert_eq!(request(proxy.http(), &upgrade).await.status, 429);

    let rewrite = |from: &str, to: &str| {
        let file = proxy.folder.path().join("tidegate.yaml");
        let new = proxy.folder.path().join("new.yaml");
        std::fs::write(&new, std::fs::read_to_string(&file).unwrap().replace(from, to)).unwrap();
        std::fs::rename(new, file).unwrap();
    };
    rewrite("free.test", "other.test");
    proxy.until("other.test", "/", |answer| answer.status == 200).await;
    assert_eq!(request(proxy.http(), &ask("one")).await.status, 429, "the state is kept");
    rewrite("rate: 1/h", "rate: 2/h");
    rewrite("other.test", "last.test");
    proxy.until("last.test", "/", |answer| answer.status == 200).await;
    assert_eq!(request(proxy.http(), &ask("one")).await.status, 200, "the state is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_report_mode_refuses_nobody_and_is_counted() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(&echo, "{ type: rate-limit, rate: 1/h, mode: report }"), &[]).await;
    for _ in 0..3 {
        assert_eq!(get(proxy.http(), "p.test", "/").await.status, 200);
    }
    assert_eq!(metrics(&proxy).await["tidegate_plugin_events_total{plugin=\"p\",event=\"would_refuse\"}"], 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_cannot_be_built_closes_its_route_only() {
    for plugin in ["{ type: rate-limt, rate: 1/s }", "{ type: rate-limit, rate: often }"] {
        let echo = Echo::start("a").await;
        let proxy = Proxy::start(&conf(&echo, plugin), &[]).await;
        assert_eq!(get(proxy.http(), "p.test", "/closed").await.status, 503, "{plugin}");
        assert_eq!(proxy.log_line(|line| line["url.path"] == "/closed").await["reason"], "broken_policy");
        assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_names_plugins_and_explain_shows_them_by_stage() {
    let echo = Echo::start("a").await;
    let plugins = "plugins: { h: { type: headers, response: { set: { x-h: set } } }, limit: { type: rate-limit, rate: 100/s, burst: 9 } }\n";
    let annotated = ingress("i", "i.test", &[("/", "a")])
        .replace("namespace: default }", "namespace: default, annotations: { tidegate.io/plugins: \"h, limit\" } }");
    let proxy = Proxy::start(plugins, &[("a.yaml", annotated + &service("a", &[echo.address]))]).await;
    assert_eq!(get(proxy.http(), "i.test", "/").await.header("x-h"), Some("set"));
    let admin = proxy.running.admin().unwrap();
    let answer = get(admin, "localhost", "/api/v1/explain?method=GET&url=http://i.test/").await.text();
    let explained: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let told = explained["route"]["plugins"].as_array().unwrap();
    let told: Vec<_> = told.iter().map(|it| (it["name"].as_str(), it["type"].as_str(), it["stage"].as_str())).collect();
    let expected = [("limit", "rate-limit", "access"), ("h", "headers", "transform")];
    assert_eq!(told, expected.map(|(name, kind, stage)| (Some(name), Some(kind), Some(stage))), "{answer}");
}

/// Turns 404 into 410, and tries what it may not.
struct Gone;

#[derive(Deserialize, JsonSchema)]
struct GoneConfig {}

impl Define for Gone {
    const NAME: &'static str = "gone";
    const STAGE: Stage = Stage::Transform;
    type Config = GoneConfig;

    fn build(_: GoneConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[plugin]
impl Plugin for Gone {
    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        cx.status = match cx.facts().path {
            "/none" => http::StatusCode::NO_CONTENT,
            _ => http::StatusCode::GONE,
        };
        ResponseFlow::Continue
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_may_change_a_status_that_keeps_its_body() {
    let echo = Echo::start("a").await;
    let respond = "  - { hosts: [own.test], respond: { status: 404, body: nothing }, plugins: [p] }\n";
    let conf = conf(&echo, "{ type: gone }") + respond;
    let proxy = Proxy::start_with(Tidegate::builder().plugin::<Gone>(), &conf, &[]).await;
    let upstream = get(proxy.http(), "p.test", "/").await;
    assert_eq!((upstream.status, upstream.is_whole), (410, true));
    assert_eq!(get(proxy.http(), "own.test", "/").await.first_line, "HTTP/1.1 410 Gone");
    let kept = get(proxy.http(), "p.test", "/none").await;
    assert_eq!((kept.status, kept.is_whole), (200, true), "a body cannot become none");
}
