//! What a request pays for being told: metrics alone, a JSON line alone, both; and a scrape of 10,000 routes.
//!
//! `cargo bench --bench telemetry`

#![expect(clippy::expect_used, reason = "a bench stops at its own mistakes")]

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::Reason;
use tidegate::bench::telemetry::{AccessLog, Attempt, Metrics, Recorder, RequestRecord, Telemetry};
use tidegate::bench::telemetry::{Destination, Format, NginxFormat};
use tidegate_plugin::RouteFacts;

fn facts(path: &str) -> RouteFacts {
    RouteFacts::new("Ingress", "shop", "web").service(path.trim_start_matches('/')).path(path)
}

fn record<'a>(route: &'a RouteFacts, attempts: &'a [Attempt]) -> RequestRecord<'a> {
    RequestRecord {
        time: SystemTime::now(),
        duration: Duration::from_micros(1234),
        method: "GET",
        scheme: "https",
        host: "shop.example",
        path: "/api/products/4711",
        query: Some("page=2&sort=price"),
        protocol: "HTTP/1.1",
        status: 200,
        reason: Reason::Upstream,
        route: Some(route),
        metrics: None,
        client: IpAddr::from([192, 0, 2, 1]),
        peer: SocketAddr::from(([10, 0, 0, 9], 4711)),
        listener: "https",
        request_id: "0123456789abcdef0123456789abcdef",
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        referer: None,
        request_bytes: 420,
        response_bytes: 1234,
        attempts,
        upstream: Some("shop-api-80"),
        tls: None,
        error: None,
        identity: None,
        answered_by: None,
        sent: None,
        plugins: &[],
    }
}

fn one_attempt() -> Attempt {
    Attempt {
        address: SocketAddr::from(([10, 1, 0, 1], 8080)),
        connect: None,
        header: Some(Duration::from_micros(900)),
        response: Some(Duration::from_micros(1100)),
        is_reused: true,
        outcome: Reason::Upstream,
    }
}

fn recording(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new().expect("names differ"));
    let (route, attempts) = (facts("/api"), [one_attempt()]);
    let handle = metrics.route(&route);
    let request = RequestRecord { metrics: Some(&handle), ..record(&route, &attempts) };
    criterion.bench_function("metrics", |bench| bench.iter(|| metrics.record(black_box(&request))));

    let log = |format| AccessLog::open(format, Destination::File("/dev/null".into())).expect("can be written");
    let nginx = || Format::Nginx(NginxFormat::parse("$remote_addr \"$request\" $status").expect("known variables"));
    let telemetry = Telemetry::new(metrics);
    for (name, format) in [("json", Format::Json), ("combined", Format::Combined), ("nginx", nginx())] {
        telemetry.set_access_log(Some(log(format)));
        criterion.bench_function(&format!("metrics and {name} line"), |bench| {
            bench.iter(|| telemetry.record(black_box(&request)));
        });
    }
}

fn scrape(criterion: &mut Criterion) {
    let metrics = Metrics::new().expect("names differ");
    let routes: Vec<_> = (0..10_000).map(|i| metrics.route(&facts(&format!("/{i}")))).collect();
    let (route, attempts) = (facts("/"), [one_attempt()]);
    for handle in &routes {
        metrics.record(&RequestRecord { metrics: Some(handle), ..record(&route, &attempts) });
    }
    let mut group = criterion.benchmark_group("scrape");
    group.sample_size(10);
    group.bench_function("10,000 routes", |bench| bench.iter(|| metrics.render()));
}

criterion_group!(benches, recording, scrape);
criterion_main!(benches);
