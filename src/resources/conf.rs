//! Routes, upstreams, plugins and defaults as the conf file writes them: input objects like any other.
//!
//! Every type here is part of the public conf schema; doc comments become its manual.
//! Unknown fields are errors. camelCase keys; durations `30s`, sizes `64KiB`.

mod grant;
mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::OwnSockets;
use crate::edge::{IdentityHeaders, Limits};
use crate::policy::{Change, Redirect, Respond, TimeoutsSpec};
use crate::quantity::ByteSize;
use crate::upstream::{Balance, HealthCheck, Protocol};
pub(crate) use grant::GrantSpec;
pub(crate) use status::{NodeAddressSpec, StatusSpec};

/// What the conf file says about traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Conf {
    /// How Ingress objects are read.
    pub ingress: IngressOptions,
    /// Zone of this process (`topology.kubernetes.io/zone` of its node). With it, hints of EndpointSlices are heeded:
    /// when every ready endpoint of a Service has one, only those for this zone get requests. Default: the environment
    /// variable `TIDEGATE_ZONE`, else none.
    pub zone: Option<String>,
    /// Values that hold where nothing more specific is said.
    pub defaults: Defaults,
    /// Named plugin instances: each has `type` and the plugin's own fields.
    pub plugins: BTreeMap<String, PluginSpec>,
    /// Contents of the files that plugins name, by path as written; read by the source.
    #[serde(skip)]
    #[schemars(skip)]
    pub plugin_files: PluginFiles,
    /// Named upstreams.
    pub upstreams: BTreeMap<String, UpstreamSpec>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// What may refer to objects of another namespace; without a grant nothing does. Each has the fields of a
    /// ReferenceGrant of the Gateway API and the namespace that it would be in.
    pub grants: Vec<GrantSpec>,
    /// Networks whose forwarded headers are believed, in CIDR form. Empty: nobody's.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Where the process that reads this listens; filled in by it.
    #[serde(skip)]
    #[schemars(skip)]
    pub own_sockets: OwnSockets,
}

/// How Ingress objects are read, whichever source they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct IngressOptions {
    /// Which rules apply where Ingress leaves room.
    pub profile: Profile,
    /// Values of `IngressClass.spec.controller` that are ours.
    pub controllers: Vec<String>,
    /// Class name for the legacy annotation `kubernetes.io/ingress.class`, and for `spec.ingressClassName` without an IngressClass object.
    pub class_name: String,
    /// Whether Ingresses without any class are ours.
    pub watch_without_class: bool,
    /// Whether plain HTTP is answered 308 to https for hosts with a `tls` entry of the route's namespace.
    pub ssl_redirect: bool,
    /// Prefix of the foreign annotations that are read besides `tidegate.io`.
    pub annotations_prefix: String,
    /// What is written to `status.loadBalancer` of Ingresses that are served from a cluster; without: nothing. A
    /// change needs a restart.
    pub status: Option<StatusSpec>,
}

/// Rules for reading Ingress objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Strict, as the API documentation says.
    #[default]
    Native,
}

/// Values that hold where nothing more specific is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Defaults {
    /// Service `namespace/name:port` for requests that nothing else wants.
    pub backend: Option<String>,
    /// Secret `namespace/name` with the certificate for clients that name no known host.
    pub certificate: Option<String>,
    /// Waits for upstreams.
    pub timeouts: TimeoutsSpec,
    /// Limits on clients.
    pub limits: Limits,
    /// How an endpoint is picked.
    pub load_balancing: Balance,
    /// Connections tried at most for one request, the first included; 1 to 10. A kept HTTP/2 connection that turns
    /// out to be at its end (GOAWAY) before the request was processed is not counted, up to three times. Default 3.
    pub tries: Option<u32>,
    /// Value of the `Server` header when the upstream sends none; `off` leaves it out. Default `tidegate`.
    pub server_header: Option<String>,
    /// Whether upstreams also get `Forwarded` (RFC 7239). Default false.
    pub forwarded_header: Option<bool>,
    /// Whether upstreams get `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-IP`. Default true.
    pub x_forwarded_headers: Option<bool>,
    /// Whether upstreams get `X-Request-ID`. Default true.
    pub request_id_header: Option<bool>,
    /// Whether HTTP/1 peers get header names spelled as the other side sent them. Default false: names are in lower
    /// case as in HTTP/2, which costs less; they mean the same (RFC 9110 section 5.1).
    pub preserve_header_case: Option<bool>,
    /// The dearest password hashes that `basic-auth` verifies where it does not say so itself, for annotations too.
    pub max_hash_cost: HashCostSpec,
    /// Whether Services of type ExternalName are resolved and served. Off: they let whoever writes a Service reach any host.
    pub allow_external_name: bool,
    /// Networks, in CIDR form, whose addresses may be endpoints of a cluster's Services and answers of DNS although
    /// they are loopback, unspecified, link-local, multicast or broadcast. A socket of this process is let in only by
    /// a network of its one address (`10.0.0.7/32`). What files name is not asked. Default none.
    #[schemars(with = "Vec<String>")]
    pub allow_addresses: Vec<ipnet::IpNet>,
    /// Fields that only trusted proxies may send.
    pub identity_headers: IdentityHeaders,
    /// The name that stands for this proxy and its replicas in `CDN-Loop` (RFC 8586), which every request to an
    /// upstream carries: a token, or a host name with or without a port. Proxies in a row that are meant to pass a
    /// request more than `limits.hops` times have names of their own. Default `tidegate`.
    pub loop_id: Option<String>,
}

