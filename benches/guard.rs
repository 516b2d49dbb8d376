//! What the guard before routing costs: `cargo bench --bench guard`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tidegate::bench::proxy::guard::{Head, Limits, Rules, check};
use tidegate::bench::snapshot::Claims;

const LIMITS: Limits = Limits { header_bytes: 65_536, header_count: 200, uri_bytes: 16_384 };

/// What a browser sends.
const BROWSER: &[(&str, &str)] = &[
    ("host", "shop.example"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example/cart"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
];

fn heads(c: &mut Criterion) {
    let least: &[(&str, &str)] = &[("host", "shop.example")];
    let hostile: &[(&str, &str)] = &[
        ("host", "Shop.Example.:8080"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_real_ip", "6.6.6.6"),
        ("connection", "keep-alive, x-a, x-b"),
        ("content-length", "5"),
    ];
    let claims = Claims::known();
    let rules = Rules { limits: LIMITS, claims: &claims, loop_id: b"tidegate", max_hops: 8 };
    let mut group = c.benchmark_group("guard");
    for (name, target, fields) in [
        ("least", "/api/products/4711", least),
        ("browser", "/api/products/4711?page=2", BROWSER),
        ("hostile", "/a/../b//%7euser/./c?x=1", hostile),
    ] {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value)))
            .collect();
        let uri: Uri = target.parse().unwrap();
        let head = Head {
            method: &Method::GET,
            uri: &uri,
            target: target.as_bytes(),
            headers: &headers,
            version: http::Version::HTTP_11,
            has_both_lengths: false,
            is_trusted: false,
        };
        assert!(check(&head, &rules).is_ok(), "{name}");
        group.bench_function(name, |b| b.iter(|| black_box(check(black_box(&head), &rules))));
    }
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
