//! What reading the annotations of an Ingress costs: `cargo bench --bench annotations`. The bar: 10 of them, looked up
//! in a table of 120, under 3 µs.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Map, Value, json};
use tidegate::bench::resources::{Kind, Object};
use tidegate::bench::translate::{ANNOTATIONS, Annotation, Security, Support, annotation_reader};

const ROWS: usize = 120;

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("annotations/{ROWS}"));
    let read = annotation_reader(further_rows());
    let mut case = |name: &str, annotations: &[(&str, &str)]| {
        let object = ingress(annotations);
        assert!(read(&object), "{name}: all are read, and nothing is to be said");
        group.bench_function(name, |b| b.iter(|| black_box(read(black_box(&object)))));
    };
    case(
        "10 for policy, backends and redirects",
        &[
            ("tidegate.io/ssl-redirect", "true"),
            ("nginx.ingress.kubernetes.io/force-ssl-redirect", "false"),
            ("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS"),
            ("tidegate.io/load-balance", "least-request"),
            ("tidegate.io/service-upstream", "false"),
            ("nginx.ingress.kubernetes.io/proxy-connect-timeout", "5"),
            ("nginx.ingress.kubernetes.io/proxy-read-timeout", "60"),
            ("tidegate.io/proxy-send-timeout", "30s"),
            ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
            ("nginx.ingress.kubernetes.io/proxy-next-upstream-tries", "2"),
        ],
    );
    case(
        "10, among them plugins",
        &[
            ("tidegate.io/plugins", "limit, cors"),
            ("tidegate.io/report-live", "true"),
            ("nginx.ingress.kubernetes.io/auth-type", "basic"),
            ("nginx.ingress.kubernetes.io/auth-secret", "users"),
            ("nginx.ingress.kubernetes.io/auth-secret-type", "auth-map"),
            ("nginx.ingress.kubernetes.io/auth-realm", "staff"),
            ("tidegate.io/health-check", "/healthz,interval=5s"),
            ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
            ("nginx.ingress.kubernetes.io/proxy-read-timeout", "60"),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "true"),
        ],
    );
    let strangers: Vec<String> = (0..10).map(|n| format!("example.com/annotation-{n}")).collect();
    case("10 of others", &strangers.iter().map(|key| (&**key, "value")).collect::<Vec<_>>());
    group.finish();
}

/// What the table lacks of 120 rows, with names as long as those of others.
fn further_rows() -> &'static [Annotation] {
    let further = (ANNOTATIONS.len()..ROWS).map(|n| Annotation {
        name: format!("proxy-annotation-{n}").leak(),
        aliases: &[],
        grammar: "anything",
        doc: "",
        support: Support::Both,
        on_service: false,
        security: Security::No,
    });
    further.collect::<Vec<_>>().leak()
}

fn ingress(annotations: &[(&str, &str)]) -> Object {
    let annotations: Map<String, Value> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let metadata = json!({ "namespace": "shop", "name": "web", "annotations": annotations });
    Object::from_json(Kind::Ingress, json!({ "metadata": metadata })).unwrap()
}

criterion_group!(benches, reads);
criterion_main!(benches);
