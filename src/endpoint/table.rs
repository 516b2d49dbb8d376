//! All upstreams by id, and what they share.
//!
//! Not on the request path: routes hold their upstreams themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Upstream;
use super::shared::{Shared, Stats};
use crate::address::AddressRules;
use crate::capacity::Capacity;

/// All upstreams, by id.
#[derive(Debug, Default)]
pub struct Table {
    upstreams: RwLock<BTreeMap<Arc<str>, Arc<Upstream>>>,
    shared: Arc<Shared>,
}

// === impl Table ===

impl Table {
    /// A table whose upstreams share what that process has.
    pub fn new(capacity: Arc<Capacity>) -> Self {
        Self { upstreams: RwLock::default(), shared: Arc::new(Shared::new(capacity)) }
    }

    /// What its upstreams share.
    pub fn capacity(&self) -> &Arc<Capacity> {
        &self.shared.capacity
    }

    /// The upstream of that id; made, empty, when it is new, as one of that namespace's, or without as one of the
    /// operator's.
    pub fn upstream_of(&self, id: &str, namespace: Option<&str>) -> Arc<Upstream> {
        if let Some(upstream) = self.get(id) {
            return upstream;
        }
        let mut upstreams = self.upstreams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = upstreams.get(id) {
            return Arc::clone(upstream);
        }
        let tenant = namespace.map(|name| self.shared.tenant(name));
        let upstream = Arc::new(Upstream::new(id, tenant, Arc::clone(&self.shared)));
        upstreams.insert(Arc::clone(upstream.id()), Arc::clone(&upstream));
        upstream
    }

    /// The upstream of that id, if it is there.
    pub fn get(&self, id: &str) -> Option<Arc<Upstream>> {
        self.upstreams.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Takes an upstream out: its probes and resolutions end. Requests that hold it may finish with it.
    pub fn remove(&self, id: &str) -> Option<Arc<Upstream>> {
        let removed = self.upstreams.write().unwrap_or_else(PoisonError::into_inner).remove(id)?;
        removed.retire();
        self.shared.resolver_wake.notify_one();
        Some(removed)
    }

    /// Says which answers of DNS may be endpoints, those that are there already too.
    pub fn set_address_rules(&self, rules: Arc<AddressRules>) {
        self.shared.address_rules.store(rules);
        self.shared.resolver_wake.notify_one();
    }

    /// Which answers of DNS may be endpoints.
    pub(crate) fn address_rules(&self) -> Arc<AddressRules> {
        self.shared.address_rules.load_full()
    }

    /// All upstreams that are there now, by id.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Upstream>> + use<> {
        let upstreams = self.upstreams.read().unwrap_or_else(PoisonError::into_inner);
        upstreams.values().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Counters of the endpoint tasks.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_the_same_one_until_it_is_removed() {
        let table = Table::default();
        let first = table.upstream_of("a/b:80", None);
        assert!(Arc::ptr_eq(&first, &table.upstream_of("a/b:80", None)));
        assert!(Arc::ptr_eq(&first, &table.remove("a/b:80").unwrap()));
        assert!(table.get("a/b:80").is_none());
        assert!(!Arc::ptr_eq(&first, &table.upstream_of("a/b:80", None)));
        assert!(table.remove("unknown").is_none());
    }

    #[test]
    fn upstreams_are_listed_by_id() {
        let table = Table::default();
        for id in ["c", "a", "b"] {
            table.upstream_of(id, None);
        }
        let ids: Vec<_> = table.iter().map(|upstream| upstream.id().to_string()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }
}
