//! Protocol, balancing and health checks of backends.

use std::sync::Arc;

use super::super::row::{Annotation, Dialect, Support};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, Refusal, Value, boolean};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::quantity::Duration;
use crate::translate::asked::Asked;
use crate::upstream::{Balance, HealthCheck, HttpProbe, Protocol};

pub(crate) const TABLE: &[Annotation] = &[BACKEND_PROTOCOL, LOAD_BALANCE, SERVICE_UPSTREAM, HEALTH_CHECK];

const BACKEND_PROTOCOL: Annotation = Annotation {
    name: "backend-protocol",
    aliases: &[],
    grammar: "`HTTP`, `HTTPS`, `GRPC` or `GRPCS`",
    doc: "Protocol of the endpoints. Default: `appProtocol` of the Service's port, else HTTP.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const LOAD_BALANCE: Annotation = Annotation {
    name: "load-balance",
    aliases: &[],
    grammar: "`round-robin` or `least-request`",
    doc: "Load balancing algorithm. Default: `defaults.loadBalancing`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const SERVICE_UPSTREAM: Annotation = Annotation {
    name: "service-upstream",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether requests go to the Service's address (`spec.clusterIP`) in place of its endpoints, for a mesh or kube-proxy to balance. A headless Service has none. Default false.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const HEALTH_CHECK: Annotation = Annotation {
    name: "health-check",
    aliases: &[],
    grammar: "`tcp`, a path (`/healthz`) or `path=/healthz,interval=5s,timeout=1s,healthy=1,unhealthy=2`",
    doc: "Active health checks of the endpoints; on an Ingress it takes precedence over the Service. The interval is at least 100ms; the timeout at most the interval, and 30s. Default: none.",
    support: Support::Own,
    on_service: true,
    security: Security::No,
};

pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    asked.backend.protocol = given.read(&BACKEND_PROTOCOL, asked, |value, _| protocol(value.text));
    asked.backend.balance = given.read(&LOAD_BALANCE, asked, balance);
    asked.backend.service_upstream =
        given.read(&SERVICE_UPSTREAM, asked, |value, _| boolean(value.text)).unwrap_or(false);
    asked.backend.health_check = given.read(&HEALTH_CHECK, asked, |value, asked| {
        let (check, told) = health_check(value.text)?;
        let warn = |message| Diagnostic::warning(Code::BoundedHealthCheck, value.origin, message);
        asked.diagnostics.extend(told.into_iter().map(warn));
        Ok(check)
    });
}

fn protocol(text: &str) -> Result<Protocol, Refusal> {
    match text.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "GRPC" => Ok(Protocol::H2c),
        "GRPCS" => Ok(Protocol::H2),
        _ => Err(Refusal(format!("`{text}` is not a supported protocol"))),
    }
}

fn balance(value: Value<'_>, asked: &mut Asked) -> Result<Balance, Refusal> {
    match value.text {
        "round_robin" | "round-robin" => Ok(Balance::RoundRobin),
        "least_request" | "least-request" => Ok(Balance::LeastRequest),
        "ewma" if value.dialect == Dialect::Nginx => {
            let message = "`ewma` is read as `least-request`, which also prefers endpoints that respond quickly";
            asked.diagnostics.push(Diagnostic::warning(Code::DifferentAnnotation, value.origin, message));
            Ok(Balance::LeastRequest)
        }
        text => Err(Refusal(format!("`{text}` is not a way to balance"))),
    }
}

/// A health check, and what of it is not kept as it is written.
fn health_check(text: &str) -> Result<(HealthCheck, Vec<String>), Refusal> {
    let mut check = HealthCheck::default();
    for field in text.split(',').map(str::trim) {
        match field.split_once('=') {
            None if field == "tcp" => check.http = None,
            _ if field.starts_with('/') => check.http = Some(http_probe(field)?),
            Some(("path", path)) => check.http = Some(http_probe(path)?),
            Some(("interval", value)) => check.interval = span(value)?,
            Some(("timeout", value)) => check.timeout = Some(span(value)?),
            Some(("healthy", value)) => check.healthy_threshold = count(value)?,
            Some(("unhealthy", value)) => check.unhealthy_threshold = count(value)?,
            _ => return Err(Refusal(format!("`{field}` is not part of a health check"))),
        }
    }
    Ok(check.bounded())
}

fn http_probe(path: &str) -> Result<HttpProbe, Refusal> {
    let is_good = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    let refusal = || Refusal(format!("`{path}` is not a path"));
    is_good.then(|| HttpProbe { path: Arc::from(path), host: None, statuses: Vec::new() }).ok_or_else(refusal)
}

fn span(text: &str) -> Result<Duration, Refusal> {
    let span = text.parse::<Duration>().map_err(|error| Refusal(error.to_string()))?;
    if span.0.is_zero() { Err(Refusal(format!("`{text}` is no time at all"))) } else { Ok(span) }
}

fn count(text: &str) -> Result<u32, Refusal> {
    let refusal = || Refusal(format!("`{text}` is not a number of probes"));
    text.parse::<u32>().ok().filter(|count| *count > 0).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_may_begin_with_its_path() {
        assert_eq!(health_check("/x,interval=5s").unwrap(), health_check("path=/x, interval=5s").unwrap());
        assert_eq!(health_check("/x?a=b").unwrap().0.http, http_probe("/x?a=b").ok());
        assert_eq!(health_check("tcp").unwrap().0.http, None);
    }

    #[test]
    fn a_health_check_with_a_wrong_part_is_refused() {
        for text in ["", "udp", "path=x", "timeout=0s", "healthy=0", "unhealthy=-1", "/a b", "tcp,interval=5"] {
            assert!(health_check(text).is_err(), "{text}");
        }
    }
}
