//! The conf: options, defaults, plugins, upstreams and routes.

mod route;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::asked::policy;
use super::contribution::{Contribution, Draft};
use super::merge::backend::BackendOptions;
use super::plugins::hash_cost;
use super::suggest;
use crate::address::AddressRules;
use crate::diagnostic::Diagnostic;
use crate::model::{
    Action, BackendId, Balance, Edge, HttpsRedirect, IdentityHeaders, Match, PluginInputs, PluginInstance, Policy,
    Rank, Route, RouteLabels, SecretBytes, WeightedBackend,
};
use crate::origin::Origin;
use crate::quantity;
use crate::resources::conf::{
    BalanceSpec, Conf, Defaults, GrantSpec, HashCostSpec, IdentityHeadersSpec, IngressOptions, LimitsSpec, PluginSpec,
};
use crate::resources::{Kind, ObjectName, Resources, Sourced};

/// Windows of HTTP/2 streams that may be asked for: no smaller than a frame, and a connection's stays a window.
const WINDOWS: std::ops::RangeInclusive<u32> = 16 << 10..=16 << 20;

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
            balance: balance(conf.defaults.load_balancing),
            allow_external_name: conf.ingress.allow_external_name,
            zone: conf.ingress.zone.as_deref().map(Into::into),
            rules: Arc::new(AddressRules {
                allowed: conf.defaults.allow_addresses.clone(),
                own: conf.own_sockets.clone(),
            }),
        },
        edge: Arc::new(edge(conf, &origin, &mut diagnostics)),
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

fn balance(spec: BalanceSpec) -> Balance {
    match spec {
        BalanceSpec::RoundRobin => Balance::RoundRobin,
        BalanceSpec::LeastRequest => Balance::LeastRequest,
    }
}

fn default_policy(defaults: &Defaults, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Policy {
    let mut policy = policy::initial();
    policy::apply_timeouts(&mut policy, &defaults.timeouts, &origin.at("defaults.timeouts"), diagnostics);
    policy::apply_tries(&mut policy, defaults.tries, origin.at("defaults.tries"), diagnostics);
    if let Some(body) = defaults.limits.body {
        policy::set_body(&mut policy, Some(body.0), origin.at("defaults.limits.body"));
    }
    policy
}

// === edge ===

fn edge(conf: &Conf, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Edge {
    let mut edge = Edge { trusted_proxies: conf.trusted_proxies.clone(), ..Edge::default() };
    match conf.defaults.server_header.as_deref() {
        None => {}
        Some("off") => edge.server_header = None,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) => {
            edge.server_header = Some(text.into());
        }
        Some(text) => {
            let message = format!("`{}` cannot stand in a header", text.escape_default());
            diagnostics.push(policy::invalid_value(&origin.at("defaults.serverHeader"), message));
        }
    }
    let (defaults, forwarded) = (&conf.defaults, &mut edge.forwarded);
    forwarded.rfc7239 = defaults.forwarded_header.unwrap_or(forwarded.rfc7239);
    forwarded.x_forwarded = defaults.x_forwarded_headers.unwrap_or(forwarded.x_forwarded);
    forwarded.request_id = defaults.request_id_header.unwrap_or(forwarded.request_id);
    edge.preserve_header_case = defaults.preserve_header_case.unwrap_or(edge.preserve_header_case);
    let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
    let IdentityHeadersSpec { add, pass } = &defaults.identity_headers;
    edge.identity_headers = IdentityHeaders { add: names(add), pass: names(pass) };
    match defaults.loop_id.as_deref() {
        None => {}
        Some(id) if is_loop_id(id) => edge.loop_id = id.into(),
        Some(id) => {
            let message = format!("`{}` is neither a token nor a host with or without a port", id.escape_default());
            diagnostics.push(policy::invalid_value(&origin.at("defaults.loopId"), message));
        }
    }
    Limiter { origin, diagnostics }.apply(&conf.defaults.limits, &mut edge);
    edge
}

/// What the engine reads of an answer at once.
const LEAST_STALLED: u64 = 64 * 1024;
/// With more of it kept from everybody, hardly anybody could be served.
const MAX_RESERVE: usize = 90;
/// Whether it can stand in `CDN-Loop` (RFC 8586 section 2): a token, or a host with or without a port.
fn is_loop_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_allowed)
}

