//! Plugins as configuration names them; the compiler builds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::certificate::SecretBytes;
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
    /// Contents of the Secrets and files that its configuration names, as far as they are there.
    #[serde(skip)]
    pub inputs: PluginInputs,
}

/// Keys of a Secret with their values.
pub type SecretKeys = Vec<(Arc<str>, SecretBytes)>;

/// Contents of Secrets, by namespace and name, and of files, by their path as written. Never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginInputs {
    /// Keys of Secrets.
    pub secrets: BTreeMap<(Arc<str>, Arc<str>), SecretKeys>,
    /// Files.
    pub files: BTreeMap<Arc<str>, SecretBytes>,
}
