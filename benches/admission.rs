//! What one review of an Ingress costs: `cargo bench --bench admission`. The bar: 10 ms among 10,000 Ingresses.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate::bench::admission::review::{Base, Request, review};
use tidegate::bench::compile::{Compiler, CompilerParts};
use tidegate::bench::model::Touched;
use tidegate::bench::resources::{Event, Kind, Object, Resources};
use tidegate::bench::snapshot::Snapshot;
use tidegate::bench::translate::translate;

const INGRESSES: usize = 10_000;

fn reviews(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("admission/{INGRESSES}"));
    let mut case = |name: &str, live: &Snapshot, object: Value| {
        let request = Request::read(&body(&object)).unwrap();
        assert_eq!(review(&request, &Base::default(), live).refusal, None);
        group.bench_function(name, |b| b.iter(|| black_box(review(black_box(&request), &Base::default(), live))));
    };
    let live = snapshot(|number| format!("h{number}.test"));
    case("a host each", &live, ingress("new", "h0.test", ["/x".to_owned()]));
    let live = snapshot(|_| "shop.test".to_owned());
    case("one host, 100 new paths", &live, ingress("new", "shop.test", (0..100).map(|path| format!("/new{path}"))));
    group.finish();
    let live = snapshot(|number| format!("h{number}.test"));
    let mut group = c.benchmark_group("admission/7 MiB");
    group.sample_size(10);
    // As large as a review may be: what anybody who reaches the webhook may have it read.
    let body = body(&ingress("new", "large.test", (0..70_000).map(|path| format!("/p{path}"))));
    group.bench_function("read", |b| b.iter(|| Request::read(black_box(&body)).unwrap()));
    group.bench_function("read and review", |b| {
        b.iter(|| black_box(review(&Request::read(black_box(&body)).unwrap(), &Base::default(), &live)));
    });
    group.finish();
}

/// The body of a review of a new Ingress.
fn body(object: &Value) -> Vec<u8> {
    let request = json!({ "uid": "1", "operation": "CREATE", "kind": { "kind": "Ingress" }, "object": object });
    json!({ "kind": "AdmissionReview", "request": request }).to_string().into_bytes()
}

fn ingress(name: &str, host: &str, paths: impl IntoIterator<Item = String>) -> Value {
    let backend = json!({ "service": { "name": "a", "port": { "number": 80 } } });
    let path = |path: String| json!({ "path": path, "pathType": "Prefix", "backend": backend });
    let paths: Vec<Value> = paths.into_iter().map(path).collect();
    json!({
        "metadata": { "namespace": "shop", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "ingressClassName": "tidegate", "rules": [{ "host": host, "http": { "paths": paths } }] },
    })
}

fn snapshot(host: impl Fn(usize) -> String) -> Snapshot {
    let object = |number| ingress(&format!("i{number}"), &host(number), [format!("/i{number}")]);
    let mut resources = Resources::default();
    resources.apply((0..INGRESSES).map(|n| Event::Apply(Object::from_json(Kind::Ingress, object(n)).unwrap())));
    let model = translate(&resources).model;
    let mut compiler = Compiler::new(CompilerParts {
        table: Arc::default(),
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(|_| Arc::default()),
        now: Box::new(|| 0),
    });
    let empty = compiler.empty();
    compiler.compile(&model, &Touched::all(&model), &empty)
}

criterion_group!(benches, reviews);
criterion_main!(benches);
