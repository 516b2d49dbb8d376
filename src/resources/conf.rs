//! Routes, upstreams, plugins and defaults as the conf file writes them: input objects like any other.
//!
//! Every type here is part of the public conf schema; doc comments become its manual.
//! Unknown fields are errors. camelCase keys; durations `30s`, sizes `64KiB`.

mod grant;
mod listener;
mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::OwnSockets;
use crate::edge::{Edge, Headers, IdentityHeaders, Limits};
use crate::policy::{Change, Redirect, Respond, TimeoutsSpec};
use crate::quantity::ByteSize;
use crate::upstream::{Balance, HealthCheck, Protocol};
pub(crate) use grant::GrantSpec;
pub(crate) use listener::{ListenerSpec, PemFiles, TlsSpec};
pub(crate) use status::{NodeAddressSpec, StatusSpec};

/// The part of the conf file about traffic: routes, upstreams, plugins and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Conf {
    /// Listeners. Default: `http` on 0.0.0.0:8080 and `https` on 0.0.0.0:8443.
    pub listeners: Vec<ListenerSpec>,
    /// How Ingress objects are read.
    pub ingress: IngressOptions,
    /// Zone of this process (`topology.kubernetes.io/zone` of its node). With it, topology hints of EndpointSlices are
    /// followed: when every ready endpoint of a Service has hints, only those for this zone get requests. Default: the
    /// environment variable `TIDEGATE_ZONE`, else none.
    pub zone: Option<String>,
    /// Defaults for all routes and upstreams, and settings of the edge.
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
    /// References to objects of another namespace that are allowed; without a grant none is. Each has the fields of a
    /// ReferenceGrant of the Gateway API, and the namespace that it would be in.
    pub grants: Vec<GrantSpec>,
    /// Networks of proxies in front, in CIDR form, whose `X-Forwarded-*` and `Forwarded` headers are trusted. Empty:
    /// none.
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
    /// Values of `IngressClass.spec.controller` that this controller serves.
    pub controllers: Vec<String>,
    /// Class name for the legacy annotation `kubernetes.io/ingress.class`, and for `spec.ingressClassName` without an IngressClass object.
    pub class_name: String,
    /// Whether Ingresses without any class are served.
    pub watch_without_class: bool,
    /// Whether plain HTTP is redirected to https with 308 for hosts with a `tls` entry of the route's namespace.
    pub ssl_redirect: bool,
    /// Prefix of the ingress-nginx annotations that are read besides `tidegate.io`.
    pub annotations_prefix: String,
    /// What is written to `status.loadBalancer` of Ingresses of a cluster. Default: nothing. A change needs a restart.
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

