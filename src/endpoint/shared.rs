//! What all upstreams of a table share: capacity, counters, health and what wakes the tasks.
//!
//! It must not know upstreams.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::health::Registry;
use crate::address::AddressRules;
use crate::capacity::{ActiveRequests, Capacity};
use crate::telemetry::metrics::{Emit, Sample, family};

/// Counters of the endpoint tasks, since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Health probes that ended.
    pub probes_total: AtomicU64,
    /// Those of them that failed.
    pub probe_failures_total: AtomicU64,
    /// Health probes that began more than a second after they were due.
    pub late_probes_total: AtomicU64,
    /// DNS resolutions that ended.
    pub resolutions_total: AtomicU64,
    /// Those of them that failed.
    pub resolution_failures_total: AtomicU64,
    /// DNS resolutions that began more than a second after they were due.
    pub late_resolutions_total: AtomicU64,
    /// Picks from upstreams all of whose endpoints were unhealthy.
    pub panic_picks_total: AtomicU64,
    /// Requests that wait for other endpoints now.
    pub waiting: AtomicU64,
    /// Requests that waited for other endpoints and got one.
    pub waits_total: AtomicU64,
    /// Requests that waited for other endpoints in vain.
    pub vain_waits_total: AtomicU64,
}

/// State shared by all upstreams of a table.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) stats: Stats,
    pub(super) capacity: Arc<Capacity>,
    tenants: Mutex<BTreeMap<Arc<str>, Weak<Tenant>>>,
    pub(super) health: Registry,
    /// Wakes the resolver when a DNS name came, went or changed.
    pub(super) resolver_wake: Notify,
    /// Which answers of DNS may be endpoints.
    pub(super) address_rules: ArcSwap<AddressRules>,
}

/// A namespace, whose upstreams share a limit of active requests.
#[derive(Debug)]
pub(super) struct Tenant {
    name: Arc<str>,
    pub(super) held: ActiveRequests,
}

// === impl Stats ===

impl Stats {
    /// Tells the metrics.
    pub fn observe(&self, emit: Emit<'_>) {
        for (family, labels, count) in [
            (&family::PROBES, &[] as &[&str], &self.probes_total),
            (&family::PROBE_FAILURES, &[], &self.probe_failures_total),
            (&family::LATE_PROBES, &[], &self.late_probes_total),
            (&family::RESOLUTIONS, &[], &self.resolutions_total),
            (&family::RESOLUTION_FAILURES, &[], &self.resolution_failures_total),
            (&family::LATE_RESOLUTIONS, &[], &self.late_resolutions_total),
            (&family::PANIC_PICKS, &[], &self.panic_picks_total),
            (&family::ENDPOINT_WAITING, &[], &self.waiting),
            (&family::ENDPOINT_WAITS, &["endpoint"], &self.waits_total),
            (&family::ENDPOINT_WAITS, &["vain"], &self.vain_waits_total),
        ] {
            emit(Sample { family, labels, value: count.load(Ordering::Relaxed) as f64 });
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(capacity: Arc<Capacity>) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// What is known of a namespace, for as long as an upstream of it is there.
    pub(super) fn tenant(&self, name: &str) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(name).and_then(Weak::upgrade) {
            return known;
        }
        tenants.retain(|_, tenant| tenant.strong_count() > 0);
        let tenant = Arc::new(Tenant::new(name));
        tenants.insert(Arc::clone(tenant.name()), Arc::downgrade(&tenant));
        tenant
    }
}

// === impl Tenant ===

impl Tenant {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), held: ActiveRequests::default() }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }
}
