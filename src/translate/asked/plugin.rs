//! A plugin that is asked for.

use crate::origin::Origin;
use crate::resources::conf::PluginSpec;

/// Request for a plugin, with its origin.
#[derive(Debug)]
pub(crate) struct PluginRequest {
    pub plugin: Wanted,
    /// The field or annotation.
    pub origin: Origin,
}

/// Which plugin.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// An instance that the conf defines, by its name.
    Named(String),
    /// An instance of one's own.
    Own {
        /// What tells it from others of the same object.
        part: String,
        /// Type and configuration.
        spec: PluginSpec,
    },
}
