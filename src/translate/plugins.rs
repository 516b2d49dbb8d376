//! Instances of plugins that routes ask for, with what they may read of Secrets and files.

pub(crate) mod hash_cost;

use std::sync::Arc;

use super::asked::Asked;
use super::asked::plugin::{PluginRequest, Wanted};
use super::contribution::PluginPart;
use super::options::Options;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{PluginInputs, PluginInstance, PluginUse, SecretBytes};
use crate::origin::Origin;
use crate::reason::Reason;
use crate::resources::conf::PluginSpec;
use crate::resources::{ObjectName, Resources};
use crate::suggest;

/// The plugins that are asked for, in order. One that the conf does not have closes the routes.
pub(crate) fn find(
    asked: &mut Asked,
    owner: &str,
    options: &Options,
    resources: &Resources,
    part: &mut PluginPart,
) -> Vec<PluginUse> {
    let mut found = Vec::with_capacity(asked.plugins.len());
    for PluginRequest { plugin, origin } in std::mem::take(&mut asked.plugins) {
        let instance = match plugin {
            Wanted::Named(name) => {
                part.names_some = true;
                named(&name, options, &origin, asked)
            }
            Wanted::Own { part: own, spec } => {
                part.secrets.extend(secrets(&spec, &origin.namespace, resources));
                asked.diagnostics.extend(forbidden_secrets(&spec, &origin, resources));
                Some(Arc::new(instance(&format!("{owner}#{own}"), &spec, origin.clone(), resources)))
            }
        };
        found.extend(instance.map(|instance| PluginUse { instance, origin }));
    }
    found
}

/// An instance with the contents of what its configuration names.
pub(crate) fn instance(name: &str, spec: &PluginSpec, origin: Origin, resources: &Resources) -> PluginInstance {
    let defaults = resources.conf.as_ref().map(|conf| &conf.object.defaults);
    PluginInstance {
        inputs: inputs(spec, &origin.namespace, resources),
        name: name.into(),
        kind: spec.kind.as_str().into(),
        config: serde_json::Value::Object(hash_cost::with_defaults(spec, defaults)),
        origin,
    }
}

/// Secrets that a plugin names and may read: of an object's own namespace and of those that grant it, or of any where
/// it is of the conf, whose namespace is empty.
pub(crate) fn secrets<'a>(
    spec: &'a PluginSpec,
    namespace: &'a str,
    resources: &'a Resources,
) -> impl Iterator<Item = ObjectName> {
    let named = spec.secrets(namespace).into_iter();
    named.filter(move |secret| may_read(namespace, *secret, resources)).map(secret_name)
}

fn named(name: &str, options: &Options, origin: &Origin, asked: &mut Asked) -> Option<Arc<PluginInstance>> {
    let instance = options.plugins.get(name).cloned();
    if instance.is_none() {
        asked.close(Reason::BrokenPolicy);
        let message = format!("there is no plugin `{name}` in the conf, so the routes are closed (503)");
        let hint = suggest::did_you_mean(name, options.plugins.keys().map(String::as_str));
        let hint = hint.unwrap_or_else(|| "define it under `plugins`".to_owned());
        asked.diagnostics.push(Diagnostic::error(Code::PluginNotFound, origin, message).hint(hint));
    }
    instance
}

/// What is there of the Secrets and files that a plugin names; the plugin says what it misses.
fn inputs(spec: &PluginSpec, namespace: &str, resources: &Resources) -> PluginInputs {
    let secrets = secrets(spec, namespace, resources).filter_map(|name| {
        let secret = &resources.secrets.get(&name)?.object;
        let keys = secret.data.iter().map(|(key, value)| (Arc::clone(key), SecretBytes::new(Arc::clone(value))));
        Some(((name.namespace, name.name), keys.collect()))
    });
    let files = resources.conf.as_ref().map(|conf| &conf.object.plugin_files.0);
    let contents = |file: &str| Some((file.into(), SecretBytes::new(Arc::clone(files?.get(file)?))));
    PluginInputs { secrets: secrets.collect(), files: spec.files().into_iter().filter_map(contents).collect() }
}

/// What is to be said of Secrets that a plugin names and may not read.
fn forbidden_secrets<'a>(
    spec: &'a PluginSpec,
    origin: &'a Origin,
    resources: &'a Resources,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let named = spec.secrets(&origin.namespace).into_iter();
    named.filter(|secret| !may_read(&origin.namespace, *secret, resources)).map(|(namespace, name)| {
        let message = format!(
            "Secret `{namespace}/{name}` is of another namespace, which does not grant it; the routes are closed (503)"
        );
        Diagnostic::error(Code::ForbiddenReference, origin, message).hint("`grants` in the conf allow such references")
    })
}

fn may_read(namespace: &str, secret: (&str, &str), resources: &Resources) -> bool {
    let mut grants = resources.conf.iter().flat_map(|conf| &conf.object.grants);
    namespace.is_empty() || secret.0 == namespace || grants.any(|grant| grant.allows(namespace, secret))
}

fn secret_name((namespace, name): (&str, &str)) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}
