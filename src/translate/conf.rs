//! The conf: options, defaults, plugins, upstreams and routes.

mod edge;
mod hash_cost;
mod route;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backend::BackendOptions;
use super::contribution::{Contribution, Draft};
use super::{policy, suggest};
use crate::address::AddressRules;
use crate::diagnostic::Diagnostic;
use crate::edge::Edge;
use crate::model::{
    Action, BackendId, HttpsRedirect, Match, PluginInputs, PluginInstance, Rank, Route, RouteLabels, SecretBytes,
    WeightedBackend,
};
use crate::origin::Origin;
use crate::policy::{Change, Policy};
use crate::resources::conf::{Conf, Defaults, GrantSpec, HashCostSpec, IngressOptions, PluginSpec};
use crate::resources::{Kind, ObjectName, Resources, Sourced};

/// What the conf says that holds for more than one route.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub ingress: IngressOptions,
    /// Timeouts, tries and limits where nobody says otherwise.
    pub policy: Arc<Policy>,
    pub backend: BackendOptions,
    pub plugins: BTreeMap<String, Arc<PluginInstance>>,
    /// Secrets that plugins name: their changes are changes of the plugins.
    pub plugin_secrets: BTreeSet<ObjectName>,
    /// Kept to be compared: who reads them asks the conf.
    pub grants: Vec<GrantSpec>,
    /// Kept to be compared: plugins have it in their configurations.
    pub max_hash_cost: HashCostSpec,
    pub edge: Arc<Edge>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the options; defaults when there is no conf.
pub(super) fn read_options(resources: &Resources) -> Options {
    let empty = Conf::default();
    let conf = resources.conf.as_ref().map_or(&empty, |sourced| &*sourced.object);
    let origin = origin(resources);
    let mut diagnostics = Vec::new();
    hash_cost::check(&conf.defaults, &origin, &mut diagnostics);
    let plugins = conf.plugins.iter().map(|(name, spec)| {
        let origin = origin.at(format!("plugins.{name}"));
        (name.clone(), Arc::new(instance(name, spec, origin, resources)))
    });
    Options {
        plugins: plugins.collect(),
        plugin_secrets: conf.plugin_specs().flat_map(|spec| plugin_secrets(spec, "", resources)).collect(),
        grants: conf.grants.clone(),
        max_hash_cost: conf.defaults.max_hash_cost.clone(),
        policy: Arc::new(default_policy(&conf.defaults, &origin, &mut diagnostics)),
        backend: BackendOptions {
            balance: conf.defaults.load_balancing,
            allow_external_name: conf.ingress.allow_external_name,
            zone: conf.ingress.zone.as_deref().map(Into::into),
            rules: Arc::new(AddressRules {
                allowed: conf.defaults.allow_addresses.clone(),
                own: conf.own_sockets.clone(),
            }),
        },
        edge: Arc::new(edge::edge(conf, &origin, &mut diagnostics)),
        ingress: conf.ingress.clone(),
        diagnostics,
    }
}

/// Translates routes, upstreams and the global defaults of the conf.
pub(super) fn contribute(resources: &Resources, options: &Options) -> Contribution {
    let mut out = Draft { diagnostics: options.diagnostics.clone(), ..Draft::default() };
    let Some(sourced) = &resources.conf else { return out.finish() };
    let (conf, origin) = (&*sourced.object, origin(resources));
    for (name, spec) in &conf.upstreams {
        let (backend, endpoints) = upstream::translate(name, spec, options, &origin, &mut out.diagnostics);
        out.conf().upstreams.insert(backend.id.clone(), (Arc::new(backend), Arc::new(endpoints)));
    }
    route::translate_all(conf, resources, options, &mut out);
    default_backend(conf, options, &origin, &mut out);
    default_certificate(conf, &origin, &mut out);
    out.finish()
}

/// Says that the conf has no such plugin.
pub(super) fn plugin_not_found(name: &str, options: &Options, origin: &Origin) -> Diagnostic {
    let message = format!("there is no plugin `{name}` in the conf, so the routes are closed (503)");
    let hint = suggest::did_you_mean(name, options.plugins.keys().map(String::as_str));
    Diagnostic::error("PluginNotFound", origin, message)
        .hint(hint.unwrap_or_else(|| "define it under `plugins`".to_owned()))
}

/// The name of the first backend of an action: a metric label.
pub(super) fn first_backend(action: &Action) -> Arc<str> {
    match action {
        Action::Forward(backends) => backends.first().map(|first| Arc::clone(first.backend.name())),
        _ => None,
    }
    .unwrap_or_default()
}

fn origin(resources: &Resources) -> Origin {
    resources.conf.as_ref().map_or_else(|| Origin::new(Kind::Conf.as_str(), "", "", None), Sourced::origin)
}

/// An instance with the contents of what its configuration names.
pub(super) fn instance(name: &str, spec: &PluginSpec, origin: Origin, resources: &Resources) -> PluginInstance {
    let defaults = resources.conf.as_ref().map(|conf| &conf.object.defaults);
    PluginInstance {
        inputs: plugin_inputs(spec, &origin.namespace, resources),
        name: name.into(),
        kind: spec.kind.as_str().into(),
        config: serde_json::Value::Object(hash_cost::with_defaults(spec, defaults)),
        origin,
    }
}

