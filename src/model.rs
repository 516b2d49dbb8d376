//! What the input means, in the field's words, before anything is compiled for serving.
//!
//! Plain ordered data with origins: no handles, no clock, no I/O. Every dialect (Ingress, conf routes,
//! later Gateway API) translates into it; `compile` turns it into a snapshot.
//! It must not know Kubernetes types, Pingora, tokio or the time.

mod backend;
mod certificate;
mod listener;
mod plugin;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

pub use backend::{Backend, BackendId, BackendName, Endpoint, EndpointSet};
pub use certificate::{Certificate, Claim, SecretBytes};
pub use listener::Listener;
pub use plugin::{PluginInputs, PluginInstance, PluginUse, SecretKeys};
pub use route::{
    Action, HeaderMatch, HttpsRedirect, Match, PathMatch, QueryMatch, Rank, Route, TextMatch, VirtualHost,
    WeightedBackend,
};

use crate::address::AddressRules;
use crate::edge::Edge;
use crate::host::HostPattern;

/// Everything that is to be served.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Virtual hosts by pattern; a request belongs to the most specific one and to no other.
    #[serde(serialize_with = "as_list")]
    pub hosts: BTreeMap<HostPattern, Arc<VirtualHost>>,
    /// What takes a request that no virtual host and no path wants: the global default backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Arc<Route>>,
    /// Backends that routes name.
    #[serde(serialize_with = "as_list")]
    pub backends: BTreeMap<BackendId, Arc<Backend>>,
    /// Endpoints of each backend; apart from `backends` because they change most often.
    #[serde(serialize_with = "as_list")]
    pub endpoints: BTreeMap<BackendId, Arc<EndpointSet>>,
    /// Who may say which certificate a host presents, in the order in which they are heard: the first one whose
    /// certificate can be used and covers the name. Nobody: the default one, whatever a wildcard says.
    #[serde(serialize_with = "as_list")]
    pub certificates: BTreeMap<HostPattern, Arc<[Claim]>>,
    /// What is presented to a client that names no known host; `None`: self-signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<Arc<Certificate>>,
    /// Where clients come in, in order of precedence; `None`: nobody says it, and what listens stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Arc<[Arc<Listener>]>>,
    /// What holds for every request: trusted proxies, limits, headers of tidegate's own.
    pub edge: Arc<Edge>,
    /// Which addresses may be endpoints where DNS names them.
    pub address_rules: Arc<AddressRules>,
}

/// Which parts of a [`Model`] a change has touched (added, altered or removed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Virtual hosts.
    pub hosts: BTreeSet<HostPattern>,
    /// Backends, for their settings.
    pub backends: BTreeSet<BackendId>,
    /// Backends, for their endpoints only.
    pub endpoints: BTreeSet<BackendId>,
    /// Certificates.
    pub certificates: BTreeSet<HostPattern>,
    /// The default certificate.
    pub default_certificate: bool,
    /// The default route.
    pub default: bool,
    /// Listeners.
    pub listeners: bool,
    /// The edge settings.
    pub edge: bool,
    /// Which addresses may be endpoints.
    pub address_rules: bool,
}

// === impl Touched ===

impl Touched {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only endpoints were touched, so that no route needs compiling.
    pub fn is_endpoints_only(&self) -> bool {
        let endpoints = self.endpoints.clone();
        Self { endpoints, address_rules: self.address_rules, ..Self::default() } == *self
    }

    /// Everything that a model has: what a first compile is told.
    pub fn all(model: &Model) -> Self {
        Self {
            hosts: model.hosts.keys().cloned().collect(),
            backends: model.backends.keys().cloned().collect(),
            endpoints: model.endpoints.keys().cloned().collect(),
            certificates: model.certificates.keys().cloned().collect(),
            default_certificate: true,
            default: true,
            listeners: true,
            edge: true,
            address_rules: true,
        }
    }

    /// Adds what another change touched.
    pub fn merge(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.backends.extend(other.backends);
        self.endpoints.extend(other.endpoints);
        self.certificates.extend(other.certificates);
        self.default_certificate |= other.default_certificate;
        self.default |= other.default;
        self.listeners |= other.listeners;
        self.edge |= other.edge;
        self.address_rules |= other.address_rules;
    }
}

/// Maps with structured keys are written as lists of entries, so that the model can be shown as YAML.
fn as_list<K: Serialize, V: Serialize, S: serde::Serializer>(map: &BTreeMap<K, V>, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a, K, V> {
        key: &'a K,
        value: &'a V,
    }
    s.collect_seq(map.iter().map(|(key, value)| Entry { key, value }))
}
