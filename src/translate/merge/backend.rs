//! Backends of Services: the port, its endpoints by port name, protocol, health check, ExternalName.
//!
//! Source: Service v1 `spec.ports`, EndpointSlice v1, Endpoints v1.

mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use port::Port;

use crate::address::{self, AddressRules, Refused};
use crate::diagnostic::Diagnostic;
use crate::model::{Backend, BackendId, Balance, Endpoint, EndpointSet, ExternalName, Protocol, UpstreamTls};
use crate::origin::Origin;
use crate::resources::object::{EndpointPort, EndpointSlice, Endpoints, Service, Transport};
use crate::resources::{Kind, ObjectName, ObjectRef, Resources, Sourced};
use crate::translate::contribution::Overrides;
use crate::translate::ingress::annotations;

/// Code of the finding that an address is no endpoint, and what to do about it.
const ADDRESS_REFUSED: &str = "AddressRefused";
const ALLOW_ADDRESSES: &str = "`defaults.allowAddresses` of the conf lets networks in";

/// What a backend of a Service is at present.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub backend: Backend,
    pub endpoints: EndpointSet,
    /// About the Service itself.
    pub diagnostics: Vec<Diagnostic>,
    /// Why it cannot be used, to be said at every place that names it.
    pub problem: Option<Problem>,
}

/// Why a backend cannot be used.
#[derive(Debug)]
pub(crate) struct Problem {
    code: &'static str,
    message: String,
    hint: String,
}

/// What holds for every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendOptions {
    pub balance: Balance,
    pub allow_external_name: bool,
    /// Zone of this process.
    pub zone: Option<Arc<str>>,
    /// Which addresses may be endpoints where a cluster or a name says so.
    pub rules: Arc<AddressRules>,
}

/// A port of a Service, as an id names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub id: &'a BackendId,
    pub service: &'a ObjectName,
    pub port: &'a str,
}

/// Finds out what a backend is. Costs what its endpoints cost, however many routes name it.
pub(crate) fn evaluate(
    target: Target<'_>,
    overrides: &Overrides,
    resources: &Resources,
    options: &BackendOptions,
) -> Evaluated {
    let Some(sourced) = resources.services.get(target.service) else {
        let origin = ObjectRef { kind: Kind::Service, name: target.service.clone() }.origin(None);
        return invalid(target.id, origin, not_found(target.service));
    };
    let origin = sourced.origin();
    let service = &*sourced.object;
    if service.external_name.is_some() && !options.allow_external_name {
        return invalid(target.id, origin, external_name_disabled(target.service));
    }
    let port = match port::find(service, target.port) {
        Ok(port) => port,
        Err(missing) => return invalid(target.id, origin, missing.problem(target, service)),
    };
    let mut evaluated = match service.external_name.as_deref() {
        Some(name) => match external(name, port, target.port) {
            Some(external) => evaluate_name(target, external, port, sourced, overrides, options),
            None => return invalid(target.id, origin, port::Missing::Unknown.problem(target, service)),
        },
        None if overrides.service_upstream && service.cluster_ip.is_some() => {
            let rules = sourced.origin.is_of_cluster().then_some(&*options.rules);
            evaluate_service(target, port, service, origin.clone(), overrides, rules)
        }
        None => evaluate_port(target, port, resources, origin.clone(), overrides, options),
    };
    let told = port.told(&origin, overrides.protocol.is_some());
    evaluated.diagnostics.extend(told);
    let said = annotations::read_service(&service.annotations, &origin, &mut evaluated.diagnostics);
    if said.is_broken {
        let diagnostics = evaluated.diagnostics;
        return Evaluated { diagnostics, ..invalid(target.id, origin, protection_on_service(target.service)) };
    }
    evaluated.backend.health_check = overrides.health_check.clone().or(said.health_check).map(Box::new);
    evaluated
}

fn evaluate_port(
    target: Target<'_>,
    port: Port<'_>,
    resources: &Resources,
    origin: Origin,
    overrides: &Overrides,
    options: &BackendOptions,
) -> Evaluated {
    let (endpoints, refused) = endpoints_of(target.service, port.name(), resources, options);
    let mut diagnostics: Vec<Diagnostic> = addresses_refused(&refused, &origin).into_iter().collect();
    if overrides.service_upstream {
        let message = "is headless: it has no address for `service-upstream`, so its endpoints are used";
        diagnostics.push(Diagnostic::warning("HeadlessService", &origin, message).hint("leave the annotation out"));
    }
    if endpoints.endpoints.is_empty() {
        let message = format!("port `{}` has no ready endpoint", target.port);
        let hint = "requests are answered 503 until a pod is ready";
        diagnostics.push(Diagnostic::warning("NoEndpoints", &origin, message).hint(hint));
    }
    let mut backend = blank(target.id, origin);
    backend.protocol = overrides.protocol.unwrap_or_else(|| port.protocol());
    backend.tls = tls_of(backend.protocol);
    backend.balance = overrides.balance.unwrap_or(options.balance);
    Evaluated { backend, endpoints, diagnostics, problem: None }
}

