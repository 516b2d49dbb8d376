//! Everything but serving: reads the input once and compiles it, for `check`, `routes` and `explain`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::control::Control;
use super::shared::Shared;
use super::sources::NOT_STARTED;
use super::{Builder, parts};
use crate::diagnostic::Diagnostic;
use crate::explain::{self, Explanation, Question, RouteRow};

/// A configuration that was read, translated and compiled, but is served by nobody.
pub(crate) struct Offline {
    shared: Arc<Shared>,
    file: PathBuf,
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
        let settings = super::settings(conf)?;
        let (compiler, shared) = parts(builder, &settings).map_err(|error| vec![super::internal(&error)])?;
        let batches = super::sources::read_once(&settings);
        let mut control =
            Control::new(compiler, shared.clone(), batches.iter().map(|batch| batch.source).collect::<Vec<_>>());
        control.take(batches);
        let mut diagnostics = control.diagnostics();
        diagnostics.extend(super::live::load_certificates(&settings, &shared.listeners));
        Ok(Self { diagnostics, shared, file: settings.file })
    }

    /// The routing table.
    pub(crate) fn routes(&self) -> Vec<RouteRow> {
        explain::routes(&self.shared.snapshot.load())
    }

    /// Where a request would go.
    pub(crate) fn explain(&self, question: &Question) -> Explanation {
        let mut it = explain::explain(&self.shared.snapshot.load(), &self.shared.listeners, question);
        // Nobody serves the built-in upstreams now, so they have no address.
        let texts =
            it.upstreams.iter_mut().flat_map(|upstream| upstream.endpoints.iter_mut().chain(&mut upstream.next));
        for text in texts.chain([&mut it.answer]) {
            if let Some((before, after)) = text.split_once(NOT_STARTED)
                && !after.starts_with(|next: char| next.is_ascii_digit())
            {
                *text = format!("{before}(built in, has a port when it runs){after}");
            }
        }
        it
    }

    /// What was read, in one line.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.file.display(), super::summary::counts(&self.shared.snapshot.load()))
    }
}