/// The dearest password hashes. A user whose hash is dearer cannot come in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HashCostSpec {
    /// Cost of bcrypt, 4 to 15; one more is twice the work, and 15 takes two seconds or more. Default 12.
    pub bcrypt: Option<u32>,
    /// Rounds of SHA-crypt, 1000 to 1000000; a million takes seconds. Default 100000.
    pub rounds: Option<u32>,
}

/// A plugin: `type` and the plugin's own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSpec {
    /// Which plugin: `headers`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The plugin's own fields; `tidegate schema PLUGIN` tells them. Besides, every plugin takes `mode: enforce | report`,
    /// and `stage` where it may stand at another one.
    #[serde(flatten)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// Contents of files. They may be secret, so they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PluginFiles(pub BTreeMap<String, Arc<[u8]>>);

impl fmt::Debug for PluginFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Conf {
    /// Every plugin that it configures, those in routes too.
    pub fn plugin_specs(&self) -> impl Iterator<Item = &PluginSpec> {
        let inline = self.routes.iter().flat_map(|route| &route.plugins).filter_map(|plugin| match plugin {
            PluginRef::Inline(spec) => Some(spec),
            PluginRef::Named(_) => None,
        });
        self.plugins.values().chain(inline)
    }
}

impl Defaults {
    /// What routes have where nobody asks for something else.
    pub fn policy(&self) -> impl Iterator<Item = Change> + use<> {
        policy(&self.timeouts, self.tries, self.limits.body)
    }
}

impl RouteSpec {
    /// What it asks of its policy.
    pub fn policy(&self) -> impl Iterator<Item = Change> + use<> {
        policy(&self.timeouts, self.tries, self.max_body)
    }
}

fn policy(timeouts: &TimeoutsSpec, tries: Option<u32>, body: Option<ByteSize>) -> impl Iterator<Item = Change> + use<> {
    let body = body.map(|size| Change::Body(Some(size.0)));
    timeouts.changes().chain(tries.map(Change::Tries)).chain(body)
}

impl PluginSpec {
    /// Files that its configuration names: each object with a text field `file`.
    pub fn files(&self) -> Vec<&str> {
        self.sized_files().into_iter().map(|(file, _)| file).collect()
    }

    /// The same, with what stands beside each as the most that it may have.
    pub fn sized_files(&self) -> Vec<(&str, Option<&serde_json::Value>)> {
        let mut found = Vec::new();
        self.config.values().for_each(|value| {
            objects(value, &mut |object| {
                let max = object.get("maxSize").filter(|max| !max.is_null());
                found.extend(text(object, "file").map(|file| (file, max)));
            });
        });
        found
    }

    /// Secrets that its configuration names, namespace and name: each object with a text field `secretName`.
    /// `own` is the namespace where none is said.
    pub fn secrets<'a>(&'a self, own: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut found = Vec::new();
        self.config.values().for_each(|value| {
            objects(value, &mut |object| {
                let namespace = text(object, "namespace").unwrap_or(own);
                found.extend(text(object, "secretName").map(|name| (namespace, name)));
            });
        });
        found
    }
}

fn text<'a>(object: &'a serde_json::Map<String, serde_json::Value>, field: &str) -> Option<&'a str> {
    object.get(field).and_then(serde_json::Value::as_str)
}

