//! What one routing lookup costs: `cargo bench --bench router`. The bar: under 300 ns at 100,000 hosts.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use tidegate::bench::compile::{Compiler, CompilerParts};
use tidegate::bench::host::HostPattern;
use tidegate::bench::model::{
    Action, BackendId, HttpsRedirect, Match, Model, PathMatch, Rank, Route, Touched, VirtualHost, WeightedBackend,
};
use tidegate::bench::origin::Origin;
use tidegate::bench::snapshot::RequestView;
use tidegate::bench::snapshot::Snapshot;

/// Paths of each host: eight prefixes in two depths, an exact path and the root.
const PATHS: [&str; 8] =
    ["/api", "/api/v1", "/api/v1/orders", "/static", "/static/img", "/login", "/admin", "/metrics"];

fn lookups(c: &mut Criterion) {
    for hosts in [10, 10_000, 100_000] {
        let snapshot = snapshot(hosts);
        let mut group = c.benchmark_group(format!("router/{hosts}"));
        let mut lookup = |name: &str, pattern: &dyn Fn(usize) -> String, path: &str| {
            let names: Vec<String> = (0..1024).map(|n| pattern(n * 7919 % hosts)).collect();
            let headers = HeaderMap::new();
            let mut turn = names.iter().cycle();
            group.bench_function(name, |b| {
                b.iter(|| {
                    let host = turn.next().unwrap();
                    let request = RequestView { host, path, query: None, method: &Method::GET, headers: &headers };
                    black_box(snapshot.common.router.find(black_box(&request)).map(|found| found.via))
                });
            });
        };
        lookup("hit", &|n| format!("h{n}.shop.example"), "/api/v1/orders/4711/items");
        lookup("exact", &|n| format!("h{n}.shop.example"), "/exact/path");
        lookup("root", &|n| format!("h{n}.shop.example"), "/some/other/path/index.html");
        lookup("wildcard", &|n| format!("x.w{}.wild.example", n % 100), "/api/v1/orders/4711/items");
        lookup("miss", &|n| format!("h{n}.unknown.example"), "/api/v1/orders/4711/items");
        group.finish();
    }
}

fn snapshot(hosts: usize) -> Snapshot {
    let exact = (0..hosts).map(|n| HostPattern::parse(&format!("h{n}.shop.example")).unwrap());
    let wild = (0..100).map(|n| HostPattern::parse(&format!("*.w{n}.wild.example")).unwrap());
    let hosts = exact.chain(wild).map(|pattern| (pattern.clone(), Arc::new(host(pattern))));
    let model = Model { hosts: hosts.collect(), ..Model::default() };
    let mut compiler = Compiler::new(CompilerParts {
        table: Arc::default(),
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(|_| Arc::default()),
        now: Box::new(|| 0),
    });
    compiler.compile(&model, &Touched::all(&model), &compiler.empty())
}

fn host(pattern: HostPattern) -> VirtualHost {
    let prefixes = PATHS.iter().map(|path| PathMatch::Prefix((*path).into()));
    let others = [PathMatch::Exact("/exact/path".into()), PathMatch::Prefix("/".into())];
    let routes = prefixes.chain(others).map(|path| Arc::new(route(path)));
    VirtualHost { pattern, routes: routes.collect(), fallback: None }
}

fn route(path: PathMatch) -> Route {
    Route {
        name: "bench".into(),
        origin: Origin::default(),
        matcher: Match { path, ..Match::default() },
        rank: Rank::default(),
        action: Action::Forward([WeightedBackend { backend: BackendId::upstream("u"), weight: 1 }].into()),
        https_redirect: HttpsRedirect::Off,
        plugins: Vec::new(),
        policy: Arc::default(),
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);
