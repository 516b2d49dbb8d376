//! Upstreams of the conf.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::address;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Backend, BackendId, Endpoint, EndpointSet};
use crate::origin::Origin;
use crate::pem_text;
use crate::resources::conf::{UpstreamSpec, UpstreamTlsSpec};
use crate::translate::options::Options;
use crate::upstream::{CaBundle, ExternalName, HealthCheck, UpstreamConfig, UpstreamTls};

/// Translates one upstream. A part that cannot be kept without weakening it makes the whole upstream invalid.
pub(crate) fn translate(
    name: &str,
    spec: &UpstreamSpec,
    options: &Options,
    conf: &Origin,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Backend, EndpointSet) {
    let origin = conf.at(format!("upstreams.{name}"));
    let mut endpoints = endpoints(spec, &origin, diagnostics);
    let mut external = spec.dns.as_deref().map(|text| external(text, &origin, diagnostics));
    // What needs no DNS is the operator's own word, as an endpoint is.
    if spec.endpoints.is_empty()
        && let Some(address) = external.iter().flatten().find_map(literal)
    {
        endpoints.endpoints = [Endpoint { address, weight: 1, zone: None }].into();
        external = None;
    }
    let tls = tls(&spec.tls, &origin, diagnostics);
    let is_ambiguous = spec.dns.is_some() && !spec.endpoints.is_empty();
    if is_ambiguous {
        let message = "has both `endpoints` and `dns`";
        diagnostics.push(Diagnostic::error(Code::InvalidUpstream, &origin, message).hint("keep one of them"));
    } else if spec.dns.is_none() && endpoints.endpoints.is_empty() {
        let diagnostic = Diagnostic::warning(Code::NoEndpoints, &origin, "has no endpoint that can be used");
        diagnostics.push(diagnostic.hint("add `endpoints` or `dns`; requests are answered 503 until then"));
    }
    let is_invalid = is_ambiguous || tls.is_none() || matches!(external, Some(None));
    let config = UpstreamConfig {
        protocol: spec.protocol,
        tls: tls.filter(|_| spec.protocol.is_tls()),
        balance: spec.load_balancing.unwrap_or(options.backend.balance),
        health_check: spec.health_check.as_ref().and_then(|check| health_check(check, &origin, diagnostics)),
        external: external.flatten(),
        is_invalid,
    };
    (Backend::new(BackendId::upstream(name), origin, config), endpoints)
}

fn endpoints(spec: &UpstreamSpec, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> EndpointSet {
    let mut known: BTreeMap<SocketAddr, u16> = BTreeMap::new();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let field = format!("{}.endpoints[{index}]", origin.field);
        let (address, weight) = (&endpoint.address, endpoint.weight);
        let Some(parsed) = address.parse::<SocketAddr>().ok().filter(|parsed| parsed.port() > 0) else {
            let diagnostic = Diagnostic::error(
                Code::InvalidEndpoint,
                &origin.at(format!("{field}.address")),
                format!("`{address}` is not an address with a port"),
            );
            diagnostics.push(diagnostic.hint("write `10.0.0.1:8080` or `[::1]:8080`; names go under `dns`"));
            continue;
        };
        if weight == 0 {
            let origin = origin.at(format!("{field}.weight"));
            let diagnostic = Diagnostic::error(Code::InvalidEndpoint, &origin, "a weight is from 1 to 65535");
            diagnostics.push(diagnostic.hint("leave the endpoint out to send it nothing"));
            continue;
        }
        known.entry(parsed).or_insert(weight);
    }
    let endpoints = known.into_iter().map(|(address, weight)| Endpoint { address, weight, zone: None });
    EndpointSet { endpoints: endpoints.collect() }
}

fn external(text: &str, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Option<ExternalName> {
    let parsed = text.rsplit_once(':').and_then(|(name, port)| {
        let HostPattern::Exact(name) = HostPattern::parse(name.trim_end_matches('.')).ok()? else { return None };
        Some(ExternalName { name, port: port.parse().ok().filter(|port| *port > 0)? })
    });
    if parsed.is_none() {
        let origin = origin.at(format!("{}.dns", origin.field));
        let message = format!("`{text}` is not a name with a port");
        diagnostics.push(Diagnostic::error(Code::InvalidUpstream, &origin, message).hint("write `name.example:443`"));
    }
    parsed
}

fn literal(external: &ExternalName) -> Option<SocketAddr> {
    address::literal(&external.name).map(|ip| SocketAddr::new(ip, external.port))
}

/// `None`: what was asked for cannot be kept.
fn tls(spec: &UpstreamTlsSpec, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Option<UpstreamTls> {
    let ca = match (&spec.ca, &spec.ca_file) {
        (Some(pem), _) => match authorities(pem) {
            Ok(bundle) => {
                diagnostics.extend(unused_blocks(pem, &origin.at(format!("{}.tls.ca", origin.field))));
                Some(bundle)
            }
            Err(message) => {
                let origin = origin.at(format!("{}.tls.ca", origin.field));
                let diagnostic = Diagnostic::error(Code::InvalidCa, &origin, message);
                diagnostics.push(diagnostic.hint("requests are answered 503 until it is corrected"));
                return None;
            }
        },
        (None, Some(file)) => {
            let origin = origin.at(format!("{}.tls.caFile", origin.field));
            let diagnostic = Diagnostic::error(Code::InvalidCa, &origin, format!("`{file}` was not read"));
            diagnostics.push(diagnostic.hint("requests are answered 503 until it is corrected"));
            return None;
        }
        (None, None) => None,
    };
    Some(UpstreamTls {
        verify: spec.verify.unwrap_or(true),
        server_name: spec.server_name.as_deref().map(Arc::from),
        ca,
    })
}

fn authorities(pem: &str) -> Result<CaBundle, String> {
    let certificates = pem_text::certificates(pem.as_bytes()).map_err(|fault| fault.to_string())?;
    Ok(CaBundle(certificates.iter().map(|der| der.to_vec()).collect()))
}

fn unused_blocks(pem: &str, origin: &Origin) -> Option<Diagnostic> {
    let unused = pem_text::beside_certificates(pem.as_bytes());
    let list = unused.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let diagnostic = Diagnostic::info(Code::UnusedPemBlocks, origin, format!("not used: {list}"));
    (!unused.is_empty()).then(|| diagnostic.hint("only certificates are; leave the rest out"))
}

fn health_check(spec: &HealthCheck, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Option<HealthCheck> {
    let problem = if spec.interval.0.is_zero() || spec.timeout().is_zero() {
        Some("`interval` and `timeout` must be over 0")
    } else if spec.healthy_threshold == 0 || spec.unhealthy_threshold == 0 {
        Some("thresholds must be over 0")
    } else if spec.http.as_ref().is_some_and(|http| !http.path.starts_with('/')) {
        Some("`http.path` must begin with `/`")
    } else if spec.http.iter().flat_map(|http| &http.statuses).any(|status| !(100..=599).contains(status)) {
        Some("`http.statuses` must be from 100 to 599")
    } else {
        None
    };
    if let Some(message) = problem {
        let origin = origin.at(format!("{}.healthCheck", origin.field));
        diagnostics.push(
            Diagnostic::error(Code::InvalidHealthCheck, &origin, message).hint("endpoints are not checked until then"),
        );
        return None;
    }
    let (check, told) = spec.clone().bounded();
    let origin = origin.at(format!("{}.healthCheck", origin.field));
    diagnostics.extend(told.into_iter().map(|message| Diagnostic::warning(Code::BoundedHealthCheck, &origin, message)));
    Some(check)
}
