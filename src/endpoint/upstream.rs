//! One backend while serving, and the views of it that explain, routes and metrics show.
//!
//! Changes are made one after the other under a lock; requests read the state that was put in place last.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::shared::{Shared, Tenant};
use super::state::Member;
use super::strain::Strain;
use super::{Address, NoPick, Pick, Tried, UpstreamState};
use crate::address::Refused;
use crate::capacity::ActiveRequests;
use crate::upstream::{ExternalName, UpstreamConfig};

/// An upstream while serving: endpoints, load balancing and active requests.
pub struct Upstream {
    id: Arc<str>,
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) held: ActiveRequests,
    pub(super) strain: Strain,
    pub(super) state: ArcSwap<UpstreamState>,
    pub(super) shared: Arc<Shared>,
    change: Mutex<Change>,
}

/// How many endpoints there are and how busy they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All endpoints.
    pub total: usize,
    /// Those that are healthy or not checked.
    pub healthy: usize,
    /// Tries under way.
    pub in_flight: u64,
}

/// One endpoint, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Address and port.
    pub address: SocketAddr,
    /// Share among the endpoints.
    pub weight: u16,
    /// Whether it is healthy or not checked.
    pub healthy: bool,
    /// Tries under way.
    pub in_flight: u32,
    /// Why its last probe failed; `None`: it did not.
    pub last_probe_error: Option<String>,
}

/// State of earlier changes that later ones need.
#[derive(Debug, Default)]
struct Change {
    /// Few upstreams have a DNS name.
    named: Option<Box<Named>>,
    is_retired: bool,
}

/// Endpoints of an upstream with a DNS name: configured ones, and addresses that are refused.
#[derive(Debug, Default)]
struct Named {
    /// The endpoints given last.
    given: Box<[Address]>,
    /// What the name has besides, and may not lead to.
    refused: Box<[Refused]>,
}

// === impl Change ===

impl Change {
    fn named(&mut self) -> &mut Named {
        self.named.get_or_insert_default()
    }
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(id: &str, tenant: Option<Arc<Tenant>>, shared: Arc<Shared>) -> Self {
        let id: Arc<str> = id.into();
        let state = ArcSwap::from_pointee(UpstreamState::empty(Arc::clone(&shared)));
        Self {
            id,
            tenant,
            held: ActiveRequests::default(),
            strain: Strain::default(),
            state,
            shared,
            change: Mutex::default(),
        }
    }

    /// `namespace/service:port` or `upstream/name`.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// With whom it has its turn of what is done beside requests: its namespace, or itself.
    pub(super) fn group(&self) -> &Arc<str> {
        self.tenant.as_ref().map_or(&self.id, |tenant| tenant.name())
    }

    /// Requests under way at it.
    pub fn under_way(&self) -> usize {
        self.held.get()
    }

    /// Its settings now.
    pub fn config(&self) -> Arc<UpstreamConfig> {
        Arc::clone(self.state.load().config())
    }

    /// Puts new settings in place. A DNS name that is new keeps the present endpoints until it is resolved
    /// or its first resolution failed.
    pub fn set_config(&self, config: impl Into<Arc<UpstreamConfig>>) {
        let config = config.into();
        let mut change = self.lock();
        let old = self.state.load_full();
        if *old.config() == config {
            return;
        }
        let is_external_changed = old.config().external != config.external;
        let is_external = config.external.is_some();
        let config = if change.is_retired { unchecked(&config) } else { config };
        let mut state = old.with_config(config, self.group());
        if is_external_changed && !is_external {
            let given = change.named.take().unwrap_or_default().given;
            state = state.with_addresses(&given, self.group()).unwrap_or(state);
        } else if is_external && old.config().external.is_none() {
            change.named().given = old.addresses().collect();
        }
        self.put(state);
        if is_external_changed {
            if let Some(named) = &mut change.named {
                named.refused = Box::default();
            }
            self.shared.resolver_wake.notify_one();
        }
    }

    /// Puts new endpoints in place; those that stay keep their health and counters.
    ///
    /// Order does not matter, an address counts once (the first), weight 0 leaves an address out.
    /// While the settings have a DNS name, they are kept for later.
    pub fn set_endpoints(&self, addresses: &[Address]) {
        let mut change = self.lock();
        let addresses = normalised(addresses);
        if self.state.load().config().external.is_some() {
            change.named().given = addresses.into();
        } else {
            self.replace(&addresses);
        }
    }