/// Defaults for all routes and upstreams, and settings of the edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Defaults {
    /// Default backend: the Service `namespace/name:port` for requests that match no route.
    pub backend: Option<String>,
    /// Default certificate: the Secret `namespace/name` for clients that send no known server name.
    pub certificate: Option<String>,
    /// Timeouts for upstreams.
    pub timeouts: TimeoutsSpec,
    /// Limits on clients.
    pub limits: Limits,
    /// Load balancing algorithm.
    pub load_balancing: Balance,
    /// Attempts for a request, the first included; those after it are retries. 1 to 10. An attempt on a kept HTTP/2
    /// connection that ends with GOAWAY before the request was processed is not counted, up to three times. Default 3.
    pub attempts: Option<u32>,
    /// Value of the `Server` response header when the upstream sends none; `off` leaves it out. Default `tidegate`.
    pub server_header: Option<String>,
    /// Whether upstreams also get the `Forwarded` header (RFC 7239). Default false.
    pub forwarded_header: Option<bool>,
    /// Whether upstreams get the headers `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-IP`. Default true.
    pub x_forwarded_headers: Option<bool>,
    /// Whether upstreams get the `X-Request-ID` header. Default true.
    pub request_id_header: Option<bool>,
    /// Whether HTTP/1 peers get header names spelled as the other side sent them. Default false: names are in lower
    /// case as in HTTP/2, which costs less; they mean the same (RFC 9110 section 5.1).
    pub preserve_header_case: Option<bool>,
    /// Most expensive password hashes that `basic-auth` verifies where it has no `maxHashCost` of its own, annotations
    /// included.
    pub max_hash_cost: HashCostSpec,
    /// Whether Services of type ExternalName are resolved and served. Default false, as they let authors of Services
    /// reach any host.
    pub allow_external_name: bool,
    /// Networks, in CIDR form, whose addresses may be endpoints of a cluster's Services, and results of DNS, although
    /// they are loopback, unspecified, link-local, multicast or broadcast. A socket of this process is allowed only by
    /// a network of its one address (`10.0.0.7/32`). Addresses in files are always allowed. Default none.
    #[schemars(with = "Vec<String>")]
    pub allow_addresses: Vec<ipnet::IpNet>,
    /// Request headers that only trusted proxies may send.
    pub identity_headers: IdentityHeaders,
    /// Name of this proxy and its replicas in the `CDN-Loop` header (RFC 8586), which every request to an upstream
    /// carries: a token, or a host name with or without a port. Proxies in a row that pass a request on more than
    /// `limits.hops` times need different names. Default `tidegate`.
    pub loop_id: Option<String>,
}

/// Most expensive password hashes. Users whose hash costs more are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HashCostSpec {
    /// Cost of bcrypt, 4 to 15; one more doubles the work, and 15 takes two seconds or more. Default 12.
    pub bcrypt: Option<u32>,
    /// Rounds of SHA-crypt, 1000 to 1000000; a million takes seconds. Default 100000.
    pub rounds: Option<u32>,
}

/// A plugin: `type` and the plugin's own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSpec {
    /// Type of the plugin: `headers`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The plugin's own fields; `tidegate schema PLUGIN` prints them. Besides, every plugin takes `mode: enforce | report`,
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

impl Default for Conf {
    fn default() -> Self {
        Self {
            listeners: listener::default(),
            ingress: IngressOptions::default(),
            zone: None,
            defaults: Defaults::default(),
            plugins: BTreeMap::new(),
            plugin_files: PluginFiles::default(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            grants: Vec::new(),
            trusted_proxies: Vec::new(),
            own_sockets: OwnSockets::default(),
        }
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

    /// What holds for every request, as it is written here.
    pub fn edge(&self) -> Edge {
        let (defaults, default) = (&self.defaults, Edge::default());
        Edge {
            trusted_proxies: self.trusted_proxies.clone(),
            server_header: match defaults.server_header.as_deref() {
                None => default.server_header,
                Some("off") => None,
                Some(text) => Some(text.into()),
            },
            headers: defaults.headers(),
            identity_headers: defaults.identity_headers.clone(),
            loop_id: defaults.loop_id.as_deref().map_or(default.loop_id, Arc::from),
            limits: defaults.limits,
        }
    }
}

impl Defaults {
    /// What routes have where nobody asks for something else.
    pub fn policy(&self) -> impl Iterator<Item = Change> + use<> {
        policy(&self.timeouts, self.attempts, self.limits.body)
    }

    fn headers(&self) -> Headers {
        let default = Headers::default();
        Headers {
            x_forwarded: self.x_forwarded_headers.unwrap_or(default.x_forwarded),
            forwarded: self.forwarded_header.unwrap_or(default.forwarded),
            request_id: self.request_id_header.unwrap_or(default.request_id),
            preserve_case: self.preserve_header_case.unwrap_or(default.preserve_case),
        }
    }
}

impl RouteSpec {
    /// What it asks of its policy.
    pub fn policy(&self) -> impl Iterator<Item = Change> + use<> {
        policy(&self.timeouts, self.attempts, self.max_body)
    }
}

fn policy(
    timeouts: &TimeoutsSpec,
    attempts: Option<u32>,
    body: Option<ByteSize>,
) -> impl Iterator<Item = Change> + use<> {
    let body = body.map(|size| Change::Body(Some(size.0)));
    timeouts.changes().chain(attempts.map(Change::Attempts)).chain(body)
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

/// A plugin of a route: the name of an instance, or a configuration in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PluginRef {
    /// Name of an instance under `plugins`.
    Named(String),
    /// A plugin configured in place.
    Inline(PluginSpec),
}

/// An upstream: endpoints, and how to talk to them. Exactly one of `endpoints`, `dns` and `builtin`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpstreamSpec {
    /// Endpoints.
    pub endpoints: Vec<EndpointSpec>,
    /// DNS name `host:port` in place of endpoints; resolved again while serving.
    pub dns: Option<String>,
    /// Built-in server in place of endpoints, for trying things out.
    pub builtin: Option<BuiltinSpec>,
    /// Protocol of the endpoints. Default `http`.
    pub protocol: Protocol,
    /// TLS settings for `https` and `h2`.
    pub tls: UpstreamTlsSpec,
    /// Load balancing algorithm. Default: `defaults.loadBalancing`.
    pub load_balancing: Option<Balance>,
    /// Active health checks.
    pub health_check: Option<HealthCheck>,
}

/// A built-in server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuiltinSpec {
    /// Echoes requests; runs inside the process on a loopback port of its own.
    Echo,
}

