//! What other stages count, handed to the metrics: connections, endpoints, certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared::Shared;
use super::workers::Desk;
use crate::admission::server;
use crate::engine::FlowControlCounts;
use crate::front::{FrontMetrics, ListenerCounts};
use crate::snapshot::Snapshot;
use crate::snapshot::pipeline::Instance;
use crate::source::kubernetes::client::Contact;
use crate::source::kubernetes::{self, Leadership, write};
use crate::telemetry::http::SeatCounts;
use crate::telemetry::metrics::{Emit, Metrics, Sample, family};
use crate::telemetry::panics;

/// Registers everything that is asked at scrape time.
pub(super) fn register(shared: &Arc<Shared>, front: &Arc<FrontMetrics>) {
    let front = front.clone();
    shared
        .metrics()
        .observe(Box::new(move |emit| front.snapshot().iter().for_each(|counts| connections(counts, emit))));
    endpoints(shared);
    capacity(shared);
    shared.metrics().observe(Box::new(panics::observe));
    let vitals = shared.vitals.clone();
    shared.metrics().observe(Box::new(move |emit| vitals.observe(emit)));
    memory(shared);
    let plugins_of = shared.snapshot.clone();
    shared.metrics().observe(Box::new(move |emit| plugins(&plugins_of.load(), emit)));
    let times_of = shared.snapshot.clone();
    shared.metrics().observe_plugins(Box::new(move |tell| {
        instances(&times_of.load()).for_each(|instance| tell(&instance.name, &instance.times));
    }));
    let snapshot = shared.snapshot.clone();
    shared.metrics().observe(Box::new(move |emit| {
        let snapshot = snapshot.load();
        let certificates = &snapshot.common.certificates;
        let mut seen = std::collections::BTreeSet::new();
        for served in certificates.iter().map(|(_, it)| &it.served).chain([&certificates.default]) {
            if seen.insert(served.name.clone()) {
                emit(Sample {
                    family: &family::CERTIFICATE_EXPIRY,
                    labels: &[&served.name],
                    value: served.not_after as f64,
                });
            }
        }
    }));
}

/// Endpoints, and what is done about them beside requests.
fn endpoints(shared: &Shared) {
    let table = shared.table.clone();
    shared.metrics().observe(Box::new(move |emit| {
        for upstream in table.iter() {
            let counts = upstream.counts();
            let labels: &[&str] = &[upstream.id()];
            emit(Sample { family: &family::UPSTREAM_ENDPOINTS, labels, value: counts.total as f64 });
            emit(Sample { family: &family::UPSTREAM_HEALTHY, labels, value: counts.healthy as f64 });
            emit(Sample { family: &family::UPSTREAM_REQUESTS, labels, value: upstream.under_way() as f64 });
        }
        table.stats().observe(emit);
    }));
}

/// What traffic holds of what all requests need.
fn capacity(shared: &Shared) {
    let (capacity, snapshot) = (shared.table.capacity().clone(), shared.snapshot.clone());
    shared.metrics().observe(Box::new(move |emit| {
        let limits = snapshot.load().edge.capacity();
        for (resource, it) in [
            ("descriptors", capacity.descriptors()),
            ("connections", capacity.connections(limits)),
            ("requests", capacity.requests(limits)),
        ] {
            emit(Sample { family: &family::CAPACITY_USED, labels: &[resource], value: it.taken as f64 });
            emit(Sample { family: &family::CAPACITY, labels: &[resource], value: it.limit as f64 });
        }
        for (resource, wanted) in [("connections", limits.connections), ("requests", limits.requests)] {
            emit(Sample { family: &family::CAPACITY_CONFIGURED, labels: &[resource], value: wanted as f64 });
        }
    }));
}

/// How much memory there is, and who was turned away for the lack of it.
fn memory(shared: &Shared) {
    let memory = shared.memory.clone();
    shared.metrics().observe(Box::new(move |emit| {
        let numbers = memory.numbers();
        let mut tell = |family, labels: &[&str], value: u64| emit(Sample { family, labels, value: value as f64 });
        tell(&family::MEMORY_LIMIT, &[], numbers.limit);
        tell(&family::MEMORY_USED, &[], numbers.used);
        tell(&family::OVERLOAD, &[], u64::from(numbers.is_full));
        tell(&family::OVERLOAD_REFUSED, &["connection"], numbers.refused_connections);
        tell(&family::OVERLOAD_REFUSED, &["request"], numbers.refused_requests);
    }));
}

/// What is held back because clients do not take it.
pub(super) fn flow_control(metrics: &Metrics, counts: Arc<FlowControlCounts>) {
    metrics.observe(Box::new(move |emit| {
        let mut tell = |family, count: &AtomicU64| {
            emit(Sample { family, labels: &[], value: count.load(Ordering::Relaxed) as f64 });
        };
        tell(&family::H2_RESPONSE_BUFFER, &counts.bytes);
        tell(&family::H2_RESPONSE_BUFFER_WAITS, &counts.waits);
    }));
}

