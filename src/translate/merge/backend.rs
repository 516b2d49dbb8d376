//! Backends of Services: the port, its endpoints by port name, protocol, health check, ExternalName.
//!
//! Source: Service v1 `spec.ports`, EndpointSlice v1, Endpoints v1.

mod endpoints;
mod port;
pub(crate) mod problem;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use endpoints::endpoints_of;
use port::Port;
use problem::{
    ADDRESS_REFUSED, ALLOW_ADDRESSES, Problem, external_name_disabled, external_name_refused, not_found,
    protection_on_service,
};

use crate::address::{self, AddressRules, Refused};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Backend, BackendId, Endpoint, EndpointSet};
use crate::origin::Origin;
use crate::resources::object::Service;
use crate::resources::{Kind, ObjectName, ObjectRef, Resources, Sourced};
use crate::translate::asked::Asked;
use crate::translate::asked::backend::BackendPatch;
use crate::translate::options::BackendOptions;
use crate::upstream::{Balance, ExternalName, UpstreamConfig};

/// Result of evaluating a backend of a Service.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub backend: Backend,
    pub endpoints: EndpointSet,
    /// About the Service itself.
    pub diagnostics: Vec<Diagnostic>,
    /// Why it cannot be used, to be said at every place that names it.
    pub problem: Option<Problem>,
}

/// A port of a Service, as an id names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub id: &'a BackendId,
    pub service: &'a ObjectName,
    pub port: &'a str,
}

/// Finds out what a backend is. Costs what its endpoints cost, however many routes name it.
///
/// `patch`: what is asked of it where it is named; `said`: what the Service itself asks for.
pub(crate) fn evaluate(
    target: Target<'_>,
    patch: &BackendPatch,
    said: Asked,
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
        Err(missing) => return invalid(target.id, origin, missing.problem(target.service, target.port, service)),
    };
    let patch = &patch.or(said.backend);
    let without = UpstreamConfig { protocol: port.protocol(), balance: options.balance, ..UpstreamConfig::default() };
    let config = patch.over(without);
    let mut evaluated = match service.external_name.as_deref() {
        Some(name) => match external(name, port, target.port) {
            Some(external) => evaluate_name(target, external, sourced, config, options),
            None => {
                let problem = port::Missing::Unknown.problem(target.service, target.port, service);
                return invalid(target.id, origin, problem);
            }
        },
        None if patch.service_upstream && service.cluster_ip.is_some() => {
            let rules = sourced.origin.is_of_cluster().then_some(&*options.rules);
            evaluate_service(target, port, service, origin.clone(), config, rules)
        }
        None => {
            let mut evaluated = evaluate_port(target, port, resources, origin.clone(), config, options);
            evaluated.diagnostics.extend(patch.service_upstream.then(|| headless(&origin)));
            evaluated
        }
    };
    evaluated.diagnostics.extend(port.told(&origin, patch.protocol.is_some()));
    evaluated.diagnostics.extend(said.diagnostics);
    if said.closed.is_some() {
        let diagnostics = evaluated.diagnostics;
        return Evaluated { diagnostics, ..invalid(target.id, origin, protection_on_service(target.service)) };
    }
    evaluated
}

fn evaluate_port(
    target: Target<'_>,
    port: Port<'_>,
    resources: &Resources,
    origin: Origin,
    config: UpstreamConfig,
    options: &BackendOptions,
) -> Evaluated {
    let (endpoints, refused) = endpoints_of(target.service, port.name(), resources, options);
    let mut diagnostics: Vec<Diagnostic> = addresses_refused(&refused, &origin).into_iter().collect();
    if endpoints.endpoints.is_empty() {
        let message = format!("port `{}` has no ready endpoint", target.port);
        let hint = "requests are answered 503 until a pod is ready";
        diagnostics.push(Diagnostic::warning(Code::NoEndpoints, &origin, message).hint(hint));
    }
    let backend = Backend::new(target.id.clone(), origin, config);
    Evaluated { backend, endpoints, diagnostics, problem: None }
}

/// The Service's own address, and whoever stands behind it balances.
fn evaluate_service(
    target: Target<'_>,
    port: Port<'_>,
    service: &Service,
    origin: Origin,
    config: UpstreamConfig,
    rules: Option<&AddressRules>,
) -> Evaluated {
    let number = port.number();
    let address = service.cluster_ip.zip(number).map(|(ip, port)| SocketAddr::new(ip, port));
    // Where kube-proxy keeps every Service's address on the node, one may look like a socket of ours: not asked.
    let why = |address: SocketAddr| rules?.kind_refusal(address.ip()).map(|why| Refused { address, why });
    let refused = address.and_then(why);
    let address = address.filter(|_| refused.is_none());
    let diagnostics = addresses_refused(&refused.into_iter().collect(), &origin).into_iter().collect();
    let config = UpstreamConfig { balance: Balance::default(), ..config };
    let endpoints = address.map(|address| Endpoint { address, weight: 1, zone: None }).into_iter().collect();
    let backend = Backend::new(target.id.clone(), origin, config);
    Evaluated { backend, endpoints: EndpointSet { endpoints }, diagnostics, problem: None }
}

/// An ExternalName. One that needs no DNS is an answer already: an address of a file is the operator's own word, that
/// of a cluster and `localhost` are not.
fn evaluate_name(
    target: Target<'_>,
    external: ExternalName,
    service: &Sourced<Service>,
    config: UpstreamConfig,
    options: &BackendOptions,
) -> Evaluated {
    let is_own = !service.origin.is_of_cluster() && address::as_address(&external.name).is_some();
    let answer = address::literal(&external.name).map(|ip| SocketAddr::new(ip, external.port));
    if let Some(refused) = answer.filter(|_| !is_own).and_then(|address| options.rules.refusal(address)) {
        return invalid(target.id, service.origin(), external_name_refused(target.service, &refused));
    }
    let external = answer.is_none().then_some(external);
    let endpoints = answer.map(|address| Endpoint { address, weight: 1, zone: None }).into_iter().collect();
    let backend = Backend::new(target.id.clone(), service.origin(), UpstreamConfig { external, ..config });
    Evaluated { backend, endpoints: EndpointSet { endpoints }, diagnostics: Vec::new(), problem: None }
}

fn invalid(id: &BackendId, origin: Origin, problem: Problem) -> Evaluated {
    let backend = Backend::new(id.clone(), origin, UpstreamConfig { is_invalid: true, ..UpstreamConfig::default() });
    Evaluated { backend, endpoints: EndpointSet::default(), diagnostics: Vec::new(), problem: Some(problem) }
}

fn headless(origin: &Origin) -> Diagnostic {
    let message = "is headless: it has no address for `service-upstream`, so its endpoints are used";
    Diagnostic::warning(Code::HeadlessService, origin, message).hint("leave the annotation out")
}

/// An ExternalName Service need not list ports: a number stands for itself.
fn external(name: &str, port: Port<'_>, wanted: &str) -> Option<ExternalName> {
    let port = port.target().or_else(|| wanted.parse().ok()).filter(|port| *port > 0)?;
    (!name.is_empty()).then(|| ExternalName { name: name.trim_end_matches('.').to_ascii_lowercase().into(), port })
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
