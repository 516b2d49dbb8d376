//! Backends of Services: the port, its endpoints by port name, protocol, health check, ExternalName.
//!
//! Source: Service v1 `spec.ports`, EndpointSlice v1, Endpoints v1.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use super::annotations;
use super::contribution::Overrides;
use crate::diagnostic::Diagnostic;
use crate::model::{Backend, BackendId, Balance, Endpoint, EndpointSet, ExternalName, Protocol, UpstreamTls};
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName, ObjectRef, Resources, Sourced};

/// What a backend of a Service is at present.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub backend: Backend,
    pub endpoints: EndpointSet,
    /// About the Service itself.
    pub diagnostics: Vec<Diagnostic>,
    /// Why it cannot be used, to be said at every place that names it.
    pub problem: Option<Problem>,
}

/// Why a backend cannot be used.
#[derive(Debug)]
pub(super) struct Problem {
    code: &'static str,
    message: String,
    hint: String,
}

/// What holds for every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackendOptions {
    pub balance: Balance,
    pub allow_external_name: bool,
}

/// A port of a Service, as an id names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub id: &'a BackendId,
    pub service: &'a ObjectName,
    pub port: &'a str,
}

/// Finds out what a backend is. Costs what its endpoints cost, however many routes name it.
pub(super) fn evaluate(
    target: Target<'_>,
    overrides: &Overrides,
    resources: &Resources,
    options: BackendOptions,
) -> Evaluated {
    let Some(sourced) = resources.services.get(target.service) else {
        let origin = service_ref(target.service).origin(None);
        return invalid(target.id, origin, not_found(target.service));
    };
    let origin = service_ref(target.service).origin(sourced.place.clone());
    let service = &*sourced.object;
    let mut evaluated = match external_name(service) {
        Some(_) if !options.allow_external_name => {
            return invalid(target.id, origin, external_name_disabled(target.service));
        }
        Some(name) => match external(service, name, target.port) {
            Some(external) => evaluate_external(target, external, origin.clone(), overrides, options),
            None => return invalid(target.id, origin, port_not_found(target, service)),
        },
        None => match find_port(service, target.port) {
            Some(port) => evaluate_port(target, port, resources, origin.clone(), overrides, options),
            None => return invalid(target.id, origin, port_not_found(target, service)),
        },
    };
    let annotations = service.metadata.annotations.as_ref();
    let health_check = annotations::read_service(annotations, &origin, &mut evaluated.diagnostics);
    evaluated.backend.health_check = overrides.health_check.clone().or(health_check).map(Box::new);
    evaluated
}

fn evaluate_port(
    target: Target<'_>,
    port: &ServicePort,
    resources: &Resources,
    origin: Origin,
    overrides: &Overrides,
    options: BackendOptions,
) -> Evaluated {
    let endpoints = endpoints_of(target.service, port.name.as_deref().unwrap_or_default(), resources);
    let mut diagnostics = Vec::new();
    if endpoints.endpoints.is_empty() {
        let message = format!("port `{}` has no ready endpoint", target.port);
        let hint = "requests are answered 503 until a pod is ready";
        diagnostics.push(Diagnostic::warning("NoEndpoints", &origin, message).hint(hint));
    }
    let mut backend = blank(target.id, origin);
    backend.protocol = overrides.protocol.unwrap_or_else(|| app_protocol(port));
    backend.tls = tls_of(backend.protocol);
    backend.balance = overrides.balance.unwrap_or(options.balance);
    Evaluated { backend, endpoints, diagnostics, problem: None }
}

fn evaluate_external(
    target: Target<'_>,
    external: ExternalName,
    origin: Origin,
    overrides: &Overrides,
    options: BackendOptions,
) -> Evaluated {
    let mut backend = blank(target.id, origin);
    backend.protocol = overrides.protocol.unwrap_or_default();
    backend.tls = tls_of(backend.protocol);
    backend.balance = overrides.balance.unwrap_or(options.balance);
    backend.external = Some(external);
    Evaluated { backend, endpoints: EndpointSet::default(), diagnostics: Vec::new(), problem: None }
}

fn invalid(id: &BackendId, origin: Origin, problem: Problem) -> Evaluated {
    Evaluated {
        backend: Backend { is_invalid: true, ..blank(id, origin) },
        endpoints: EndpointSet::default(),
        diagnostics: Vec::new(),
        problem: Some(problem),
    }
}

fn blank(id: &BackendId, origin: Origin) -> Backend {
    Backend {
        id: id.clone(),
        origin,
        protocol: Protocol::default(),
        tls: None,
        balance: Balance::default(),
        health_check: None,
        external: None,
        is_invalid: false,
    }
}

/// Pods have certificates of their own making, if any: as ingress-nginx does, they are not verified unless told to.
fn tls_of(protocol: Protocol) -> Option<Box<UpstreamTls>> {
    matches!(protocol, Protocol::Https | Protocol::H2).then(Box::<UpstreamTls>::default)
}

/// KEP-3726, and `https` of the IANA registry.
fn app_protocol(port: &ServicePort) -> Protocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => Protocol::H2c,
        Some("https" | "kubernetes.io/wss") => Protocol::Https,
        _ => Protocol::Http,
    }
}

fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

fn find_port<'a>(service: &'a Service, wanted: &str) -> Option<&'a ServicePort> {
    match wanted.parse::<i32>() {
        Ok(number) => ports(service).iter().find(|port| port.port == number),
        Err(_) => ports(service).iter().find(|port| port.name.as_deref() == Some(wanted)),
    }
}

fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("ExternalName"))?;
    Some(spec.external_name.as_deref().unwrap_or_default())
}

/// An ExternalName Service need not list ports: a number stands for itself.
fn external(service: &Service, name: &str, wanted: &str) -> Option<ExternalName> {
    let listed = find_port(service, wanted).and_then(|port| u16::try_from(port.port).ok());
    let port = listed.or_else(|| wanted.parse().ok()).filter(|port| *port > 0)?;
    (!name.is_empty()).then(|| ExternalName { name: name.trim_end_matches('.').to_ascii_lowercase().into(), port })
}

// === impl Problem ===

impl Problem {
    /// What is to be said at a place that names the backend.
    pub(super) fn diagnose(&self, origin: &Origin) -> Diagnostic {
        Diagnostic::error(self.code, origin, self.message.clone()).hint(self.hint.clone())
    }
}

/// The hint names no other Service: it would have to change whenever any Service comes or goes.
fn not_found(service: &ObjectName) -> Problem {
    Problem {
        code: "ServiceNotFound",
        message: format!("there is no Service `{service}`"),
        hint: "check name and namespace; requests are answered 503 until it exists".to_owned(),
    }
}

fn port_not_found(target: Target<'_>, service: &Service) -> Problem {
    let list: Vec<String> = ports(service)
        .iter()
        .map(|port| match &port.name {
            Some(name) => format!("`{name}` ({})", port.port),
            None => format!("{}", port.port),
        })
        .collect();
    Problem {
        code: "PortNotFound",
        message: format!("Service `{}` has no port `{}`", target.service, target.port),
        hint: if list.is_empty() { "it has no ports".to_owned() } else { format!("it has {}", list.join(", ")) },
    }
}

fn external_name_disabled(service: &ObjectName) -> Problem {
    Problem {
        code: "ExternalNameDisabled",
        message: format!("Service `{service}` is of type ExternalName, which is not served"),
        hint: "set `ingress.allowExternalName: true` if whoever writes Services may reach any host".to_owned(),
    }
}

fn service_ref(name: &ObjectName) -> ObjectRef {
    ObjectRef { kind: Kind::Service, name: name.clone() }
}

// === endpoints ===

#[derive(Clone, Debug, Default)]
struct Seen {
    is_ready: bool,
    is_draining: bool,
    zone: Option<Arc<str>>,
}

fn endpoints_of(service: &ObjectName, port: &str, resources: &Resources) -> EndpointSet {
    let mut seen: BTreeMap<SocketAddr, Seen> = BTreeMap::new();
    let mut has_slices = false;
    for slice in resources.slices_of(service) {
        has_slices = true;
        add_slice(&slice.object, port, &mut seen);
    }
    if !has_slices && let Some(endpoints) = resources.endpoints.get(service) {
        add_endpoints(endpoints, port, &mut seen);
    }
    let any_ready = seen.values().any(|each| each.is_ready);
    let endpoints = seen
        .into_iter()
        .filter(|(_, each)| if any_ready { each.is_ready } else { each.is_draining })
        .map(|(address, each)| Endpoint { address, weight: 1, zone: each.zone })
        .collect();
    EndpointSet { endpoints }
}

fn add_slice(slice: &EndpointSlice, wanted: &str, seen: &mut BTreeMap<SocketAddr, Seen>) {
    if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        return;
    }
    let ports = slice.ports.iter().flatten();
    let ports = ports.filter(|port| port.name.as_deref().unwrap_or_default() == wanted);
    for port in ports.filter_map(|port| port.port).filter_map(|port| u16::try_from(port).ok()) {
        for endpoint in slice.endpoints.iter().flatten() {
            // Only the first address has a meaning (EndpointSlice v1, `endpoints[].addresses`).
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok()) else {
                continue;
            };
            note(seen, SocketAddr::new(address, port), state(endpoint));
        }
    }
}

fn state(endpoint: &SliceEndpoint) -> Seen {
    let conditions = endpoint.conditions.as_ref();
    let serving = conditions.and_then(|all| all.serving).unwrap_or(true);
    let terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
    Seen {
        is_ready: conditions.and_then(|all| all.ready).unwrap_or(true),
        is_draining: serving && terminating,
        zone: endpoint.zone.as_deref().map(Arc::from),
    }
}

fn add_endpoints(
    endpoints: &Sourced<k8s_openapi::api::core::v1::Endpoints>,
    wanted: &str,
    seen: &mut BTreeMap<SocketAddr, Seen>,
) {
    for subset in endpoints.object.subsets.iter().flatten() {
        let ports = subset.ports.iter().flatten();
        let ports = ports.filter(|port| port.name.as_deref().unwrap_or_default() == wanted);
        for port in ports.filter_map(|port| u16::try_from(port.port).ok()) {
            for address in subset.addresses.iter().flatten().filter_map(|each| each.ip.parse::<IpAddr>().ok()) {
                note(seen, SocketAddr::new(address, port), Seen { is_ready: true, ..Seen::default() });
            }
        }
    }
}

/// While a pod moves between slices it may stand in both: the ready copy counts.
fn note(seen: &mut BTreeMap<SocketAddr, Seen>, address: SocketAddr, state: Seen) {
    let known = seen.entry(address).or_default();
    known.is_ready |= state.is_ready;
    known.is_draining |= state.is_draining;
    if known.zone.is_none() {
        known.zone = state.zone;
    }
}
