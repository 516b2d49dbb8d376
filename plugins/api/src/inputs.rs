//! What a plugin takes from outside of its configuration: Secrets and files.
//!
//! A plugin names them by [`Source`] fields, wherever in its configuration. The proxy finds them there, brings their
//! contents when the plugin is built, and builds it anew when they change.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

/// Where contents come from: `{ secretName: NAME, namespace: NS, key: KEY }` or `{ file: PATH, maxSize: SIZE }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Source {
    /// A Secret.
    Secret(SecretSource),
    /// A file.
    File(FileSource),
}

/// A Secret, or one key of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecretSource {
    /// Name of the Secret.
    pub secret_name: String,
    /// Its namespace. Needed in the conf, where anybody's Secret may be named; elsewhere the object's own.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Key in its `data`.
    #[serde(default)]
    pub key: Option<String>,
}

/// A file of the machine that the proxy runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileSource {
    /// Path; a relative one starts in the folder of the conf file.
    pub file: String,
    /// Most that it may have, as `8MiB`, up to `64MiB`. Default `1MiB`.
    #[serde(default)]
    pub max_size: Option<String>,
}

/// Contents, as the proxy hands them to a plugin that is built. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    secrets: BTreeMap<(Arc<str>, Arc<str>), Data>,
    files: BTreeMap<Arc<str>, Arc<[u8]>>,
}

/// The keys of a Secret and what they hold.
pub type Data = BTreeMap<Arc<str>, Arc<[u8]>>;

// === impl Inputs ===

impl Inputs {
    /// Adds a Secret.
    pub fn add_secret(&mut self, namespace: &str, name: &str, data: Data) {
        self.secrets.insert((namespace.into(), name.into()), data);
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &str, contents: impl Into<Arc<[u8]>>) {
        self.files.insert(path.into(), contents.into());
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<&Data> {
        self.secrets.get(&(namespace.into(), name.into()))
    }

    pub(crate) fn file(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)
    }
}

impl Hash for Inputs {
    /// Of names and sizes: contents may be long, are hashed once for each route, and are compared anyway.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, data) in &self.secrets {
            name.hash(state);
            data.iter().for_each(|(key, value)| (key, value.len()).hash(state));
        }
        self.files.iter().for_each(|(path, contents)| (path, contents.len()).hash(state));
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).entries(self.files.keys()).finish()
    }
}
