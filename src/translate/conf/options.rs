//! What the conf says that holds for more than one route.

use std::sync::Arc;

use super::edge::edge;
use super::invalid::invalid_value;
use super::listener::listeners;
use super::policy;
use crate::address::AddressRules;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::policy::{Change, Policy};
use crate::resources::Resources;
use crate::resources::conf::{Conf, Defaults};
use crate::translate::asked::policy::PolicyPatch;
use crate::translate::options::{BackendOptions, Options};
use crate::translate::plugins::{self, hash_cost};

/// Reads it; what is not taken is told, and the default stays.
pub(crate) fn read(conf: &Conf, origin: &Origin, resources: &Resources, diagnostics: &mut Vec<Diagnostic>) -> Options {
    let faults = hash_cost::faults(&conf.defaults);
    diagnostics.extend(faults.map(|(field, message)| invalid_value(&origin.at(field), message)));
    let plugins = conf.plugins.iter().map(|(name, spec)| {
        let origin = origin.at(format!("plugins.{name}"));
        (name.clone(), Arc::new(plugins::instance(name, spec, origin, resources)))
    });
    Options {
        plugins: plugins.collect(),
        grants: conf.grants.clone(),
        max_hash_cost: conf.defaults.max_hash_cost.clone(),
        policy: default_policy(&conf.defaults, origin, diagnostics),
        backend: BackendOptions {
            balance: conf.defaults.load_balancing,
            allow_external_name: conf.defaults.allow_external_name,
            zone: conf.zone.as_deref().map(Into::into),
            rules: Arc::new(AddressRules {
                allowed: conf.defaults.allow_addresses.clone(),
                own: conf.own_sockets.clone(),
            }),
        },
        listeners: resources.conf.is_some().then(|| listeners(conf, origin)),
        edge: Arc::new(edge(conf, origin, diagnostics)),
        ingress: conf.ingress.clone(),
    }
}

fn default_policy(defaults: &Defaults, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Arc<Policy> {
    let mut patch = PolicyPatch::default();
    let field = |change: &Change| match change {
        Change::Body(_) => origin.at("defaults.limits.body"),
        change => origin.at(format!("defaults.{}", change.name())),
    };
    policy::ask(&mut patch, defaults.policy(), field, diagnostics);
    patch.over(&Arc::default())
}
