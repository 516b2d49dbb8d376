//! What a request allocates: nothing for finding its route, canonical paths and picking an endpoint, and in whole no
//! more than it did.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "allocations/request.rs"]
mod request;

use std::hint::black_box;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tidegate::bench::compile::{Compiler, CompilerParts, RouteMetricsSource};
use tidegate::bench::endpoint::{Table, Tried};
use tidegate::bench::model::Touched;
use tidegate::bench::path::canonical_path;
use tidegate::bench::resources::Conf;
use tidegate::bench::resources::{Event, Object, Resources};
use tidegate::bench::snapshot::Snapshot;
use tidegate::bench::snapshot::{BodyOutcome, Instance, Mode, Outcome, Passage, Pipeline, ResponseOutcome};
use tidegate::bench::snapshot::{RequestView, Via};
use tidegate::bench::translate::translate;
use tidegate_plugin::{
    BodyChunk, BodyFlow, Flow, LogRecord, Plugin, RequestContext, RequestFacts, ResponseContext, ResponseFlow,
    RouteFacts, Shared, Stage, UpstreamRequest, plugin,
};

const ROUNDS: usize = 1000;

/// Allocations of `work`, called many times, after it was called once.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    allocation_counter::measure(|| (0..ROUNDS).for_each(|_| work())).count_total
}

/// Compiles a conf.
fn compile(conf: serde_json::Value, table: &Arc<Table>, route_metrics: RouteMetricsSource) -> Snapshot {
    let conf: Conf = serde_json::from_value(conf).unwrap();
    let mut resources = Resources::default();
    resources.apply([Event::Apply(Object::conf(conf, None))]);
    let model = translate(&resources).model;
    let mut compiler = Compiler::new(CompilerParts {
        table: table.clone(),
        plugins: tidegate_plugins::ALL.to_vec(),
        folder: ".".into(),
        route_metrics,
        now: Box::new(|| 0),
    });
    let empty = compiler.empty();
    compiler.compile(&model, &Touched::all(&model), &empty)
}

fn snapshot(table: &Arc<Table>) -> Snapshot {
    let routes: Vec<serde_json::Value> = (0..100)
        .map(|n| {
            serde_json::json!({
                "hosts": [format!("h{n}.test"), format!("*.w{n}.test")],
                "paths": [{"prefix": "/a/b/c"}, {"prefix": "/a"}, {"exact": "/exact"}, {"regex": "/re/[0-9]+"}],
                "backends": [{"upstream": "u"}],
            })
        })
        .chain([serde_json::json!({
            "hosts": ["h0.test"], "paths": [{"prefix": "/a/b"}], "methods": ["POST"],
            "headers": [{"name": "x-env", "exact": "canary"}], "query": [{"name": "v", "exact": "1"}],
            "backends": [{"upstream": "u"}],
        })])
        .collect();
    let conf = serde_json::json!({
        "upstreams": {"u": {"endpoints": [{"address": "127.0.0.1:1"}, {"address": "127.0.0.1:2", "weight": 3}]}},
        "routes": routes,
    });
    compile(conf, table, Box::new(|_| Arc::default()))
}

#[test]
fn finding_a_route_allocates_nothing() {
    let snapshot = snapshot(&Arc::default());
    let mut headers = HeaderMap::new();
    headers.insert("x-env", HeaderValue::from_static("canary"));
    let cases = [
        ("h7.test", "/a/b/c/d", None, Method::GET, Some(Via::Prefix)),
        ("h7.test", "/exact", None, Method::GET, Some(Via::Exact)),
        ("h7.test", "/re/12", None, Method::GET, Some(Via::Regex)),
        ("x.w9.test", "/a", None, Method::GET, Some(Via::Prefix)),
        ("h0.test", "/a/b/x", Some("q=2&v=1"), Method::POST, Some(Via::Prefix)),
        ("h0.test", "/nowhere", None, Method::GET, None),
        ("nobody.test", "/a", None, Method::GET, None),
    ];
    for (host, path, query, method, via) in &cases {
        let view = RequestView { host, path, query: *query, method, headers: &headers };
        assert_eq!(snapshot.common.router.find(&view).map(|found| found.via), *via, "{host}{path}");
        let count = allocations(|| {
            let _ = black_box(snapshot.common.router.find(black_box(&view)));
        });
        assert_eq!(count, 0, "{host}{path}: {count} allocations in {ROUNDS} lookups");
    }
}

#[test]
fn canonical_paths_that_are_canonical_already_allocate_nothing() {
    for path in ["/", "/a/b.c/d-e_f~g", "/p%C3%A4th/%20x", "/v1/users/12345;x=y"] {
        let count = allocations(|| drop(black_box(canonical_path(black_box(path)))));
        assert_eq!(count, 0, "{path}");
    }
}

#[test]
fn picking_an_endpoint_allocates_nothing() {
    let table = Arc::<Table>::default();
    let _snapshot = snapshot(&table);
    let upstream = table.get("upstream/u").unwrap();
    let count = allocations(|| drop(black_box(upstream.pick(&mut Tried::default()))));
    assert_eq!(count, 0, "{count} allocations in {ROUNDS} picks");
}

/// Wants every hook and does nothing.
struct Idle;

#[plugin]
impl Plugin for Idle {
    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        Flow::Continue
    }

    fn on_upstream_request(&self, _: &mut UpstreamRequest<'_>, _: &Shared) {}

    fn on_request_body(&self, _: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    fn on_response(&self, _: &mut ResponseContext<'_>) -> ResponseFlow {
        ResponseFlow::Continue
    }

    fn on_response_body(&self, _: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    fn on_log(&self, _: &LogRecord<'_>) {}
}

#[test]
fn ten_plugins_with_every_hook_allocate_nothing() {
    let instance = |_| Arc::new(Instance::new("idle", Stage::Transform, Mode::Enforce, Arc::new(Idle)));
    let pipeline = Pipeline::new((0..10).map(instance).collect());
    let (route, mut shared, passage) = (RouteFacts::default(), Shared::default(), Passage::untimed());
    let (headers, mut sent, mut answer) = (HeaderMap::new(), HeaderMap::new(), HeaderMap::new());
    let facts = RequestFacts::new(&Method::GET, "a.test", "/");
    let count = allocations(|| {
        let outcome = pipeline.on_request(&mut RequestContext::new(facts, &headers, &route, &mut shared), &passage);
        assert!(matches!(outcome, Outcome::Continue));
        let mut head = UpstreamRequest::new(facts, &route, &mut sent);
        pipeline.on_upstream_request(&mut head, &shared, &passage);
        assert!(head.into_target().is_ok_and(|target| target.path.is_none()));
        let mut piece = None;
        let mut chunk = BodyChunk::new(&mut piece, true);
        assert_eq!(pipeline.on_request_body(&mut chunk, &mut shared, &passage), BodyOutcome::Continue);
        let mut cx = ResponseContext::new(facts, &route, &mut shared, StatusCode::OK, &mut answer);
        assert!(matches!(pipeline.on_response(None, &mut cx, &passage), ResponseOutcome::Continue));
        assert_eq!(pipeline.on_response_body(&mut chunk, &mut shared, &passage), BodyOutcome::Continue);
        pipeline.on_log(&LogRecord::new(facts, &route, &shared), &passage);
    });
    assert_eq!(count, 0, "{count} allocations in {ROUNDS} requests");
}
