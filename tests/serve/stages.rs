//! Plugins of every stage beside plugins of every other: who comes first, and who may answer.

use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    BoxFuture, BuildContext, BuildError, Define, Flow, Plugin, Reply, RequestContext, Shared, Stage, UpstreamRequest,
    Verdict, plugin,
};

use crate::support::*;

const STAGES: [(&str, Stage); 6] = [
    ("observe", Stage::Observe),
    ("access", Stage::Access),
    ("authenticate", Stage::Authenticate),
    ("limit", Stage::Limit),
    ("transform", Stage::Transform),
    ("route", Stage::Route),
];
const AUTHENTICATE: usize = 2;
const ORDER: HeaderName = HeaderName::from_static("x-order");

/// A plugin of the N-th stage. It answers when the path says so; that of `authenticate` wants a credential.
struct At<const N: usize> {
    waits: bool,
}

#[derive(Deserialize, JsonSchema)]
struct AtConfig {
    waits: bool,
}

impl<const N: usize> Define for At<N> {
    const NAME: &'static str = STAGES[N].0;
    const STAGE: Stage = STAGES[N].1;
    type Config = AtConfig;

    fn build(config: AtConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { waits: config.waits })
    }
}

impl<const N: usize> At<N> {
    fn decide(cx: &RequestContext<'_>) -> Option<Reply> {
        if N == AUTHENTICATE {
            let known = cx.headers().contains_key("x-credential");
            return (!known).then(|| Reply::new(StatusCode::UNAUTHORIZED));
        }
        match cx.path {
            "/answer" => Some(Reply::new(StatusCode::OK).body("content")),
            "/refuse" => Some(Reply::new(StatusCode::FORBIDDEN)),
            _ => None,
        }
    }
}

#[plugin]
impl<const N: usize> Plugin for At<N> {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        match self.waits {
            true => Flow::Wait,
            false => Self::decide(cx).map_or(Flow::Continue, Flow::Reply),
        }
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Self::decide(cx).map_or(Verdict::Continue, Verdict::Reply)
        })
    }

    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
        head.headers.append(ORDER, HeaderValue::from_static(STAGES[N].0));
    }
}

/// A route for each ordered pair, `FIRST-SECOND.test`, with the plugins in that order.
fn conf(echo: &Echo, waits: bool) -> String {
    let mut routes = String::new();
    for (first, _) in STAGES {
        for (second, _) in STAGES {
            routes += &format!(
                "  - {{ hosts: [{first}-{second}.test], backends: [ {{ upstream: a }} ], plugins: [ {{ type: {first}, waits: {waits} }}, {{ type: {second}, waits: {waits} }} ] }}\n"
            );
        }
    }
    format!("upstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n{routes}", echo.address)
}

async fn proxy(waits: bool) -> (Proxy, Echo) {
    let echo = Echo::start("a").await;
    let builder = Tidegate::builder().plugin::<At<0>>().plugin::<At<1>>().plugin::<At<2>>();
    let builder = builder.plugin::<At<3>>().plugin::<At<4>>().plugin::<At<5>>();
    (Proxy::start_with(builder, &conf(&echo, waits), &[]).await, echo)
}

/// Every ordered pair of stages, by position.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..STAGES.len()).flat_map(|first| (0..STAGES.len()).map(move |second| (first, second)))
}

fn host((first, second): (usize, usize)) -> String {
    format!("{}-{}.test", STAGES[first].0, STAGES[second].0)
}

async fn ask(proxy: &Proxy, pair: (usize, usize), path: &str, credential: bool) -> Response {
    let credential = if credential { "X-Credential: 1\r\n" } else { "" };
    let host = host(pair);
    request(proxy.http(), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{credential}Connection: close\r\n\r\n"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_stage_then_position_for_every_pair_and_explain_says_so() {
    let (proxy, _echo) = proxy(false).await;
    let admin = proxy.running.admin().unwrap();
    for (first, second) in pairs() {
        let expected = [STAGES[first.min(second)].0, STAGES[first.max(second)].0];
        let answer = ask(&proxy, (first, second), "/", true).await;
        let headers: Vec<(String, String)> = serde_json::from_value(answer.json()["headers"].clone()).unwrap();
        let seen: Vec<&str> = headers.iter().filter(|(key, _)| key == "x-order").map(|(_, value)| &**value).collect();
        assert_eq!(seen, expected, "{first}, {second}");
        let url = format!("/api/v1/explain?method=GET&url=http://{}/", host((first, second)));
        let explained = get(admin, "localhost", &url).await.json();
        let plugins = explained["route"]["plugins"].as_array().unwrap();
        let told: Vec<_> = plugins.iter().filter_map(|plugin| plugin["type"].as_str()).collect();
        assert_eq!(told, expected, "explain: {first}, {second}");
    }
}

/// What a client without credential gets of a pair when one of its plugins answers.
fn expected((first, second): (usize, usize), refuses: bool) -> u16 {
    let answering: Vec<usize> = [first, second].into_iter().filter(|stage| *stage != AUTHENTICATE).collect();
    let authenticates = first == AUTHENTICATE || second == AUTHENTICATE;
    match answering.iter().min() {
        Some(earliest) if *earliest < AUTHENTICATE || !authenticates => match (refuses, authenticates) {
            (true, _) => 403,
            (false, true) => 500,
            (false, false) => 200,
        },
        _ => 401,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pair_lets_an_answer_skip_authentication() {
    for waits in [false, true] {
        let (proxy, echo) = proxy(waits).await;
        for pair in pairs() {
            for (path, refuses) in [("/answer", false), ("/refuse", true)] {
                let answer = ask(&proxy, pair, path, false).await;
                assert_eq!(answer.status, expected(pair, refuses), "{pair:?} {path}, waits: {waits}");
                let authenticates = pair.0 == AUTHENTICATE || pair.1 == AUTHENTICATE;
                assert!(!authenticates || !answer.text().contains("content"), "{pair:?} {path}, waits: {waits}");
            }
            if pair.0 == AUTHENTICATE || pair.1 == AUTHENTICATE {
                assert_eq!(ask(&proxy, pair, "/", false).await.status, 401, "{pair:?}");
            }
        }
        let reached = echo.requests.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(reached, 0, "nobody without a credential reached the upstream");
        assert_eq!(ask(&proxy, (AUTHENTICATE, 4), "/answer", true).await.text(), "content", "a later stage may answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_plugins_take_stands_in_metrics_and_in_the_log() {
    let (proxy, _echo) = proxy(true).await;
    assert_eq!(ask(&proxy, (AUTHENTICATE, 3), "/timed", true).await.status, 200);
    let line = proxy.log_line(|line| line["url.path"] == "/timed").await;
    let plugins = line["plugins"].as_array().unwrap();
    let names: Vec<_> = plugins.iter().filter_map(|plugin| plugin["name"].as_str()).collect();
    let route = STAGES.len() * AUTHENTICATE + 3;
    assert_eq!(names, [format!("route-{route}#0"), format!("route-{route}#1")], "{line}");
    assert!(plugins.iter().all(|plugin| plugin["duration"].as_f64().unwrap() > 0.0), "{line}");
    let metrics = metrics(&proxy).await;
    for phase in ["request", "wait", "upstream_request"] {
        let count = format!("tidegate_plugin_duration_seconds_count{{plugin=\"route-{route}#0\",phase=\"{phase}\"}}");
        assert_eq!(metrics.get(&count), Some(&1.0), "{count}: {metrics:?}");
    }
}
