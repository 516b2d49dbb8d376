//! What there is to say where contributions meet: by the place where they do, and by the object that it is about.

pub(crate) mod by_object;

use std::collections::BTreeMap;

use by_object::{ByObject, Meeting};

use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::BackendId;
use crate::resources::ObjectName;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// About routes and default backends of hosts.
    hosts: Lists<HostPattern>,
    /// About `tls` entries that name hosts.
    tls: Lists<HostPattern>,
    backends: Lists<BackendId>,
    /// About Secrets of certificates.
    secrets: Lists<ObjectName>,
    /// All of it again.
    pub by_object: ByObject,
}

/// Findings by key; most keys have none.
#[derive(Debug)]
struct Lists<K>(BTreeMap<K, Vec<Diagnostic>>);

// === impl Findings ===

impl Findings {
    /// About routes and default backends of a host.
    pub(crate) fn put_host(&mut self, pattern: &HostPattern, list: Vec<Diagnostic>) {
        self.by_object.replace(Meeting::Routes, self.hosts.of(pattern), &list);
        self.hosts.put(pattern, list);
    }

    /// About `tls` entries that name a host.
    pub(crate) fn put_tls(&mut self, pattern: &HostPattern, list: Vec<Diagnostic>) {
        self.by_object.replace(Meeting::Names, self.tls.of(pattern), &list);
        self.tls.put(pattern, list);
    }

    pub(crate) fn put_backend(&mut self, id: &BackendId, list: Vec<Diagnostic>) {
        self.by_object.replace(Meeting::References, self.backends.of(id), &list);
        self.backends.put(id, list);
    }

    /// About the Secret of a certificate.
    pub(crate) fn put_secret(&mut self, name: &ObjectName, list: Vec<Diagnostic>) {
        self.by_object.replace(Meeting::References, self.secrets.of(name), &list);
        self.secrets.put(name, list);
    }

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
    fn put(&mut self, key: &K, list: Vec<Diagnostic>) {
        if list.is_empty() {
            self.0.remove(key);
        } else {
            self.0.insert(key.clone(), list);
        }
    }

    fn of(&self, key: &K) -> &[Diagnostic] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.values().flatten()
    }
}
