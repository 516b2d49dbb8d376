//! What any dialect asks for, for the routes and backends of one object: one vocabulary.
//!
//! A dialect turns what somebody wrote into this; [`super::resolve`] turns this into what routes get. It must not know
//! who wrote it, nor how. What is not asked for stays as the conf's defaults have it.

pub(crate) mod backend;
pub(crate) mod plugin;
pub(crate) mod policy;

use backend::BackendPatch;
use plugin::PluginRequest;
use policy::PolicyPatch;

use crate::diagnostic::Diagnostic;
use crate::reason::Reason;

/// Everything that an object asks for its routes.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Timeouts, attempts and limits.
    pub policy: PolicyPatch,
    /// Settings of the backends, as these routes use them.
    pub backend: BackendPatch,
    /// When plain HTTP is sent to HTTPS.
    pub redirection: Option<Redirection>,
    /// Plugins, in order.
    pub plugins: Vec<PluginRequest>,
    /// Why the routes are closed: a rule of security that cannot be kept.
    pub closed: Option<Reason>,
    /// What there is to say about it.
    pub diagnostics: Vec<Diagnostic>,
}

/// When plain HTTP is sent to HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    Never,
    /// When the namespace has a `tls` entry for the host.
    WithTls,
    Always,
}

// === impl Asked ===

impl Asked {
    /// Closes the routes; the first reason stays.
    pub(crate) fn close(&mut self, reason: Reason) {
        self.closed.get_or_insert(reason);
    }

    /// Whether the routes are closed, whatever else is asked for.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }
}
