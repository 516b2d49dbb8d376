//! What one object adds to the model, kept so that it can be taken back when the object changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::asked::Redirection;
use super::asked::backend::BackendPatch;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Backend, BackendId, EndpointSet, Rank, Route};
use crate::origin::Origin;
use crate::resources::ObjectName;

/// Origin of a contribution: the conf, or an object. The conf comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The routes of the conf.
    Conf,
    /// One Ingress.
    Ingress(ObjectName),
}

/// Contribution of one unit. There is one for each Ingress, so its lists have no spare room.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contribution {
    /// What it adds to each host.
    pub hosts: Sorted<HostPattern, HostPart>,
    /// Backends that it names.
    pub backends: Sorted<BackendId, BackendUse>,
    /// Secrets that it names, and where.
    pub secrets: Sorted<ObjectName, Vec<Origin>>,
    /// What is wrong with it, as far as it can be told without other objects.
    pub diagnostics: Box<[Diagnostic]>,
    /// Contributions of the conf alone.
    pub conf: Option<Box<ConfPart>>,
    /// What it has to do with plugins, which few have.
    pub plugins: Option<Box<PluginPart>>,
}

/// Plugins that a unit refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PluginPart {
    /// Whether it names instances of the conf.
    pub names_some: bool,
    /// Secrets that plugins of its own name; those of the conf are among the options.
    pub secrets: Vec<ObjectName>,
}

/// A contribution that is being made.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub hosts: BTreeMap<HostPattern, HostPart>,
    pub tls: BTreeMap<HostPattern, Vec<TlsEntry>>,
    pub backends: BTreeMap<BackendId, BackendUse>,
    pub secrets: BTreeMap<ObjectName, Vec<Origin>>,
    pub diagnostics: Vec<Diagnostic>,
    pub conf: Option<Box<ConfPart>>,
    pub plugins: PluginPart,
}

/// Contributions of the conf alone.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ConfPart {
    /// Upstreams that it defines.
    pub upstreams: BTreeMap<BackendId, (Arc<Backend>, Arc<EndpointSet>)>,
    /// The global default route.
    pub default: Option<Arc<Route>>,
    /// The Secret of the default certificate.
    pub default_certificate: Option<ObjectName>,
}

/// A map that does not change.
#[derive(Debug, PartialEq)]
pub(crate) struct Sorted<K, V>(Box<[(K, V)]>);

/// Contribution of one unit to one host.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct HostPart {
    pub routes: Vec<Candidate>,
    pub fallback: Option<Candidate>,
    /// Its `tls` entries that name the host. Naming is not owning: whether they count is found where units meet.
    pub tls: Box<[TlsEntry]>,
}

/// A route that stands for a host, unless another one has its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub route: Arc<Route>,
    pub redirect: Redirection,
}

/// A `tls` entry of an Ingress, as far as one host is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsEntry {
    /// The entry.
    pub origin: Origin,
    /// Who is heard first.
    pub rank: Rank,
    /// What it wants to be presented.
    pub secret: Option<ObjectName>,
}

/// How and where a backend is named.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct BackendUse {
    pub patch: Arc<BackendPatch>,
    pub origins: Vec<Origin>,
}

// === impl Contribution ===

impl Contribution {
    /// Nothing but something to say.
    pub(crate) fn only(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: [diagnostic].into(), ..Self::default() }
    }

    /// Whether it names plugin instances of the conf.
    pub(crate) fn names_plugins(&self) -> bool {
        self.plugins.as_ref().is_some_and(|plugins| plugins.names_some)
    }

    /// Secrets that plugins of its own name.
    pub(crate) fn plugin_secrets(&self) -> &[ObjectName] {
        self.plugins.as_ref().map(|plugins| plugins.secrets.as_slice()).unwrap_or_default()
    }

    /// Its `tls` entries that name a host.
    pub(crate) fn tls(&self, pattern: &HostPattern) -> &[TlsEntry] {
        self.hosts.get(pattern).map(|part| &*part.tls).unwrap_or_default()
    }

    /// Ids of the backends that it names, and of those that it defines.
    pub(crate) fn backend_ids(&self) -> impl Iterator<Item = &BackendId> {
        self.backends.keys().chain(self.conf.iter().flat_map(|conf| conf.upstreams.keys()))
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn host(&mut self, pattern: &HostPattern) -> &mut HostPart {
        self.hosts.entry(pattern.clone()).or_default()
    }

    /// Notes that a backend is named here, and returns its id.
    pub(crate) fn backend(&mut self, id: BackendId, patch: &Arc<BackendPatch>, origin: Origin) -> BackendId {
        let entry = self.backends.entry(id.clone()).or_default();
        entry.patch = Arc::clone(patch);
        entry.origins.push(origin);
        id
    }

    /// Contributions of the conf alone.
    pub(crate) fn conf(&mut self) -> &mut ConfPart {
        self.conf.get_or_insert_default()
    }

    /// Brings it into the form in which it is kept.
    pub(crate) fn finish(mut self) -> Contribution {
        for (pattern, entries) in std::mem::take(&mut self.tls) {
            self.hosts.entry(pattern).or_default().tls = entries.into();
        }
        self.hosts.values_mut().for_each(|part| part.routes.shrink_to_fit());
        self.backends.values_mut().for_each(|used| used.origins.shrink_to_fit());
        self.secrets.values_mut().for_each(Vec::shrink_to_fit);
        Contribution {
            hosts: self.hosts.into(),
            backends: self.backends.into(),
            secrets: self.secrets.into(),
            diagnostics: self.diagnostics.into(),
            conf: self.conf,
            plugins: (self.plugins != PluginPart::default()).then(|| Box::new(self.plugins)),
        }
    }
}

// === impl Sorted ===

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let index = self.0.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

impl<K, V> From<BTreeMap<K, V>> for Sorted<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        Self(map.into_iter().collect())
    }
}

// === impl HostPart ===

impl HostPart {
    /// Whether it makes the host one that is served.
    pub(crate) fn serves(&self) -> bool {
        !self.routes.is_empty() || self.fallback.is_some()
    }
}

// === impl TlsEntry ===

impl TlsEntry {
    pub(crate) fn namespace(&self) -> &str {
        &self.origin.namespace
    }
}
