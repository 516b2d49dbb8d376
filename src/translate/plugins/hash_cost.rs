//! The dearest password hashes, as the conf's defaults give them to every `basic-auth` that says nothing itself.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::conf::{Defaults, HashCostSpec, PluginSpec};
use crate::translate::asked::policy;

/// The plugin, and its field.
const KIND: &str = "basic-auth";
const FIELD: &str = "maxHashCost";

/// What may be said of each kind of hash.
const BOUNDS: [(&str, RangeInclusive<u32>); 2] = [("bcrypt", 4..=15), ("rounds", 1000..=1_000_000)];

/// Says what is wrong with the defaults.
pub(crate) fn check(defaults: &Defaults, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) {
    for (name, value, bounds) in values(&defaults.max_hash_cost) {
        if !bounds.contains(&value) {
            let message = format!("`{value}` is not from {} to {}", bounds.start(), bounds.end());
            diagnostics.push(policy::invalid_value(&origin.at(format!("defaults.{FIELD}.{name}")), message));
        }
    }
}

/// The configuration of a plugin with what the defaults add.
pub(crate) fn with_defaults(spec: &PluginSpec, defaults: Option<&Defaults>) -> Map<String, Value> {
    let mut config = spec.config.clone();
    let Some(defaults) = defaults.filter(|_| spec.kind == KIND && !config.contains_key(FIELD)) else { return config };
    let good = values(&defaults.max_hash_cost).filter(|(_, value, bounds)| bounds.contains(value));
    let good: Map<String, Value> = good.map(|(name, value, _)| (name.to_owned(), value.into())).collect();
    if !good.is_empty() {
        config.insert(FIELD.to_owned(), good.into());
    }
    config
}

fn values(spec: &HashCostSpec) -> impl Iterator<Item = (&'static str, u32, RangeInclusive<u32>)> {
    let given = [spec.bcrypt, spec.rounds].into_iter().zip(BOUNDS);
    given.filter_map(|(value, (name, bounds))| Some((name, value?, bounds)))
}
