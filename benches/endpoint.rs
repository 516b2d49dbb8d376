//! What a pick costs: it is on the path of every request, and may neither lock nor allocate.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::bench::endpoint::{Address, Balance, Table, Tried, UpstreamConfig};

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        for endpoints in [3, 100] {
            let table = Table::default();
            let upstream = table.upstream_of("bench/web:80", None);
            upstream.set_config(UpstreamConfig { balance, ..UpstreamConfig::default() });
            let address = |port| Address { address: ([127, 0, 0, 1], port).into(), weight: 1 + port % 3 };
            upstream.set_endpoints(&(1..=endpoints).map(address).collect::<Vec<_>>());
            group.bench_function(BenchmarkId::new(format!("{balance:?}"), endpoints), |bencher| {
                bencher.iter(|| black_box(upstream.pick(&mut Tried::default())));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
