//! What plugins cost a request: `cargo bench --bench pipeline`. Request, upstream request and response hooks each.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate::bench::snapshot::{Instance, Mode, Outcome, Passage, Pipeline, ResponseOutcome};
use tidegate_plugin::{
    BuildContext, Flow, Hooks, Plugin, RequestContext, RequestFacts, ResponseContext, ResponseFlow, RouteFacts, Shared,
    Stage, UpstreamRequest, plugin,
};

/// Wants the hooks and does nothing in them.
struct Noop(Hooks);

#[plugin]
impl Plugin for Noop {
    fn idle(&self) -> Hooks {
        ALL.without(self.0)
    }

    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        Flow::Continue
    }

    fn on_upstream_request(&self, _: &mut UpstreamRequest<'_>, _: &Shared) {}

    fn on_response(&self, _: &mut ResponseContext<'_>) -> ResponseFlow {
        ResponseFlow::Continue
    }
}

const ALL: Hooks = Hooks::REQUEST.and(Hooks::UPSTREAM_REQUEST).and(Hooks::RESPONSE);

fn builtin(kind: &str, config: &Value) -> Arc<Instance> {
    let definition = tidegate_plugins::ALL.iter().find(|known| known.name == kind).unwrap();
    let built = (definition.build)(config, &BuildContext::new(kind, "", Path::new("."))).unwrap();
    Arc::new(Instance::new(kind, built.stage, Mode::Enforce, built.plugin))
}

fn noops(count: usize, hooks: Hooks) -> Pipeline {
    let instance = |_| Arc::new(Instance::new("noop", Stage::Transform, Mode::Enforce, Arc::new(Noop(hooks))));
    Pipeline::new((0..count).map(instance).collect())
}

/// One request through a chain: the work of the proxy around it is not in the figure.
fn pass(pipeline: &Pipeline, headers: &HeaderMap, route: &RouteFacts, client: u32, passage: &Passage) {
    let mut shared = Shared::default();
    let mut facts = RequestFacts::new(&Method::GET, "shop.example", "/api/products");
    facts.scheme = "https";
    // A million clients, so that nobody is over the rate.
    facts.client = Ipv4Addr::from(0x0a00_0000 | client & 0xf_ffff).into();
    facts.request_id = "0123456789abcdef0123456789abcdef";
    let outcome = pipeline.on_request(&mut RequestContext::new(facts, headers, route, &mut shared), passage);
    assert!(matches!(outcome, Outcome::Continue));
    let mut upstream = headers.clone();
    pipeline.on_upstream_request(&mut UpstreamRequest::new(facts, route, &mut upstream), &shared, passage);
    let mut answer = HeaderMap::with_capacity(8);
    let mut cx = ResponseContext::new(facts, route, &mut shared, StatusCode::OK, &mut answer);
    assert!(matches!(pipeline.on_response(None, &mut cx, passage), ResponseOutcome::Continue));
    black_box((upstream, answer));
}

fn chains(c: &mut Criterion) {
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("shop.example"))]);
    let route = RouteFacts::default();
    let rewrite = builtin(
        "headers",
        &json!({"request": {"set": {"X-Env": "bench", "X-Client": "${client.ip}"}, "remove": ["X-Debug"]},
                "response": {"set": {"X-Frame-Options": "DENY"}}}),
    );
    let limit = builtin("rate-limit", &json!({"rate": "100000/s", "burst": 1000, "maxKeys": 1_048_576}));
    let mut group = c.benchmark_group("pipeline");
    let both = || Pipeline::new(vec![rewrite.clone(), limit.clone()]);
    let untimed: fn() -> Passage = Passage::untimed;
    for (name, pipeline, passage) in [
        ("none", Pipeline::default(), untimed),
        ("noop", noops(1, ALL), untimed),
        ("ten_noops", noops(10, ALL), untimed),
        ("ten_noops_timed", noops(10, ALL), Passage::timed),
        ("ten_that_want_nothing", noops(10, Hooks::NONE), untimed),
        ("headers", Pipeline::new(vec![rewrite.clone()]), untimed),
        ("rate_limit", Pipeline::new(vec![limit.clone()]), untimed),
        ("both", both(), untimed),
        ("both_timed", both(), Passage::timed),
    ] {
        group.bench_function(name, |b| {
            let mut turn = 0;
            b.iter(|| {
                turn += 1;
                pass(black_box(&pipeline), &headers, &route, turn, &passage());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chains);
criterion_main!(benches);
