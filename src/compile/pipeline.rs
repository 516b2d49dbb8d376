//! Builds plugin instances and the chains of routes.
//!
//! An instance is kept while its name, type and configuration are the same, so its state survives new snapshots.
//! Equal chains are one chain. It must not know requests.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use tidegate_plugin::{Blocking, BuildContext, BuildError, Definition, Finding, HttpClient, Inputs, Stage};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{BackendId, PluginInputs, PluginInstance, PluginUse};
use crate::origin::Origin;
use crate::snapshot::pipeline::{Instance, Mode, Pipeline};
use crate::suggest;

/// The plugins that can be built, and the instances that were.
pub(crate) struct Instances {
    registry: Vec<Definition>,
    folder: PathBuf,
    lanes: Option<Lanes>,
    clients: Option<Clients>,
    built: HashMap<Key, Weak<Instance>>,
    chains: HashMap<Vec<Key>, Weak<Pipeline>>,
    /// Instances that may choose upstreams by name.
    choosing: Vec<Weak<Instance>>,
}

/// Fields of every instance, whichever plugin it is of.
const OWN: [&str; 2] = ["mode", "stage"];

/// Gives the instance of that name threads for what takes long.
pub(crate) type Lanes = Box<dyn Fn(&str) -> Blocking + Send>;

/// Gives the instance of that name, of an object of that namespace, a client to ask other servers with.
pub(crate) type Clients = Box<dyn Fn(&str, &str) -> HttpClient + Send>;

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
        Self {
            registry,
            folder,
            lanes: None,
            clients: None,
            built: HashMap::new(),
            chains: HashMap::new(),
            choosing: Vec::new(),
        }
    }

    /// Gives plugins threads for what takes long; without, each piece of work has a thread of its own.
    pub(crate) fn set_lanes(&mut self, lanes: Lanes) {
        self.lanes = Some(lanes);
    }

    /// Gives plugins a client to ask other servers with; without, their calls end at once.
    pub(crate) fn set_clients(&mut self, clients: Clients) {
        self.clients = Some(clients);
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
        self.choosing.retain(|instance| instance.strong_count() > 0);
    }

    /// What is to be said of upstreams that plugins may choose, and that the conf does not have.
    pub(crate) fn missing_upstreams(&self, has: impl Fn(&BackendId) -> bool) -> Vec<Diagnostic> {
        let living = self.choosing.iter().filter_map(Weak::upgrade);
        living.flat_map(|instance| missing_upstreams(&instance, &has)).collect()
    }

    fn instance(&mut self, wanted: &PluginInstance, key: &Key) -> Result<Arc<Instance>, Box<Diagnostic>> {
        if let Some(instance) = self.built.get(key).and_then(Weak::upgrade) {
            return Ok(instance);
        }
        let Some(definition) = self.registry.iter().find(|known| known.name == &*wanted.kind) else {
            return Err(Box::new(self.unknown(wanted)));
        };
        let origin = &wanted.origin;
        let cx = BuildContext::new(&wanted.name, &origin.namespace, &self.folder)
            .with_origin(origin.kind, &origin.name, &origin.field)
            .with_inputs(key.inputs.clone())
            .with_blocking(self.lanes.as_ref().map_or_else(Blocking::default, |lanes| lanes(&wanted.name)));
        let client = self.clients.as_ref().map(|clients| clients(&wanted.name, &origin.namespace));
        let cx = cx.with_http(client.unwrap_or_default());
        let instance = build(definition, wanted, &cx).map_err(|error| Box::new(invalid(wanted, &error)))?;
        let instance = Arc::new(instance);
        if !instance.upstreams.is_empty() {
            self.choosing.push(Arc::downgrade(&instance));
        }
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

fn missing_upstreams(instance: &Instance, has: &impl Fn(&BackendId) -> bool) -> Vec<Diagnostic> {
    let missing = instance.upstreams.iter().filter(|name| !has(&BackendId::upstream(name)));
    let tell = |name: &Arc<str>| {
        let message = format!(
            "plugin `{}` ({}) may choose the upstream `{name}`, which there is not; what it sends there gets 503",
            instance.name, instance.kind
        );
        Diagnostic::error(Code::PluginUpstreamNotFound, &instance.origin, message)
    };
    missing.map(tell).collect()
}

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
    // `mode` and `stage` belong to the instance, so that every plugin has them and none can forget them.
    let own = |name: &str| config.as_object_mut().and_then(|fields| fields.remove(name));
    let [mode, stage] = OWN.map(own);
    let mode = match mode {
        Some(mode) => serde_json::from_value::<Mode>(mode).map_err(|error| BuildError::invalid("mode", error))?,
        None => Mode::default(),
    };
    let stage = stage.map(|stage| self::stage(definition, &stage)).transpose()?;
    // A panic is a fault of this instance, and closes the routes that use it.
    let built = catch_unwind(AssertUnwindSafe(|| (definition.build)(&config, cx)))
        .unwrap_or_else(|_| Err(BuildError::Panicked))?;
    let instance = Instance::new(&wanted.name, stage.unwrap_or(built.stage), mode, built.plugin);
    let findings = cx.findings().iter().map(|finding| doubtful(wanted, finding)).collect();
    Ok(instance.configured(&wanted.kind, wanted.config.clone(), &wanted.origin).with_findings(findings))
}

/// The stage that an instance chooses, among those that its plugin allows.
fn stage(definition: &Definition, wanted: &serde_json::Value) -> Result<Stage, BuildError> {
    let allowed = || Stage::ALL.iter().filter(|stage| definition.stages.contains(stage));
    let names = || allowed().map(|stage| format!("`{}`", stage.as_str())).collect::<Vec<_>>().join(" or ");
    let stage = wanted.as_str().and_then(Stage::of_name).filter(|stage| definition.stages.contains(stage));
    stage.ok_or_else(|| {
        let message = match definition.stages {
            [] => format!("a `{}` stands at `{}` and cannot be moved", definition.name, definition.stage.as_str()),
            _ => format!("a `{}` stands at {}", definition.name, names()),
        };
        BuildError::invalid("stage", message)
    })
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
        BuildError::Invalid { field, .. } | BuildError::UnknownField { field, .. } => at(wanted, field),
        _ => wanted.origin.clone(),
    };
    Diagnostic { hint: known_field(error), ..Diagnostic::error(Code::PluginConfigInvalid, &origin, message) }
}

/// What a field that nobody knows may have been meant for.
fn known_field(error: &BuildError) -> Option<String> {
    let BuildError::UnknownField { field, known } = error else { return None };
    let name = field.rsplit('.').next().unwrap_or(field);
    let listed = || match known.as_slice() {
        [] => "there are no fields".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    let own: &[&str] = if field.contains('.') { &[] } else { &OWN };
    let near = suggest::did_you_mean(name, known.iter().map(String::as_str).chain(own.iter().copied()));
    Some(near.unwrap_or_else(listed))
}

#[cfg(test)]
mod tests;