/// An endpoint: one address of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointSpec {
    /// `IP:port`.
    pub address: String,
    /// Weight among the endpoints, 1 to 65535. Default 1.
    #[serde(default = "one")]
    pub weight: u16,
}

/// TLS to the endpoints of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpstreamTlsSpec {
    /// Whether the certificates of endpoints are verified. Default true.
    pub verify: Option<bool>,
    /// Server name (SNI) that is sent and verified. Default: the request's host.
    pub server_name: Option<String>,
    /// PEM file of certificate authorities (CA). Default: those of the system.
    pub ca_file: Option<String>,
    /// Certificate authorities in place, as PEM.
    pub ca: Option<String>,
}

/// A route. Exactly one of `backends`, `redirect` and `respond` is its action.
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
    /// Conditions on request headers; all must hold.
    pub headers: Vec<ConditionSpec>,
    /// Conditions on query parameters; all must hold.
    pub query: Vec<ConditionSpec>,
    /// Weighted backends that requests go to.
    pub backends: Vec<BackendSpec>,
    /// Redirect that requests are answered with.
    pub redirect: Option<Redirect>,
    /// Fixed response that requests are answered with.
    pub respond: Option<Respond>,
    /// Plugins, in order within their stages.
    pub plugins: Vec<PluginRef>,
    /// Whether plain HTTP is redirected to https with 308. Default false.
    pub https_redirect: bool,
    /// Timeouts. Default: `defaults.timeouts`.
    pub timeouts: TimeoutsSpec,
    /// Largest request body. Default: `defaults.limits.body`.
    pub max_body: Option<ByteSize>,
    /// Attempts for a request, the first included. Default: `defaults.attempts`.
    pub attempts: Option<u32>,
}

/// A path match: `prefix`, `exact` or `regex`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum PathSpec {
    /// Prefix of whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    /// The exact path.
    Exact(String),
    /// A regular expression in the syntax of the `regex` crate, anchored at the start.
    Regex(String),
}

/// A condition on a header or query parameter. With neither `exact` nor `regex` it only has to be present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ConditionSpec {
    /// Name of the header or query parameter.
    pub name: String,
    /// The exact value.
    pub exact: Option<String>,
    /// Regular expression that the whole value matches.
    pub regex: Option<String>,
}

/// A weighted backend: an upstream of the conf or a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BackendSpec {
    /// Name under `upstreams`.
    pub upstream: Option<String>,
    /// Service `namespace/name:port`.
    pub service: Option<String>,
    /// Weight among the backends of the route. Default 1.
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