/// The Service's own address, and whoever stands behind it balances.
fn evaluate_service(
    target: Target<'_>,
    port: Port<'_>,
    service: &Service,
    origin: Origin,
    overrides: &Overrides,
    rules: Option<&AddressRules>,
) -> Evaluated {
    let number = port.number();
    let address = service.cluster_ip.zip(number).map(|(ip, port)| SocketAddr::new(ip, port));
    // Where kube-proxy keeps every Service's address on the node, one may look like a socket of ours: not asked.
    let why = |address: SocketAddr| rules?.kind_refusal(address.ip()).map(|why| Refused { address, why });
    let refused = address.and_then(why);
    let address = address.filter(|_| refused.is_none());
    let diagnostics = addresses_refused(&refused.into_iter().collect(), &origin).into_iter().collect();
    let mut backend = blank(target.id, origin);
    backend.protocol = overrides.protocol.unwrap_or_else(|| port.protocol());
    backend.tls = tls_of(backend.protocol);
    let endpoints = address.map(|address| Endpoint { address, weight: 1, zone: None }).into_iter().collect();
    Evaluated { backend, endpoints: EndpointSet { endpoints }, diagnostics, problem: None }
}

/// An ExternalName. One that needs no DNS is an answer already: an address of a file is the operator's own word, that
/// of a cluster and `localhost` are not.
fn evaluate_name(
    target: Target<'_>,
    external: ExternalName,
    port: Port<'_>,
    service: &Sourced<Service>,
    overrides: &Overrides,
    options: &BackendOptions,
) -> Evaluated {
    let is_own = !service.origin.is_of_cluster() && address::as_address(&external.name).is_some();
    let answer = address::literal(&external.name).map(|ip| SocketAddr::new(ip, external.port));
    if let Some(refused) = answer.filter(|_| !is_own).and_then(|address| options.rules.refusal(address)) {
        return invalid(target.id, service.origin(), external_name_refused(target.service, &refused));
    }
    let protocol = overrides.protocol.unwrap_or_else(|| port.protocol());
    let mut evaluated =
        evaluate_external(target, external, service.origin(), protocol, overrides.balance.unwrap_or(options.balance));
    if let Some(address) = answer {
        evaluated.backend.external = None;
        evaluated.endpoints.endpoints = [Endpoint { address, weight: 1, zone: None }].into();
    }
    evaluated
}

