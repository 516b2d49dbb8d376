//! What each layer keeps and takes, from manifests to snapshot: `cargo bench --bench memory [-- HOSTS]`.
//!
//! A layer's bytes are those that go when it alone is dropped; what it shares with a later one counts there.
//! `cargo bench --bench memory -- write FOLDER HOSTS` leaves the manifests in a folder, to start a proxy with.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "memory/manifests.rs"]
mod manifests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::bench::compile::{Compiler, CompilerParts};
use tidegate::bench::endpoint::Table;
use tidegate::bench::resources::{Batch, Resources};
use tidegate::bench::source::Files;
use tidegate::bench::telemetry::Metrics;
use tidegate::bench::translate::Translator;

const HOSTS: usize = 10_000;

fn main() {
    // Cargo says that this is a bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [] => measure(HOSTS),
        [hosts] => measure(hosts.parse().unwrap()),
        [_, folder, hosts] => manifests::write(Path::new(folder), hosts.parse().unwrap()),
        _ => eprintln!("usage: [HOSTS] | write FOLDER HOSTS"),
    }
}

/// Prints a line a layer.
struct Report {
    hosts: usize,
    total: i64,
}

fn measure(hosts: usize) {
    let folder = tempfile::tempdir().unwrap();
    manifests::write(folder.path(), hosts);
    let mut report = Report { hosts, total: 0 };
    println!("{hosts} hosts, each with an Ingress, a Service and an EndpointSlice, one in a hundred with TLS");

    let (took, (source, batch)) = timed(|| read(folder.path()));
    println!("read      {took:>12?}");
    let mut resources = Resources::default();
    let mut translator = Translator::new();
    let (took, changes) = timed(|| resources.apply(batch.events));
    println!("resources {took:>12?}");
    let (took, touched) = timed(|| translator.apply(&resources, &changes));
    println!("translate {took:>12?}");
    assert_eq!(touched.hosts.len(), hosts);
    let (took, statuses) = timed(|| translator.take_statuses(&resources));
    println!("statuses  {took:>12?}");

    let (table, metrics) = (Arc::<Table>::default(), Arc::new(Metrics::new().unwrap()));
    let mut compiler = compiler(Arc::clone(&table), Arc::clone(&metrics));
    let empty = compiler.empty();
    let (took, snapshot) = timed(|| compiler.compile(translator.model(), &touched, &empty));
    println!("compile   {took:>12?}");
    one_change(folder.path(), source, (&mut resources, &mut translator, &mut compiler), &snapshot, &mut report);

    report.dropped("changes", (changes, statuses, touched, empty));
    report.total = 0;
    report.dropped("snapshot", snapshot);
    report.dropped("compiler", compiler);
    report.dropped("endpoints", table);
    report.dropped("metrics", metrics);
    report.dropped("translation", translator);
    report.dropped("resources", resources);
    println!("all           {:>8} bytes a route", report.total / hosts as i64);
}

/// One Ingress changes its path, read from its file, then a Service its endpoint.
fn one_change(
    folder: &Path,
    mut source: Files,
    (resources, translator, compiler): (&mut Resources, &mut Translator, &mut Compiler),
    snapshot: &tidegate::bench::snapshot::Snapshot,
    report: &mut Report,
) {
    let file = folder.join("hosts-0000000.yaml");
    for (what, old, new) in [("one path", "path: /,", "path: /new,"), ("one endpoint", "[10.0.0.0]", "[10.9.9.9]")] {
        let text = std::fs::read_to_string(&file).unwrap().replacen(old, new, 1);
        std::fs::write(&file, text).unwrap();
        let (read, batch) = timed(|| source.load());
        assert_eq!(batch.events.len(), 1, "{what}");
        let (live, _) = timed(|| {
            let changes = resources.apply(batch.events);
            let touched = translator.apply(resources, &changes);
            compiler.compile(translator.model(), &touched, snapshot)
        });
        println!("{what}: {live:?}, after reading its file in {read:?}");
    }
    report.dropped("source", source);
}

fn read(folder: &Path) -> (Files, Batch) {
    let mut source = Files::new([folder], Path::new("."));
    let batch = source.load();
    assert!(batch.diagnostics.is_empty(), "{:?}", batch.diagnostics.first());
    (source, batch)
}

fn compiler(table: Arc<Table>, metrics: Arc<Metrics>) -> Compiler {
    Compiler::new(CompilerParts {
        table,
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(move |facts| metrics.route(facts)),
        now: Box::new(|| 1_700_000_000),
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed(), result)
}

// === impl Report ===

impl Report {
    fn dropped<T>(&mut self, layer: &str, value: T) {
        let bytes = -allocation_counter::measure(|| drop(value)).bytes_current;
        self.total += bytes;
        println!("{layer:<13} {:>8} bytes a route", bytes / self.hosts as i64);
    }
}
