//! Which plain requests are sent to HTTPS: those for hosts that a route's own namespace names in `tls`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::host::{HostPattern, HostSet};
use crate::model::HttpsRedirect;
use crate::translate::index::names::Names;

/// Which plain requests of a host's routes are sent to https, by the namespace of the route.
pub(crate) struct Redirects<'n> {
    names: &'n Names,
    pattern: &'n HostPattern,
    known: BTreeMap<Arc<str>, HttpsRedirect>,
}

// === impl Redirects ===

impl<'n> Redirects<'n> {
    pub(crate) fn new(names: &'n Names, pattern: &'n HostPattern) -> Self {
        Self { names, pattern, known: BTreeMap::new() }
    }

    /// For routes of a namespace that are redirected where it has a `tls` entry.
    pub(crate) fn of(&mut self, namespace: &Arc<str>) -> HttpsRedirect {
        if let Some(known) = self.known.get(namespace) {
            return known.clone();
        }
        let found = self.find(namespace);
        self.known.insert(Arc::clone(namespace), found.clone());
        found
    }

    fn find(&self, namespace: &str) -> HttpsRedirect {
        let names = |pattern: &HostPattern| self.names.tls(pattern).any(|entry| entry.namespace() == namespace);
        if names(self.pattern) || self.pattern.wildcard_above().is_some_and(|wildcard| names(&wildcard)) {
            return HttpsRedirect::On;
        }
        let hosts: HostSet = self.names.strays_of(self.pattern).filter(|stray| names(stray)).cloned().collect();
        if hosts.is_empty() { HttpsRedirect::Off } else { HttpsRedirect::Hosts(Arc::new(hosts)) }
    }
}
