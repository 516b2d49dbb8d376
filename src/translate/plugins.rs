//! Plugins that any dialect asks for.

pub(crate) mod hash_cost;
