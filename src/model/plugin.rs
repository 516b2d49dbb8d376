//! Plugins as configuration names them; the compiler builds them.

use std::sync::Arc;

use serde::Serialize;

use crate::origin::Origin;

/// One plugin on one route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginUse {
    /// The instance.
    pub instance: Arc<PluginInstance>,
    /// Where the route asks for it.
    pub origin: Origin,
}

/// A configured plugin. Routes that name the same instance share its state.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginInstance {
    /// Name of the instance; for one written inside a route, the route's name and its position.
    pub name: Arc<str>,
    /// Which plugin: `headers`, `rate-limit`, …
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Its configuration, not yet checked against the plugin's schema.
    pub config: serde_json::Value,
    /// Where it is defined.
    pub origin: Origin,
}
