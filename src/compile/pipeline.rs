//! Builds plugin instances and the chains of routes.
//!
//! An instance is kept while its name, type and configuration are the same, so its state survives new snapshots.
//! Equal chains are one chain. It must not know requests.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use tidegate_plugin::{Blocking, BuildContext, BuildError, Definition, Finding, Inputs};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{PluginInputs, PluginInstance, PluginUse};
use crate::origin::Origin;
use crate::snapshot::pipeline::{Instance, Mode, Pipeline};
use crate::suggest;

/// The plugins that can be built, and the instances that were.
pub(crate) struct Instances {
    registry: Vec<Definition>,
    folder: PathBuf,
    lanes: Option<Lanes>,
    built: HashMap<Key, Weak<Instance>>,
    chains: HashMap<Vec<Key>, Weak<Pipeline>>,
}

/// Gives the instance of that name threads for what takes long.
pub(crate) type Lanes = Box<dyn Fn(&str) -> Blocking + Send>;

/// What an instance is built from. While it is equal the instance lives on, and its state with it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Name, type, namespace and configuration as JSON text, whose keys are sorted.
    texts: [Arc<str>; 4],
    inputs: Inputs,
}

// === impl Instances ===

impl Instances {
    /// Starts with no instance. `folder`: where relative file names in configurations start.
    pub(crate) fn new(registry: Vec<Definition>, folder: PathBuf) -> Self {
        Self { registry, folder, lanes: None, built: HashMap::new(), chains: HashMap::new() }
    }

    /// Gives plugins threads for what takes long; without, each piece of work has a thread of its own.
    pub(crate) fn set_lanes(&mut self, lanes: Lanes) {
        self.lanes = Some(lanes);
    }

    /// Builds the chain of a route, or takes the equal one that lives.
    ///
    /// # Errors
    /// A diagnostic for each plugin that is unknown or cannot be built; the route must then be closed (503).
    pub(crate) fn build(&mut self, uses: &[PluginUse]) -> Result<Arc<Pipeline>, Vec<Diagnostic>> {
        let keys: Vec<Key> = uses.iter().map(|used| key(&used.instance)).collect();
        if let Some(pipeline) = self.chains.get(&keys).and_then(Weak::upgrade) {
            return Ok(pipeline);
        }
        let mut chain = Vec::with_capacity(uses.len());
        let mut errors = Vec::new();
        for (used, key) in uses.iter().zip(&keys) {
            match self.instance(&used.instance, key) {
                Ok(instance) => chain.push(instance),
                Err(error) => errors.push(*error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let pipeline = Arc::new(Pipeline::new(chain));
        self.chains.insert(keys, Arc::downgrade(&pipeline));
        Ok(pipeline)
    }

    /// Forgets instances and chains that nothing refers to any more.
    pub(crate) fn sweep(&mut self) {
        self.chains.retain(|_, chain| chain.strong_count() > 0);
        self.built.retain(|_, instance| instance.strong_count() > 0);
    }

    fn instance(&mut self, wanted: &PluginInstance, key: &Key) -> Result<Arc<Instance>, Box<Diagnostic>> {
        if let Some(instance) = self.built.get(key).and_then(Weak::upgrade) {
            return Ok(instance);
        }
        let Some(definition) = self.registry.iter().find(|known| known.name == &*wanted.kind) else {
            return Err(Box::new(self.unknown(wanted)));
        };
        let cx = BuildContext::new(&wanted.name, &wanted.origin.namespace, &self.folder)
            .with_inputs(key.inputs.clone())
            .with_blocking(self.lanes.as_ref().map_or_else(Blocking::default, |lanes| lanes(&wanted.name)));
        let instance = build(definition, wanted, &cx).map_err(|error| Box::new(invalid(wanted, &error)))?;
        let instance = Arc::new(instance);
        self.built.insert(key.clone(), Arc::downgrade(&instance));
        Ok(instance)
    }

    fn unknown(&self, wanted: &PluginInstance) -> Diagnostic {
        let message = format!("no plugin is called `{}`", wanted.kind);
        let hint = suggest::did_you_mean(&wanted.kind, self.registry.iter().map(|known| known.name));
        Diagnostic { hint, ..Diagnostic::error(Code::PluginNotFound, &wanted.origin, message) }
    }
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instances").field("built", &self.built.len()).finish_non_exhaustive()
    }
}

// === private functions ===

fn key(instance: &PluginInstance) -> Key {
    let config = instance.config.to_string();
    let texts = [instance.name.clone(), instance.kind.clone(), instance.origin.namespace.clone(), config.into()];
    Key { texts, inputs: inputs(&instance.inputs) }
}

fn inputs(given: &PluginInputs) -> Inputs {
    let mut inputs = Inputs::default();
    for ((namespace, name), keys) in &given.secrets {
        let data = keys.iter().map(|(key, value)| (key.clone(), value.expose().clone()));
        inputs.add_secret(namespace, name, data.collect());
    }
    given.files.iter().for_each(|(path, contents)| inputs.add_file(path, contents.expose().clone()));
    inputs
}

fn build(definition: &Definition, wanted: &PluginInstance, cx: &BuildContext<'_>) -> Result<Instance, BuildError> {
    let mut config = wanted.config.clone();
    // `mode` belongs to the instance, so that every plugin has it and none can forget it.
    let mode = match config.as_object_mut().and_then(|fields| fields.remove("mode")) {
        Some(mode) => serde_json::from_value::<Mode>(mode).map_err(|error| BuildError::invalid("mode", error))?,
        None => Mode::default(),
    };
    // A panic is a fault of this instance, and closes the routes that use it.
    let built = catch_unwind(AssertUnwindSafe(|| (definition.build)(&config, cx)))
        .unwrap_or_else(|_| Err(BuildError::Panicked))?;
    let instance = Instance::new(&wanted.name, built.stage, mode, built.plugin);
    let findings = cx.findings().iter().map(|finding| doubtful(wanted, finding)).collect();
    Ok(instance.configured(&wanted.kind, wanted.config.clone(), &wanted.origin).with_findings(findings))
}

/// Origin of a field of an instance's configuration.
fn at(wanted: &PluginInstance, field: &str) -> Origin {
    match wanted.origin.field.is_empty() {
        true => wanted.origin.at(field),
        false => wanted.origin.at(format!("{}.{field}", wanted.origin.field)),
    }
}

fn doubtful(wanted: &PluginInstance, finding: &Finding) -> Diagnostic {
    let message = format!("plugin `{}` ({}): {}", wanted.name, wanted.kind, finding.message);
    Diagnostic::warning(Code::PluginConfigDoubtful, &at(wanted, &finding.field), message)
}

fn invalid(wanted: &PluginInstance, error: &BuildError) -> Diagnostic {
    let message = format!("plugin `{}` ({}): {error}", wanted.name, wanted.kind);
    let origin = match error {
        BuildError::Invalid { field, .. } => at(wanted, field),
        BuildError::Unknown(_) | BuildError::Panicked => wanted.origin.clone(),
    };
    Diagnostic::error(Code::PluginConfigInvalid, &origin, message)
}

#[cfg(test)]
mod tests;
