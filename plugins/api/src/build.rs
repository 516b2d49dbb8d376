//! What a plugin is built with, and how building fails.

use std::path::Path;

use crate::{Blocking, Data, FileSource, Inputs, SecretSource, Source};

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
    inputs: Inputs,
    blocking: Blocking,
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
        Self { instance, namespace, folder, inputs: Inputs::default(), blocking: Blocking::default() }
    }

    /// The same with Secrets and files.
    #[must_use]
    pub fn with_inputs(mut self, inputs: Inputs) -> Self {
        self.inputs = inputs;
        self
    }

    /// The same with other threads for what takes long.
    #[must_use]
    pub fn with_blocking(mut self, blocking: Blocking) -> Self {
        self.blocking = blocking;
        self
    }

    /// Threads for what takes long; keep it in the plugin.
    pub fn blocking(&self) -> Blocking {
        self.blocking.clone()
    }

    /// All keys of a Secret.
    ///
    /// # Errors
    /// It is not there, or belongs to somebody else.
    pub fn secret(&self, source: &SecretSource) -> Result<&Data, BuildError> {
        let SecretSource { secret_name: name, namespace, .. } = source;
        let namespace = match (namespace.as_deref(), self.namespace) {
            (Some(named), "") => named,
            (None, "") => return Err(BuildError::invalid("namespace", format!("say whose Secret `{name}` it is"))),
            (None, own) => own,
            (Some(named), own) if named == own => own,
            (Some(named), own) => {
                let message = format!("the Secret `{name}` is of `{named}`, not of `{own}`");
                return Err(BuildError::invalid("namespace", message));
            }
        };
        let missing = || BuildError::invalid("secretName", format!("there is no Secret `{namespace}/{name}`"));
        self.inputs.secret(namespace, name).ok_or_else(missing)
    }

    /// The contents of a file, or of a key of a Secret; `key` where the source names none.
    ///
    /// # Errors
    /// They are not there.
    pub fn contents(&self, source: &Source, key: &str) -> Result<&[u8], BuildError> {
        match source {
            Source::File(FileSource { file }) => {
                let missing = || BuildError::invalid("file", format!("`{file}` cannot be read"));
                self.inputs.file(file).map(|contents| &**contents).ok_or_else(missing)
            }
            Source::Secret(secret) => {
                let key = secret.key.as_deref().unwrap_or(key);
                let name = &secret.secret_name;
                let missing = || BuildError::invalid("key", format!("the Secret `{name}` has no key `{key}`"));
                self.secret(secret)?.get(key).map(|value| &**value).ok_or_else(missing)
            }
        }
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
