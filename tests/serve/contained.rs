//! What panics or gets stuck harms nothing else, and is told.

use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{BuildContext, BuildError, Define, Flow, Plugin, RequestContext, Stage, plugin};

use crate::support::*;

/// Does in `build` what its configuration says.
struct Fragile;

#[derive(Deserialize, JsonSchema)]
struct Config {
    build: String,
}

/// Lets those that are stuck go on.
static GO: AtomicBool = AtomicBool::new(false);

impl Define for Fragile {
    const NAME: &'static str = "fragile";
    const STAGE: Stage = Stage::Transform;
    type Config = Config;

    fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        assert!(config.build != "panic", "as the test wants");
        while config.build == "stuck" && !GO.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(Self)
    }
}

#[plugin]
impl Plugin for Fragile {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        assert!(cx.path != "/panic", "as the test wants");
        Flow::Continue
    }
}

fn conf(builds: &[&str]) -> String {
    // So short a time only where it is waited for: on a busy machine the threads that serve may be late too.
    let after = if builds.contains(&"soon") { "300ms" } else { "60s" };
    let mut conf = format!("telemetry: {{ address: \"127.0.0.1:0\", stuckAfter: {after} }}\nroutes:\n");
    for build in builds {
        conf += &format!(
            "  - {{ hosts: [{build}.test], plugins: [{{ type: fragile, build: {build} }}], respond: {{ status: 200, body: {build} }} }}\n"
        );
    }
    conf
}

async fn start(builds: &[&str]) -> Proxy {
    Proxy::start_with(Tidegate::builder().plugin::<Fragile>(), &conf(builds), &[]).await
}

async fn health(proxy: &Proxy) -> Response {
    get(proxy.running.telemetry().unwrap(), "t", "/healthz").await
}

/// Changes the conf, keeping its first lines, those of the sockets.
fn change(proxy: &Proxy, builds: &[&str]) {
    let file = proxy.folder.path().join("tidegate.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    let sockets = before.split("telemetry:").next().unwrap();
    let after = before.split("routes:").next().unwrap();
    assert!(after.starts_with(sockets));
    let routes = conf(builds);
    let routes = &routes[routes.find("routes:").unwrap()..];
    let new = proxy.folder.path().join("new");
    std::fs::write(&new, format!("{after}{routes}")).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_panics_while_it_is_built_closes_its_routes_only() {
    let proxy = start(&["panic", "good"]).await;
    assert_eq!(get(proxy.http(), "good.test", "/").await.status, 200);
    assert_eq!(get(proxy.http(), "panic.test", "/").await.status, 503, "closed, not open");
    let found = proxy.running.diagnostics();
    assert!(found.iter().any(|it| it.message.contains("panicked while it was built")), "{found:?}");
    assert_eq!(health(&proxy).await.status, 200);
    assert!(metrics(&proxy).await["tidegate_panics_total{task=\"control\"}"] >= 1.0);
    change(&proxy, &["good", "better"]);
    proxy.until("better.test", "/", |response| response.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_panics_in_a_request_is_counted_where_it_happened() {
    let proxy = start(&["good"]).await;
    let before = metrics(&proxy).await["tidegate_panics_total{task=\"serving\"}"];
    assert_eq!(get(proxy.http(), "good.test", "/panic").await.status, 500);
    assert_eq!(get(proxy.http(), "good.test", "/").await.status, 200);
    assert!(metrics(&proxy).await["tidegate_panics_total{task=\"serving\"}"] > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_is_stuck_is_told_and_what_is_live_is_served_on() {
    let proxy = start(&["good", "soon"]).await;
    until_health(&proxy, |answer| answer.status == 200).await;
    change(&proxy, &["good", "stuck"]);
    until_health(&proxy, |answer| answer.status == 503 && answer.text().contains("control is stuck for")).await;
    assert_eq!(metrics(&proxy).await["tidegate_task_up{task=\"control\"}"], 0.0);
    assert_eq!(get(proxy.http(), "good.test", "/").await.status, 200);
    GO.store(true, Ordering::Relaxed);
    proxy.until("stuck.test", "/", |response| response.status == 200).await;
    until_metric(&proxy, "tidegate_task_up{task=\"control\"}", 1.0).await;
    until_health(&proxy, |answer| answer.status == 200).await;
}

async fn until_health(proxy: &Proxy, fits: impl Fn(&Response) -> bool) {
    let wait = async {
        while !fits(&health(proxy).await) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("/healthz says it");
}
