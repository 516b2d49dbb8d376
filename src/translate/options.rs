//! What the conf says that holds for every dialect and for more than one route.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::AddressRules;
use crate::edge::Edge;
use crate::model::{Listener, PluginInstance};
use crate::policy::Policy;
use crate::resources::conf::{GrantSpec, HashCostSpec, IngressOptions};
use crate::upstream::Balance;

/// All of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub ingress: IngressOptions,
    /// Timeouts, attempts and limits where nobody says otherwise.
    pub policy: Arc<Policy>,
    pub backend: BackendOptions,
    pub plugins: BTreeMap<String, Arc<PluginInstance>>,
    /// Kept to be compared: who reads them asks the conf.
    pub grants: Vec<GrantSpec>,
    /// Kept to be compared: plugins have it in their configurations.
    pub max_hash_cost: HashCostSpec,
    /// Nobody says it where there is no conf.
    pub listeners: Option<Arc<[Arc<Listener>]>>,
    pub edge: Arc<Edge>,
}

/// Settings of every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendOptions {
    pub balance: Balance,
    pub allow_external_name: bool,
    /// Zone of this process.
    pub zone: Option<Arc<str>>,
    /// Which addresses may be endpoints where a cluster or a name says so.
    pub rules: Arc<AddressRules>,
}

// === impl Options ===

impl Options {
    /// Whether Ingresses mean the same as by other options, plugins of the conf left out.
    pub(crate) fn reads_ingresses_like(&self, other: &Self) -> bool {
        self.ingress == other.ingress
            && self.policy == other.policy
            && self.grants == other.grants
            && self.max_hash_cost == other.max_hash_cost
    }
}
