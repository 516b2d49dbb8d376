//! Everything but serving: reads the input once and compiles it, for `check`, `routes` and `explain`.

use std::path::Path;
use std::sync::Arc;

use super::control::Control;
use super::shared::Shared;
use super::{Builder, parts};
use crate::diagnostic::Diagnostic;
use crate::explain::{self, Explanation, Question, RouteRow};

/// A configuration that was read, translated and compiled, but is served by nobody.
pub(crate) struct Offline {
    shared: Arc<Shared>,
    /// Everything there is to say about the input.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

// === impl Offline ===

impl Offline {
    /// Reads a conf file and its sources.
    ///
    /// # Errors
    /// The diagnostics of a conf file that cannot be used.
    pub(crate) fn load(builder: &Builder, conf: Option<&Path>) -> Result<Self, Vec<Diagnostic>> {
        let settings = crate::cli::load(conf)?;
        let (compiler, shared) = parts(builder, &settings).map_err(|error| vec![super::internal(&error)])?;
        let batches = super::sources::read_once(&settings);
        let mut control =
            Control::new(compiler, shared.clone(), batches.iter().map(|batch| batch.source).collect::<Vec<_>>());
        control.take(batches);
        Ok(Self { diagnostics: control.diagnostics(), shared })
    }

    /// The routing table.
    pub(crate) fn routes(&self) -> Vec<RouteRow> {
        explain::routes(&self.shared.snapshot.load())
    }

    /// Where a request would go.
    pub(crate) fn explain(&self, question: &Question) -> Explanation {
        explain::explain(&self.shared.snapshot.load(), question)
    }

    /// What was read, in one line.
    pub(crate) fn summary(&self) -> String {
        super::summary::counts(&self.shared.snapshot.load())
    }
}
