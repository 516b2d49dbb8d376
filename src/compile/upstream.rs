//! Puts backends and their endpoints under the upstreams that routes point to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::capacity::Capacity;
use crate::endpoint::{Address, Table, Upstream};
use crate::model::{Backend, BackendId, EndpointSet, Model, Touched};
use crate::snapshot::route::Route;
use crate::upstream::UpstreamConfig;

/// Upstreams by backend, with the number of routes that point to each.
pub(super) struct Upstreams {
    table: Arc<Table>,
    known: HashMap<BackendId, CompiledUpstream>,
    ids: HashMap<Arc<str>, BackendId>,
    loose: BTreeSet<BackendId>,
}

struct CompiledUpstream {
    upstream: Arc<Upstream>,
    uses: usize,
    is_in_model: bool,
}

// === impl Upstreams ===

impl Upstreams {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { table, known: HashMap::new(), ids: HashMap::new(), loose: BTreeSet::new() }
    }

    /// How much there is for requests.
    pub(super) fn capacity(&self) -> &Capacity {
        self.table.capacity()
    }

    /// Counts from nothing again; what nobody comes to use is dropped at the next sweep.
    pub(super) fn restart(&mut self) {
        for known in self.known.values_mut() {
            (known.uses, known.is_in_model) = (0, false);
        }
        self.loose.extend(self.known.keys().cloned());
    }

    /// Applies settings and endpoints of what was touched.
    pub(super) fn apply(&mut self, model: &Model, touched: &Touched) {
        // Before the names that they are about.
        if touched.address_rules {
            self.table.set_address_rules(Arc::clone(&model.address_rules));
        }
        for id in &touched.backends {
            self.set_backend(id, model.backends.get(id).map(|backend| &**backend));
        }
        for id in touched.endpoints.iter().chain(&touched.backends) {
            // The endpoints of a DNS name come from its resolution.
            let is_external = model.backends.get(id).is_some_and(|backend| backend.external.is_some());
            let Some(known) = self.known.get(id).filter(|_| !is_external) else { continue };
            known.upstream.set_endpoints(&model.endpoints.get(id).map(|set| addresses(set)).unwrap_or_default());
        }
    }

    /// The upstream of a backend. One that the model does not have is invalid until it does.
    pub(super) fn upstream(&mut self, id: &BackendId) -> Arc<Upstream> {
        if let Some(known) = self.known.get(id) {
            return Arc::clone(&known.upstream);
        }
        let known = self.add(id);
        known.upstream.set_config(invalid());
        Arc::clone(&known.upstream)
    }

    /// Whether the model has that backend.
    pub(super) fn has(&self, id: &BackendId) -> bool {
        self.known.get(id).is_some_and(|known| known.is_in_model)
    }

    /// Counts the routes that now point to upstreams.
    pub(super) fn acquire<'r>(&mut self, routes: impl Iterator<Item = &'r Arc<Route>>) {
        self.count(routes, |known| known.uses += 1);
    }

    /// Counts down the routes that no longer do.
    pub(super) fn release<'r>(&mut self, routes: impl Iterator<Item = &'r Arc<Route>>) {
        self.count(routes, |known| known.uses = known.uses.saturating_sub(1));
    }

    /// Drops the upstreams that are neither in the model nor used.
    pub(super) fn sweep(&mut self) {
        for id in std::mem::take(&mut self.loose) {
            let is_unused = self.known.get(&id).is_some_and(|known| !known.is_in_model && known.uses == 0);
            if is_unused && let Some(known) = self.known.remove(&id) {
                self.ids.remove(known.upstream.id());
                self.table.remove(known.upstream.id());
            }
        }
    }

    fn set_backend(&mut self, id: &BackendId, backend: Option<&Backend>) {
        if backend.is_none() && !self.known.contains_key(id) {
            return;
        }
        let config = backend.map_or_else(invalid, |backend| Arc::clone(backend.config()));
        let known = self.add(id);
        known.is_in_model = backend.is_some();
        known.upstream.set_config(config);
        if backend.is_none() {
            self.loose.insert(id.clone());
        }
    }

    fn add(&mut self, id: &BackendId) -> &mut CompiledUpstream {
        let (table, ids, loose) = (&self.table, &mut self.ids, &mut self.loose);
        self.known.entry(id.clone()).or_insert_with(|| {
            let upstream = table.upstream_of(&id.to_string(), id.namespace());
            ids.insert(Arc::clone(upstream.id()), id.clone());
            loose.insert(id.clone());
            CompiledUpstream { upstream, uses: 0, is_in_model: false }
        })
    }

    fn count<'r>(&mut self, routes: impl Iterator<Item = &'r Arc<Route>>, change: impl Fn(&mut CompiledUpstream)) {
        for route in routes {
            for upstream in route.upstreams() {
                let Some(id) = self.ids.get(upstream.id()) else { continue };
                let Some(known) = self.known.get_mut(id) else { continue };
                change(known);
                if known.uses == 0 && !known.is_in_model {
                    self.loose.insert(id.clone());
                }
            }
        }
    }
}

fn addresses(set: &EndpointSet) -> Vec<Address> {
    let endpoints = set.endpoints.iter();
    endpoints.map(|endpoint| Address { address: endpoint.address, weight: endpoint.weight.max(1) }).collect()
}

fn invalid() -> Arc<UpstreamConfig> {
    UpstreamConfig { is_invalid: true, ..UpstreamConfig::default() }.shared()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;
    use crate::upstream::{Balance, Protocol};

    fn backend(id: &BackendId) -> Backend {
        let config =
            UpstreamConfig { protocol: Protocol::H2c, balance: Balance::LeastRequest, ..UpstreamConfig::default() };
        Backend::new(id.clone(), Origin::default(), config)
    }

    #[test]
    fn an_upstream_is_kept_while_the_model_has_it_and_dropped_after() {
        let mut upstreams = Upstreams::new(Arc::default());
        let id = BackendId::upstream("u");
        let with = Model { backends: [(id.clone(), Arc::new(backend(&id)))].into(), ..Model::default() };
        let touched = Touched { backends: [id.clone()].into(), ..Touched::default() };
        upstreams.apply(&with, &touched);
        upstreams.sweep();
        let config = upstreams.upstream(&id).config();
        assert_eq!((config.protocol, config.balance), (Protocol::H2c, Balance::LeastRequest));
        upstreams.apply(&Model::default(), &touched);
        assert!(upstreams.upstream(&id).config().is_invalid);
        upstreams.sweep();
        assert!(upstreams.known.is_empty() && upstreams.ids.is_empty());
    }

    #[test]
    fn an_upstream_that_nothing_came_to_use_is_dropped() {
        let mut upstreams = Upstreams::new(Arc::default());
        assert!(upstreams.upstream(&BackendId::upstream("u")).config().is_invalid);
        upstreams.sweep();
        assert!(upstreams.known.is_empty());
    }
}