fn evaluate_external(
    target: Target<'_>,
    external: ExternalName,
    origin: Origin,
    protocol: Protocol,
    balance: Balance,
) -> Evaluated {
    let mut backend = blank(target.id, origin);
    backend.protocol = protocol;
    backend.tls = tls_of(backend.protocol);
    backend.balance = balance;
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

/// An ExternalName Service need not list ports: a number stands for itself.
fn external(name: &str, port: Port<'_>, wanted: &str) -> Option<ExternalName> {
    let port = port.target().or_else(|| wanted.parse().ok()).filter(|port| *port > 0)?;
    (!name.is_empty()).then(|| ExternalName { name: name.trim_end_matches('.').to_ascii_lowercase().into(), port })
}

// === impl Problem ===

impl Problem {
    /// What is to be said at a place that names the backend.
    pub(crate) fn diagnose(&self, origin: &Origin) -> Diagnostic {
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

fn protection_on_service(service: &ObjectName) -> Problem {
    Problem {
        code: "UnsupportedSecurityAnnotation",
        message: format!("Service `{service}` has an annotation that asks for protection, which Services do not have"),
        hint: "put it on the Ingress; requests are answered 503 until then".to_owned(),
    }
}

fn external_name_disabled(service: &ObjectName) -> Problem {
    Problem {
        code: "ExternalNameDisabled",
        message: format!("Service `{service}` is of type ExternalName, which is not served"),
        hint: "set `ingress.allowExternalName: true` if whoever writes Services may reach any host".to_owned(),
    }
}

fn external_name_refused(service: &ObjectName, refused: &Refused) -> Problem {
    Problem {
        code: ADDRESS_REFUSED,
        message: format!("Service `{service}` is an ExternalName of {refused}, where no endpoint may be"),
        hint: ALLOW_ADDRESSES.to_owned(),
    }
}

fn addresses_refused(refused: &BTreeSet<Refused>, origin: &Origin) -> Option<Diagnostic> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = refused.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match refused.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("refused as endpoints: {}{more}", shown.join(", "));
    let diagnostic = || Diagnostic::error(ADDRESS_REFUSED, origin, message).hint(ALLOW_ADDRESSES);
    (!refused.is_empty()).then(diagnostic)
}

// === endpoints ===

/// What slices and Endpoints name.
struct Found<'a> {
    rules: &'a AddressRules,
    seen: BTreeMap<SocketAddr, Seen>,
    refused: BTreeSet<Refused>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    is_ready: bool,
    is_draining: bool,
    zone: Option<Arc<str>>,
    for_zones: Option<Arc<str>>,
}

/// The endpoints of a port, and the addresses that may not be any.
fn endpoints_of(
    service: &ObjectName,
    port: &str,
    resources: &Resources,
    options: &BackendOptions,
) -> (EndpointSet, BTreeSet<Refused>) {
    let mut found = Found { rules: &options.rules, seen: BTreeMap::new(), refused: BTreeSet::new() };
    let slices = resources.slices_of(service);
    slices.iter().for_each(|slice| found.add_slice(slice, port));
    if slices.is_empty()
        && let Some(endpoints) = resources.endpoints.get(service)
    {
        found.add_endpoints(endpoints, port);
    }
    let Found { seen, refused, .. } = found;
    let any_ready = seen.values().any(|each| each.is_ready);
    let zone = options.zone.as_deref().filter(|zone| are_hints_heeded(&seen, zone));
    let endpoints = seen
        .into_iter()
        .filter(|(_, each)| if any_ready { each.is_ready } else { each.is_draining })
        .filter(|(_, each)| zone.is_none_or(|zone| each.is_for(zone)))
        .map(|(address, each)| Endpoint { address, weight: 1, zone: each.zone })
        .collect();
    (EndpointSet { endpoints }, refused)
}

/// As kube-proxy does: hints count only when every ready endpoint has one, and one is for us.
fn are_hints_heeded(seen: &BTreeMap<SocketAddr, Seen>, zone: &str) -> bool {
    let ready = || seen.values().filter(|each| each.is_ready);
    ready().all(|each| each.for_zones.is_some()) && ready().any(|each| each.is_for(zone))
}

impl Seen {
    fn is_for(&self, zone: &str) -> bool {
        self.for_zones.as_deref().is_some_and(|zones| zones.split(',').any(|each| each == zone))
    }
}

// === impl Found ===

impl Found<'_> {
    fn add_slice(&mut self, slice: &Sourced<EndpointSlice>, wanted: &str) {
        let is_of_cluster = slice.origin.is_of_cluster();
        for port in numbers(&slice.object.ports, wanted) {
            for endpoint in &slice.object.endpoints {
                let state = Seen {
                    is_ready: endpoint.is_ready,
                    is_draining: endpoint.is_draining,
                    zone: endpoint.zone.clone(),
                    for_zones: endpoint.for_zones.clone(),
                };
                self.note(SocketAddr::new(endpoint.address, port), state, is_of_cluster);
            }
        }
    }

    fn add_endpoints(&mut self, endpoints: &Sourced<Endpoints>, wanted: &str) {
        let is_of_cluster = endpoints.origin.is_of_cluster();
        for subset in &endpoints.object.subsets {
            for port in numbers(&subset.ports, wanted) {
                for address in &subset.addresses {
                    let state = Seen { is_ready: true, ..Seen::default() };
                    self.note(SocketAddr::new(*address, port), state, is_of_cluster);
                }
            }
        }
    }

    /// While a pod moves between slices it may stand in both: the ready copy counts.
    fn note(&mut self, address: SocketAddr, state: Seen, is_of_cluster: bool) {
        if is_of_cluster && let Some(refused) = self.rules.refusal(address) {
            self.refused.insert(refused);
            return;
        }
        let known = self.seen.entry(address).or_default();
        known.is_ready |= state.is_ready;
        known.is_draining |= state.is_draining;
        if known.zone.is_none() {
            known.zone = state.zone;
        }
        if known.for_zones.is_none() {
            known.for_zones = state.for_zones;
        }
    }
}

/// HTTP comes by TCP: a port of another protocol may have the same name where a file says so.
fn numbers(ports: &[EndpointPort], wanted: &str) -> impl Iterator<Item = u16> {
    let is_it = move |port: &&EndpointPort| *port.name == *wanted && port.transport == Transport::Tcp;
    ports.iter().filter(is_it).map(|port| port.port)
}
