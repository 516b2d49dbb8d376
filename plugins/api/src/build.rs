//! What a plugin is built with, and how building fails.

use std::path::Path;

/// What a plugin may use while it is built.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext<'a> {
    /// Name of the instance.
    pub instance: &'a str,
    /// Namespace of the object that defines it; empty for conf.
    pub namespace: &'a str,
    /// Folder that relative file names in its configuration start from.
    pub folder: &'a Path,
}

/// Why an instance cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A field's value is not usable.
    #[error("field `{field}`: {message}")]
    Invalid {
        /// Path of the field inside the plugin's configuration.
        field: String,
        /// What is wrong, and the way out.
        message: String,
    },
    /// No plugin of that name is registered.
    #[error("no plugin is called `{0}`")]
    Unknown(String),
}

// === impl BuildContext, BuildError ===

impl<'a> BuildContext<'a> {
    /// Makes a context.
    pub fn new(instance: &'a str, namespace: &'a str, folder: &'a Path) -> Self {
        Self { instance, namespace, folder }
    }
}

impl BuildError {
    /// A field's value is not usable.
    pub fn invalid(field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), message: message.to_string() }
    }

    pub(crate) fn from_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        Self::invalid(error.path().to_string(), error.inner())
    }
}