    /// Picks an endpoint for one try and marks it as tried. See [`UpstreamState::pick`].
    ///
    /// # Errors
    /// [`NoPick::Empty`] without endpoints, [`NoPick::Exhausted`] when all were tried.
    pub fn pick(&self, tried: &mut Tried) -> Result<Pick, NoPick> {
        self.state.load().pick(tried)
    }

    /// Picks an endpoint that was not tried once there are others than at the last pick, which may be already;
    /// waits for that at most so long, and not at all when a wait has just been in vain or a thousand wait already.
    ///
    /// # Errors
    /// As [`Self::pick`].
    pub async fn pick_changed(&self, tried: &mut Tried, limit: Duration) -> Result<Pick, NoPick> {
        let core = Arc::clone(self.state.load().core());
        let pick = || {
            let state = self.state.load();
            if state.set() == tried.set { Err(NoPick::Exhausted) } else { state.pick(tried) }
        };
        core.waiting.pick(limit, &self.shared.stats, pick).await
    }

    /// Where the next request would go. See [`UpstreamState::explain_pick`].
    pub fn explain_pick(&self) -> Option<SocketAddr> {
        self.state.load().explain_pick()
    }

    /// How many endpoints there are and how busy they are.
    pub fn counts(&self) -> Counts {
        self.state.load().members().iter().fold(Counts::default(), |counts, member| Counts {
            total: counts.total + 1,
            healthy: counts.healthy + usize::from(member.is_healthy()),
            in_flight: counts.in_flight + u64::from(member.endpoint.in_flight()),
        })
    }

    /// Its endpoints by address.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.state.load().members().iter().map(EndpointView::new).collect()
    }

    /// Addresses of its DNS name that may not be endpoints.
    pub fn refused(&self) -> Vec<Refused> {
        self.lock().named.as_ref().map_or_else(Vec::new, |named| named.refused.to_vec())
    }

    /// Puts the addresses of a DNS name in place, unless the settings name another one by now.
    /// Says whether the endpoints, or those that are refused, are different ones now.
    pub(super) fn set_resolved(&self, external: &ExternalName, addresses: &[Address], refused: &[Refused]) -> bool {
        let mut change = self.lock();
        if self.state.load().config().external.as_ref() != Some(external) {
            return false;
        }
        let named = change.named();
        let is_refusal_new = *named.refused != *refused;
        named.refused = refused.into();
        self.replace(&normalised(addresses)) || is_refusal_new
    }

    /// Ends its health checks: it is in the table no more, but requests may still hold it.
    pub(super) fn retire(&self) {
        let mut change = self.lock();
        change.is_retired = true;
        let old = self.state.load_full();
        self.state.store(Arc::new(old.with_config(unchecked(old.config()), self.group())));
    }

    fn replace(&self, addresses: &[Address]) -> bool {
        let state = self.state.load().with_addresses(addresses, self.group());
        let is_new = state.is_some();
        if let Some(state) = state {
            self.put(state);
        }
        is_new
    }

    fn put(&self, state: UpstreamState) {
        let core = Arc::clone(state.core());
        self.state.store(Arc::new(state));
        core.waiting.changed();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The same settings without health checks.
fn unchecked(config: &UpstreamConfig) -> Arc<UpstreamConfig> {
    UpstreamConfig { health_check: None, ..config.clone() }.shared()
}

fn normalised(addresses: &[Address]) -> Vec<Address> {
    let mut sorted: Vec<Address> = addresses.iter().filter(|address| address.weight > 0).cloned().collect();
    sorted.sort_by_key(|address| address.address);
    sorted.dedup_by_key(|address| address.address);
    sorted
}

// === impl EndpointView ===

impl EndpointView {
    fn new(member: &Member) -> Self {
        Self {
            address: member.endpoint.address(),
            weight: member.weight,
            healthy: member.is_healthy(),
            in_flight: member.endpoint.in_flight(),
            last_probe_error: member.health.as_ref().and_then(|health| health.last_error()),
        }
    }
}

#[cfg(test)]
mod tests;
