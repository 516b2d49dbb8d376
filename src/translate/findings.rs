//! What there is to say where contributions meet, by what it is about.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::BackendId;
use crate::resources::ObjectName;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// About routes and default backends of hosts.
    pub hosts: Lists<HostPattern>,
    /// About `tls` entries that name hosts.
    pub tls: Lists<HostPattern>,
    pub backends: Lists<BackendId>,
    /// About Secrets of certificates.
    pub secrets: Lists<ObjectName>,
}

/// Findings by key; most keys have none.
#[derive(Debug)]
pub(crate) struct Lists<K>(BTreeMap<K, Vec<Diagnostic>>);

// === impl Findings ===

impl Findings {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Diagnostic> {
        self.hosts.all().chain(self.tls.all()).chain(self.backends.all()).chain(self.secrets.all())
    }
}

// === impl Lists ===

impl<K> Default for Lists<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Lists<K> {
    /// Puts a list in the place of what was said before.
    pub(crate) fn put(&mut self, key: &K, list: Vec<Diagnostic>) {
        if list.is_empty() {
            self.0.remove(key);
        } else {
            self.0.insert(key.clone(), list);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.values().flatten()
    }
}
