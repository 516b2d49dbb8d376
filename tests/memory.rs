//! What all layers together keep of a route: a bound that grows only on purpose. `cargo bench --bench memory` tells more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../benches/memory/manifests.rs"]
mod manifests;

use std::path::Path;
use std::sync::Arc;

use tidegate::bench::compile::{Compiler, CompilerParts};
use tidegate::bench::endpoint::Table;
use tidegate::bench::resources::Resources;
use tidegate::bench::source::Files;
use tidegate::bench::telemetry::Metrics;
use tidegate::bench::translate::Translator;

const HOSTS: usize = 2_000;
/// Bytes, texts and a timeout of its own included.
const MOST_A_ROUTE: i64 = 4_760;

#[test]
fn a_route_keeps_few_bytes_from_its_manifests_to_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    manifests::write(folder.path(), HOSTS);
    let mut source = Files::new([folder.path()], Path::new("."));
    let batch = source.load();
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    let changes = resources.apply(batch.events);
    let touched = translator.apply(&resources, &changes);
    drop(translator.take_statuses(&resources));
    let (table, metrics) = (Arc::<Table>::default(), Arc::new(Metrics::new().unwrap()));
    let counters = Arc::clone(&metrics);
    let mut compiler = Compiler::new(CompilerParts {
        table: Arc::clone(&table),
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(move |facts| counters.route(facts)),
        now: Box::new(|| 1_700_000_000),
    });
    let empty = compiler.empty();
    let snapshot = compiler.compile(translator.model(), &touched, &empty);
    assert_eq!(snapshot.common.router.len(), HOSTS);
    drop((changes, touched, empty));
    // What was allocated elsewhere, by the threads that read files, is counted too when it goes here.
    let kept = (source, resources, translator, compiler, snapshot, table, metrics);
    let bytes = -allocation_counter::measure(|| drop(kept)).bytes_current / HOSTS as i64;
    assert!(bytes < MOST_A_ROUTE, "{bytes} bytes a route, more than {MOST_A_ROUTE}");
    assert!(bytes > 1_000, "{bytes} bytes: not everything was counted");
}