struct Limiter<'a> {
    origin: &'a Origin,
    diagnostics: &'a mut Vec<Diagnostic>,
}

// === impl Limiter ===

impl Limiter<'_> {
    fn apply(&mut self, spec: &LimitsSpec, edge: &mut Edge) {
        let bytes = |size: quantity::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        self.set("headers", spec.headers.map(bytes), 0, &mut edge.max_header_bytes);
        self.set("headerCount", spec.header_count, 0, &mut edge.max_header_count);
        self.set("uri", spec.uri.map(bytes), 0, &mut edge.max_uri_bytes);
        self.set("connections", spec.connections, 0, &mut edge.max_connections);
        edge.max_source_connections = match spec.connections_per_source {
            Some(connections) => (connections > 0).then_some(connections),
            None => edge.max_source_connections,
        };
        edge.memory = spec.memory.map(|size| size.0).or(edge.memory);
        self.stalled(spec.h2_stalled, edge);
        self.set("requests", spec.requests, 0, &mut edge.max_requests);
        self.reserve(spec.reserve, edge);
        self.set("h2Streams", spec.h2_streams, 0, &mut edge.h2_max_streams);
        self.set("hops", spec.hops, 0, &mut edge.max_hops);
        self.set_window(spec.h2_window, &mut edge.h2_window);
        let zero = std::time::Duration::ZERO;
        self.set("headerTimeout", spec.header_timeout.map(|it| it.0), zero, &mut edge.header_timeout);
        self.set("bodyTimeout", spec.body_timeout.map(|it| it.0), zero, &mut edge.body_timeout);
        self.set("keepAliveTimeout", spec.keep_alive_timeout.map(|it| it.0), zero, &mut edge.keep_alive_timeout);
        self.set("sendTimeout", spec.send_timeout.map(|it| it.0), zero, &mut edge.send_timeout);
        let mut requests = 0;
        self.set("keepAliveRequests", spec.keep_alive_requests, 0, &mut requests);
        edge.keep_alive_requests = (requests > 0).then_some(requests);
    }

    fn reserve(&mut self, percent: Option<usize>, edge: &mut Edge) {
        match percent {
            Some(percent) if percent > MAX_RESERVE => {
                let message = format!("a reserve is at most {MAX_RESERVE} percent");
                self.diagnostics.push(policy::invalid_value(&self.origin.at("defaults.limits.reserve"), message));
            }
            Some(percent) => edge.reserve = percent,
            None => {}
        }
    }

    fn stalled(&mut self, value: Option<quantity::ByteSize>, edge: &mut Edge) {
        match value {
            Some(size) if size.0 < LEAST_STALLED => {
                let origin = self.origin.at("defaults.limits.h2Stalled");
                let message = format!("`{size}` is less than 64KiB, which one answer may take");
                self.diagnostics.push(policy::invalid_value(&origin, message));
            }
            Some(size) => edge.h2_stalled = size.0,
            None => {}
        }
    }

    fn set_window(&mut self, value: Option<quantity::ByteSize>, slot: &mut u32) {
        let Some(size) = value else { return };
        match u32::try_from(size.0) {
            Ok(bytes) if WINDOWS.contains(&bytes) => *slot = bytes,
            _ => {
                let origin = self.origin.at("defaults.limits.h2Window");
                let message = format!("`{size}` is not a window from 16KiB to 16MiB");
                self.diagnostics.push(policy::invalid_value(&origin, message));
            }
        }
    }

    /// A limit of nothing would refuse everybody.
    fn set<T: PartialEq>(&mut self, name: &str, value: Option<T>, zero: T, slot: &mut T) {
        match value {
            Some(value) if value == zero => {
                let origin = self.origin.at(format!("defaults.limits.{name}"));
                self.diagnostics.push(policy::invalid_value(&origin, "a limit of 0 would refuse every request"));
            }
            Some(value) => *slot = value,
            None => {}
        }
    }
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