/// What is there of the Secrets and files that a plugin names; the plugin says what it misses.
fn plugin_inputs(spec: &PluginSpec, namespace: &str, resources: &Resources) -> PluginInputs {
    let secrets = plugin_secrets(spec, namespace, resources).filter_map(|name| {
        let secret = &resources.secrets.get(&name)?.object;
        let keys = secret.data.iter().map(|(key, value)| (Arc::clone(key), SecretBytes::new(Arc::clone(value))));
        Some(((name.namespace, name.name), keys.collect()))
    });
    let files = resources.conf.as_ref().map(|conf| &conf.object.plugin_files.0);
    let contents = |file: &str| Some((file.into(), SecretBytes::new(Arc::clone(files?.get(file)?))));
    PluginInputs { secrets: secrets.collect(), files: spec.files().into_iter().filter_map(contents).collect() }
}

/// Secrets that a plugin names and may read: of an object's own namespace and of those that grant it, or of any where
/// it is of the conf, whose namespace is empty.
pub(super) fn plugin_secrets<'a>(
    spec: &'a PluginSpec,
    namespace: &'a str,
    resources: &'a Resources,
) -> impl Iterator<Item = ObjectName> {
    let named = spec.secrets(namespace).into_iter();
    named.filter(move |secret| may_read(namespace, *secret, resources)).map(secret_name)
}

/// What is to be said of Secrets that a plugin names and may not read.
pub(super) fn forbidden_secrets<'a>(
    spec: &'a PluginSpec,
    origin: &'a Origin,
    resources: &'a Resources,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let named = spec.secrets(&origin.namespace).into_iter();
    named.filter(|secret| !may_read(&origin.namespace, *secret, resources)).map(|(namespace, name)| {
        let message = format!(
            "Secret `{namespace}/{name}` is of another namespace, which does not grant it; the routes are closed (503)"
        );
        Diagnostic::error("ForbiddenReference", origin, message).hint("`grants` in the conf allow such references")
    })
}

fn may_read(namespace: &str, secret: (&str, &str), resources: &Resources) -> bool {
    let mut grants = resources.conf.iter().flat_map(|conf| &conf.object.grants);
    namespace.is_empty() || secret.0 == namespace || grants.any(|grant| grant.allows(namespace, secret))
}

fn secret_name((namespace, name): (&str, &str)) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}

fn default_policy(defaults: &Defaults, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Policy {
    let mut policy = Policy::default();
    let field = |change: &Change| match change {
        Change::Body(_) => origin.at("defaults.limits.body"),
        change => origin.at(format!("defaults.{}", change.name())),
    };
    policy::apply(&mut policy, defaults.policy(), field, diagnostics);
    policy
}

// === global defaults ===

/// `namespace/name:port`.
pub(super) fn parse_service(text: &str) -> Option<BackendId> {
    let (service, port) = text.rsplit_once(':')?;
    let name = parse_object(service)?;
    (!port.is_empty()).then(|| BackendId::service(&name.namespace, &name.name, port))
}

/// `namespace/name`.
fn parse_object(text: &str) -> Option<ObjectName> {
    let (namespace, name) = text.split_once('/')?;
    let is_good = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    is_good.then(|| ObjectName::new(namespace, name))
}

fn default_backend(conf: &Conf, options: &Options, origin: &Origin, out: &mut Draft) {
    let Some(text) = &conf.ingress.default_backend else { return };
    let origin = origin.at("ingress.defaultBackend");
    let Some(id) = parse_service(text) else {
        let message = format!("`{text}` is not a Service");
        let diagnostic = Diagnostic::error("InvalidBackend", &origin, message);
        out.diagnostics.push(diagnostic.hint("write `namespace/name:port`"));
        return;
    };
    let backend = out.backend(id, &Arc::default(), origin.clone());
    let action = Action::Forward([WeightedBackend { backend, weight: 1 }].into());
    let labels = RouteLabels { service: first_backend(&action), path: "/".into(), ..RouteLabels::default() };
    out.conf().default = Some(Arc::new(Route {
        name: "default-backend".into(),
        origin,
        matcher: Match::default(),
        rank: Rank::default(),
        action,
        https_redirect: HttpsRedirect::Off,
        plugins: Vec::new(),
        policy: Arc::clone(&options.policy),
        labels,
    }));
}

fn default_certificate(conf: &Conf, origin: &Origin, out: &mut Draft) {
    let Some(text) = &conf.ingress.default_certificate else { return };
    let origin = origin.at("ingress.defaultCertificate");
    match parse_object(text) {
        Some(name) => {
            out.secrets.entry(name.clone()).or_default().push(origin);
            out.conf().default_certificate = Some(name);
        }
        None => {
            let message = format!("`{text}` is not a Secret");
            out.diagnostics.push(Diagnostic::error("InvalidSecret", &origin, message).hint("write `namespace/name`"));
        }
    }
}
