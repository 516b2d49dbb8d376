//! Who is to be probed: one entry for each address under each check of a group, held by the upstreams that have it.
//!
//! Groups share nothing: who checks what another one checks too must not decide when that happens.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::Health;
use crate::upstream::{HealthCheck, Protocol, UpstreamConfig, UpstreamTls};

/// How endpoints of an upstream are probed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Spec {
    pub(in crate::endpoint) check: HealthCheck,
    pub(in crate::endpoint) protocol: Protocol,
    pub(in crate::endpoint) tls: Option<UpstreamTls>,
    /// Hash of the rest: authorities may be large and there are many endpoints.
    key: u64,
}

/// An address and how it is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Target {
    /// Whose turn it has.
    group: Arc<str>,
    address: SocketAddr,
    spec: Arc<Spec>,
}

/// All that is probed.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct Registry {
    entries: Mutex<Entries>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_target: HashMap<Target, Weak<Health>>,
    fresh: Vec<Weak<Health>>,
    /// How many entries there may be before those that nobody holds are swept out.
    sweep_at: usize,
}

// === impl Spec ===

impl Spec {
    /// How the endpoints are probed under these settings, if they are.
    pub(in crate::endpoint) fn new(config: &UpstreamConfig) -> Option<Self> {
        let check = config.health_check.clone()?;
        let tls = config.effective_tls();
        let mut hasher = DefaultHasher::new();
        (&check, config.protocol, &tls).hash(&mut hasher);
        Some(Self { check, protocol: config.protocol, tls, key: hasher.finish() })
    }

    /// Whether the other one asks the same question, if perhaps more often.
    fn is_same_probe(&self, other: &Self) -> bool {
        self.check.http == other.check.http && self.protocol == other.protocol && self.tls == other.tls
    }
}

// === impl Target ===

impl Target {
    pub(in crate::endpoint) fn new(group: Arc<str>, address: SocketAddr, spec: Arc<Spec>) -> Self {
        Self { group, address, spec }
    }

    pub(in crate::endpoint) fn group(&self) -> &Arc<str> {
        &self.group
    }

    pub(in crate::endpoint) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::endpoint) fn spec(&self) -> &Spec {
        &self.spec
    }
}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.group, self.address, self.spec.key).hash(state);
    }
}

// === impl Registry ===

impl Registry {
    /// The health of an endpoint under a check, which is probed as long as somebody holds it.
    ///
    /// It begins healthy, unless an `old` one which differed in its timing only knows better.
    pub(in crate::endpoint) fn watch(
        &self,
        group: &Arc<str>,
        address: SocketAddr,
        spec: &Arc<Spec>,
        old: Option<&Health>,
    ) -> Arc<Health> {
        let target = Target::new(Arc::clone(group), address, Arc::clone(spec));
        let mut entries = self.lock();
        if let Some(health) = entries.by_target.get(&target).and_then(Weak::upgrade) {
            return health;
        }
        let is_healthy = old.is_none_or(|old| old.is_healthy() || !old.target.spec.is_same_probe(spec));
        let health = Arc::new(Health::new(target.clone(), is_healthy));
        entries.insert(target, &health);
        self.wake.notify_one();
        health
    }

    /// Makes everything fresh again, for a scheduler that begins.
    pub(in crate::endpoint) fn restart(&self) {
        let mut entries = self.lock();
        entries.fresh = entries.by_target.values().cloned().collect();
    }

    /// What nobody began to probe yet.
    pub(in crate::endpoint) fn take_fresh(&self) -> Vec<Weak<Health>> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// Tells when there is something fresh.
    pub(in crate::endpoint) fn wake(&self) -> &Notify {
        &self.wake
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entries ===

impl Entries {
    fn insert(&mut self, target: Target, health: &Arc<Health>) {
        if self.by_target.len() >= self.sweep_at {
            self.by_target.retain(|_, health| health.strong_count() > 0);
            self.fresh.retain(|health| health.strong_count() > 0);
            self.sweep_at = self.by_target.len() * 2 + 64;
        }
        self.by_target.insert(target, Arc::downgrade(health));
        self.fresh.push(Arc::downgrade(health));
    }
}
