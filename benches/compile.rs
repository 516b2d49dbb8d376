//! What compiling costs: 100,000 hosts cold (1,000 with TLS), and one change after that: `cargo bench --bench compile`.
//! The bars: under 5 s, and under 10 ms.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::bench::compile::{Compiler, CompilerParts};
use tidegate::bench::endpoint::UpstreamConfig;
use tidegate::bench::host::HostPattern;
use tidegate::bench::model::{
    Action, Backend, BackendId, Certificate, Claim, Endpoint, EndpointSet, HttpsRedirect, Match, Model, Rank, Route,
    SecretBytes, Touched, VirtualHost, WeightedBackend,
};
use tidegate::bench::origin::Origin;

const HOSTS: usize = 100_000;
const TLS_HOSTS: usize = 1_000;

fn compiles(c: &mut Criterion) {
    let model = model();
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("cold, 100,000 hosts", |b| {
        b.iter(|| {
            let mut compiler = compiler();
            black_box(compiler.compile(&model, &Touched::all(&model), &compiler.empty()))
        });
    });
    let mut compiler = compiler();
    let snapshot = compiler.compile(&model, &Touched::all(&model), &compiler.empty());
    let host = Touched { hosts: [pattern(7)].into(), ..Touched::default() };
    group.bench_function("one host", |b| b.iter(|| black_box(compiler.compile(&model, &host, &snapshot))));
    let endpoints = Touched { endpoints: [backend_id(7)].into(), ..Touched::default() };
    group.bench_function("endpoints of one backend", |b| {
        b.iter(|| black_box(compiler.compile(&model, &endpoints, &snapshot)));
    });
    group.finish();
}

fn compiler() -> Compiler {
    Compiler::new(CompilerParts {
        table: Arc::default(),
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(|_| Arc::default()),
        now: Box::new(|| 0),
    })
}

fn pattern(n: usize) -> HostPattern {
    HostPattern::parse(&format!("h{n}.shop.example")).unwrap()
}

fn backend_id(n: usize) -> BackendId {
    BackendId::service("shop", &format!("service-{n}"), "80")
}

fn model() -> Model {
    let hosts = (0..HOSTS).map(|n| (pattern(n), Arc::new(host(n))));
    let backends = (0..HOSTS).map(|n| (backend_id(n), Arc::new(backend(n))));
    let endpoints = (0..HOSTS).map(|n| (backend_id(n), Arc::new(endpoints())));
    let certificates = (0..TLS_HOSTS).map(|n| (pattern(n), Arc::from([claim(n)])));
    Model {
        hosts: hosts.collect(),
        backends: backends.collect(),
        endpoints: endpoints.collect(),
        certificates: certificates.collect(),
        ..Model::default()
    }
}

fn host(n: usize) -> VirtualHost {
    let route = Route {
        name: format!("ingress-{n}").into(),
        origin: Origin::new("Ingress", "shop", &format!("ingress-{n}"), None),
        matcher: Match::default(),
        rank: Rank::default(),
        action: Action::Forward([WeightedBackend { backend: backend_id(n), weight: 1 }].into()),
        https_redirect: HttpsRedirect::Off,
        plugins: Vec::new(),
        policy: Arc::default(),
    };
    VirtualHost { pattern: pattern(n), routes: vec![Arc::new(route)], fallback: None }
}

fn backend(n: usize) -> Backend {
    Backend::new(backend_id(n), Origin::default(), UpstreamConfig::default())
}

fn endpoints() -> EndpointSet {
    let endpoint = Endpoint { address: ([10, 0, 0, 1], 8080).into(), weight: 1, zone: None };
    EndpointSet { endpoints: [endpoint].into() }
}

fn claim(n: usize) -> Claim {
    Claim { origin: Origin::default(), by_wildcard: false, certificate: Arc::new(certificate(n)) }
}

fn certificate(n: usize) -> Certificate {
    let made = rcgen::generate_simple_self_signed([pattern(n).to_string()]).unwrap();
    Certificate {
        name: format!("shop/tls-{n}").into(),
        origin: Origin::default(),
        chain_pem: made.cert.pem().into_bytes().into(),
        key_pem: SecretBytes::new(made.signing_key.serialize_pem().into_bytes()),
        is_invalid: false,
    }
}

criterion_group!(benches, compiles);
criterion_main!(benches);