fn objects<'a>(value: &'a serde_json::Value, visit: &mut impl FnMut(&'a serde_json::Map<String, serde_json::Value>)) {
    match value {
        serde_json::Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| objects(value, visit));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| objects(value, visit)),
        _ => {}
    }
}

/// A plugin on a route: the name of an instance, or one written in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PluginRef {
    /// Name of an instance under `plugins`.
    Named(String),
    /// Written in place.
    Inline(PluginSpec),
}

/// Where requests can go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpstreamSpec {
    /// Its endpoints.
    pub endpoints: Vec<EndpointSpec>,
    /// A DNS name `host:port` in place of endpoints; resolved while serving.
    pub dns: Option<String>,
    /// A server inside the process in place of endpoints, for trying things out.
    pub builtin: Option<BuiltinSpec>,
    /// The protocol that its endpoints speak. Default `http`.
    pub protocol: Protocol,
    /// TLS to it, for `https` and `h2`.
    pub tls: UpstreamTlsSpec,
    /// How an endpoint is picked; else the default.
    pub load_balancing: Option<Balance>,
    /// Active health checks.
    pub health_check: Option<HealthCheck>,
}

/// A server inside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuiltinSpec {
    /// A small echo server inside the process, on a loopback port of its own, for trying things out.
    Echo,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointSpec {
    /// `IP:port`.
    pub address: String,
    /// Share among the endpoints, 1 to 65535. Default 1.
    #[serde(default = "one")]
    pub weight: u16,
}

/// TLS to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpstreamTlsSpec {
    /// Whether its certificate must verify. Default true.
    pub verify: Option<bool>,
    /// Server name sent and verified. Default: the request's host.
    pub server_name: Option<String>,
    /// File of PEM authorities. Default: the system's.
    pub ca_file: Option<String>,
    /// The same authorities in place, PEM.
    pub ca: Option<String>,
}

/// A route. Exactly one of `backends`, `redirect` and `respond` says what happens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RouteSpec {
    /// Name for logs and metrics. Default: `route-` and its position.
    pub name: Option<String>,
    /// Hosts: `a.example`, `*.example` (one label), `**.example` (one or more). Empty: every host.
    pub hosts: Vec<String>,
    /// Paths; one must match. Empty: every path.
    pub paths: Vec<PathSpec>,
    /// Methods; one must match. Empty: every method.
    pub methods: Vec<String>,
    /// Header conditions; all must hold.
    pub headers: Vec<ConditionSpec>,
    /// Query parameter conditions; all must hold.
    pub query: Vec<ConditionSpec>,
    /// Where requests go, by weight.
    pub backends: Vec<BackendSpec>,
    /// Answers with a redirect.
    pub redirect: Option<Redirect>,
    /// Answers with a fixed response.
    pub respond: Option<Respond>,
    /// Plugins, in order within their stages.
    pub plugins: Vec<PluginRef>,
    /// Answers plain HTTP with 308 to https. Default false.
    pub https_redirect: bool,
    /// Waits; else the defaults.
    pub timeouts: TimeoutsSpec,
    /// Size of a request body; else the default.
    pub max_body: Option<ByteSize>,
    /// Connections tried at most; else the default.
    pub tries: Option<u32>,
}

/// One path: `prefix`, `exact` or `regex`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum PathSpec {
    /// Whole elements: `/a` fits `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    /// Equal.
    Exact(String),
    /// A regular expression in the syntax of the `regex` crate, anchored at the start.
    Regex(String),
}

/// A condition on a header or query parameter. With neither `exact` nor `regex` it only has to be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ConditionSpec {
    /// Name.
    pub name: String,
    /// Equal to this.
    pub exact: Option<String>,
    /// Fits this regular expression as a whole.
    pub regex: Option<String>,
}

/// A backend and its share: an upstream of the conf or a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BackendSpec {
    /// Name under `upstreams`.
    pub upstream: Option<String>,
    /// Service `namespace/name:port`.
    pub service: Option<String>,
    /// Its share of the sum of weights. Default 1.
    #[serde(default = "one_u32")]
    pub weight: u32,
}

// === impl IngressOptions ===

impl Default for IngressOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Native,
            controllers: vec!["tidegate.io/ingress-controller".to_owned()],
            class_name: "tidegate".to_owned(),
            watch_without_class: false,
            ssl_redirect: true,
            annotations_prefix: "nginx.ingress.kubernetes.io".to_owned(),
            status: None,
        }
    }
}

fn one() -> u16 {
    1
}

fn one_u32() -> u32 {
    1
}
