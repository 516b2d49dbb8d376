//! What a plugin is built with, and how building fails.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use crate::{Blocking, Clock, Data, FileSource, HttpClient, Inputs, SecretSource, Source};

/// What a plugin may use while it is built.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext<'a> {
    /// Name of the instance.
    pub instance: &'a str,
    /// Namespace of the object that defines it; empty for conf.
    pub namespace: &'a str,
    /// The object that defines it, and the field where.
    pub origin: BuildOrigin<'a>,
    /// Folder that relative file names in its configuration start from.
    pub folder: &'a Path,
    inputs: Inputs,
    blocking: Blocking,
    http: HttpClient,
    clock: Clock,
    findings: RefCell<Vec<Finding>>,
}

/// Where an instance is defined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildOrigin<'a> {
    /// Kind of the object: `Ingress`, or `Conf`.
    pub kind: &'a str,
    /// Its namespace; empty for conf.
    pub namespace: &'a str,
    /// Its name; of the conf, its file.
    pub name: &'a str,
    /// Path of the field inside of it.
    pub field: &'a str,
}

/// What is wrong with a configuration that can be used all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Path of the field inside the plugin's configuration.
    pub field: String,
    /// What is wrong, and what follows from it.
    pub message: String,
}

/// Why an instance cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A field's value is not usable.
    #[error("field `{field}`: {message}")]
    Invalid {
        /// Path of the field inside the plugin's configuration.
        field: String,
        /// What is wrong, and the way out.
        message: String,
    },
    /// The configuration has a field that its type does not have.
    #[error("there is no field `{field}`")]
    UnknownField {
        /// Path of the field inside the plugin's configuration.
        field: String,
        /// Names of the fields that there are at that place.
        known: Vec<String>,
    },
    /// No plugin of that name is registered.
    #[error("no plugin is called `{0}`")]
    Unknown(String),
    /// Building it panicked.
    #[error("it panicked while it was built; the process log says where")]
    Panicked,
}

// === impl BuildContext, BuildOrigin, BuildError ===

impl<'a> BuildContext<'a> {
    /// Makes a context.
    pub fn new(instance: &'a str, namespace: &'a str, folder: &'a Path) -> Self {
        let (inputs, blocking, clock) = (Inputs::default(), Blocking::default(), Clock::system());
        let http = HttpClient::default();
        let origin = BuildOrigin { namespace, ..BuildOrigin::default() };
        Self { instance, namespace, origin, folder, inputs, blocking, http, clock, findings: RefCell::default() }
    }

    /// The same, defined by this object, in this field of it.
    #[must_use]
    pub fn with_origin(mut self, kind: &'a str, name: &'a str, field: &'a str) -> Self {
        self.origin = BuildOrigin { kind, name, field, ..self.origin };
        self
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

    /// The same with a client that asks other servers.
    #[must_use]
    pub fn with_http(mut self, http: HttpClient) -> Self {
        self.http = http;
        self
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The time; keep it in the plugin.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Threads for what takes long; keep it in the plugin.
    pub fn blocking(&self) -> Blocking {
        self.blocking.clone()
    }

    /// A client of HTTP; keep it in the plugin, and give it limits of the plugin's own.
    pub fn http(&self) -> HttpClient {
        self.http.clone()
    }

    /// Tells whoever wrote the configuration, as a warning, what is wrong with it although it can be used.
    pub fn warn(&self, field: impl Into<String>, message: impl std::fmt::Display) {
        self.findings.borrow_mut().push(Finding { field: field.into(), message: message.to_string() });
    }

    /// What was told so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.borrow().clone()
    }

    /// All keys of a Secret.
    ///
    /// # Errors
    /// It is not there, or belongs to somebody else who does not grant it.
    pub fn secret(&self, source: &SecretSource) -> Result<&Data, BuildError> {
        let SecretSource { secret_name: name, namespace, .. } = source;
        let own = self.namespace;
        let named = namespace.as_deref().unwrap_or(own);
        if named.is_empty() {
            return Err(BuildError::invalid("namespace", format!("say whose Secret `{name}` it is")));
        }
        // Those of others are among the inputs only where they are granted.
        let is_foreign = !own.is_empty() && named != own;
        let missing = || match is_foreign {
            true => BuildError::invalid("namespace", format!("`{named}/{name}` is not granted to `{own}`")),
            false => BuildError::invalid("secretName", format!("there is no Secret `{named}/{name}`")),
        };
        self.inputs.secret(named, name).ok_or_else(missing)
    }

    /// The contents of a file, or of a key of a Secret; `key` where the source names none.
    ///
    /// # Errors
    /// They are not there.
    pub fn contents(&self, source: &Source, key: &str) -> Result<&[u8], BuildError> {
        match source {
            Source::File(FileSource { file, .. }) => {
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

impl fmt::Display for BuildOrigin<'_> {
    /// `Ingress/namespace/name`, or `Conf/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace {
            "" => write!(f, "{}/{}", self.kind, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind, self.name),
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
