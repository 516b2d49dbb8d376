//! Builds the plugin chains of routes.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_plugin::Definition;

use crate::diagnostic::Diagnostic;
use crate::model::PluginUse;
use crate::snapshot::pipeline::Pipeline;

/// Plugin instances by their configuration, so that equal ones share their state.
pub struct Instances {
    empty: Arc<Pipeline>,
}

impl Instances {
    /// Knows these plugins; relative file names in configuration start from the folder.
    pub fn new(_registry: Vec<Definition>, _folder: PathBuf) -> Self {
        Self { empty: Arc::new(Pipeline::default()) }
    }

    /// Builds the chain of a route.
    ///
    /// # Errors
    /// What keeps an instance from being built; the route must then be closed.
    pub fn build(&mut self, uses: &[PluginUse]) -> Result<Arc<Pipeline>, Vec<Diagnostic>> {
        let unknown = uses.iter().map(|used| {
            let message = format!("no plugin is called `{}`", used.instance.kind);
            Diagnostic::error("UnknownPlugin", &used.origin, message)
        });
        let unknown: Vec<Diagnostic> = unknown.collect();
        if unknown.is_empty() { Ok(Arc::clone(&self.empty)) } else { Err(unknown) }
    }

    /// Forgets instances that no chain holds any more.
    pub fn sweep(&mut self) {}
}
