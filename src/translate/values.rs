//! What contributions come to: the model, and what it is made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::options::Options;
use crate::dense;
use crate::model::{Certificate, Model, Touched};
use crate::resources::ObjectName;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub model: Model,
    /// Certificates of the Secrets that are named, whether a host presents them or not.
    pub certificates: BTreeMap<ObjectName, Arc<Certificate>>,
}

// === impl Values ===

impl Values {
    /// Takes over what the conf says of the model as a whole.
    pub(crate) fn take(&mut self, options: &Options, touched: &mut Touched) {
        touched.listeners |= put(&mut self.model.listeners, options.listeners.clone());
        touched.edge |= put(&mut self.model.edge, Arc::clone(&options.edge));
        touched.address_rules |= put(&mut self.model.address_rules, Arc::clone(&options.backend.rules));
    }

    /// Gives up empty room.
    pub(crate) fn pack(&mut self) {
        dense::pack(&mut self.model.hosts);
        dense::pack(&mut self.model.backends);
        dense::pack(&mut self.model.endpoints);
    }
}

/// Sets a value; says whether that changed anything. An equal value keeps its old allocation.
pub(crate) fn put<V: PartialEq>(slot: &mut V, value: V) -> bool {
    let differs = *slot != value;
    if differs {
        *slot = value;
    }
    differs
}

/// Sets or removes an entry; says whether that changed anything. An equal value keeps its old allocation.
pub(crate) fn set<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
    true
}