/// The threads that plugins hand long work to, by instance that does.
pub(super) fn workers(metrics: &Metrics, desk: Arc<Desk>) {
    metrics.observe(Box::new(move |emit| {
        for meter in desk.meters() {
            let mut tell = |family, labels: &[&str], count: &AtomicU64, unit: f64| {
                emit(Sample { family, labels, value: count.load(Ordering::Relaxed) as f64 * unit });
            };
            let plugin: &str = &meter.name;
            tell(&family::PLUGIN_WORK_QUEUE, &[plugin], &meter.waiting, 1.0);
            tell(&family::PLUGIN_WORK_REFUSED, &[plugin], &meter.refused, 1.0);
            tell(&family::PLUGIN_WORK, &[plugin, "done"], &meter.done, 1.0);
            tell(&family::PLUGIN_WORK, &[plugin, "left"], &meter.left, 1.0);
            tell(&family::PLUGIN_WORK_WAIT, &[plugin], &meter.wait_us, 1e-6);
            tell(&family::PLUGIN_WORK_TIME, &[plugin], &meter.busy_us, 1e-6);
        }
    }));
}

/// Whether the API server is there.
pub(super) fn contact(metrics: &Metrics, contact: Contact) {
    metrics.observe(Box::new(move |emit| {
        let labels: &[&str] = &[kubernetes::NAME];
        emit(Sample {
            family: &family::SOURCE_UP,
            labels,
            value: f64::from(u8::from(contact.heard() > 0.0 && !contact.is_lost())),
        });
        emit(Sample { family: &family::SOURCE_CONTACT, labels, value: contact.heard() });
    }));
}

/// What is written to a cluster.
pub(super) fn writing(metrics: &Metrics, leadership: Leadership, counts: Arc<write::Counts>) {
    metrics.observe(Box::new(move |emit| {
        emit(Sample { family: &family::LEADER, labels: &[], value: f64::from(u8::from(leadership.is_held())) });
        counts.observe(emit);
    }));
}

/// The verdicts of the admission webhook.
pub(super) fn webhook(metrics: &Metrics, counts: Arc<server::Counts>) {
    metrics.observe(Box::new(move |emit| counts.observe(emit)));
}

/// The connections of a server that tells.
pub(super) fn server(metrics: &Metrics, name: &'static str, counts: Arc<SeatCounts>) {
    metrics.observe(Box::new(move |emit| {
        let open = counts.open.load(Ordering::Relaxed);
        emit(Sample { family: &family::SERVER_CONNECTIONS, labels: &[name], value: open as f64 });
        for (reason, count) in [
            ("full", &counts.closed_full),
            ("source", &counts.closed_source),
            ("descriptors", &counts.closed_descriptors),
        ] {
            let value = count.load(Ordering::Relaxed) as f64;
            emit(Sample { family: &family::SERVER_CLOSED, labels: &[name, reason], value });
        }
    }));
}

/// Every instance that a route uses, each once.
fn instances(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Instance>> {
    let mut seen = BTreeSet::new();
    let routes = snapshot.common.router.hosts().flat_map(|(_, routes)| routes.routes()).chain(&snapshot.common.default);
    let all = routes.flat_map(|route| route.pipeline.instances());
    all.filter(move |instance| seen.insert(Arc::as_ptr(instance)))
}

/// Counters of every instance that a route uses; instances of one name are summed.
fn plugins(snapshot: &Snapshot, emit: Emit<'_>) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut replies: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for instance in instances(snapshot) {
        let counters = instance.counters();
        for (event, count) in [
            ("reply", counters.replies),
            ("would_refuse", counters.would_refuse),
            ("panic", counters.panics),
            ("broken", counters.broken),
        ] {
            *sums.entry((&instance.name, event)).or_default() += count;
        }
        for (reason, count) in instance.reasons() {
            *replies.entry((&instance.name, reason)).or_default() += count;
        }
    }
    for ((name, reason), count) in replies {
        emit(Sample { family: &family::PLUGIN_REPLIES, labels: &[name, reason], value: count as f64 });
    }
    for ((name, event), count) in sums {
        emit(Sample { family: &family::PLUGIN_EVENTS, labels: &[name, event], value: count as f64 });
    }
}

fn connections(counts: &ListenerCounts, emit: Emit<'_>) {
    let listener: &str = &counts.listener;
    let mut state = |state, value: u64| {
        emit(Sample { family: &family::CONNECTIONS, labels: &[listener, state], value: value as f64 });
    };
    state("handshake", counts.handshaking);
    state("active", counts.active);
    emit(Sample { family: &family::CONNECTIONS_ACCEPTED, labels: &[listener], value: counts.accepted as f64 });
    if let Some(is_up) = counts.is_up {
        emit(Sample { family: &family::LISTENER_UP, labels: &[listener], value: f64::from(u8::from(is_up)) });
    }
    for (reason, count) in &counts.bind_faults {
        let labels: &[&str] = &[listener, reason.as_str()];
        emit(Sample { family: &family::LISTENER_BIND_FAILURES, labels, value: *count as f64 });
    }
    let mut failure = |kind: &str, value: u64| {
        emit(Sample { family: &family::CONNECTION_FAILURES, labels: &[listener, kind], value: value as f64 });
    };
    failure("refused", counts.refused);
    failure("source_limit", counts.refused_source);
    failure("overload", counts.refused_memory);
    failure("malformed", counts.malformed);
    failure("panicked", counts.panicked);
    for (kind, value) in &counts.handshake_failures {
        failure(&format!("handshake_{}", kind.as_str()), *value);
    }
    for (kind, value) in &counts.timeouts {
        failure(&format!("timeout_{}", kind.as_str()), *value);
    }
}
