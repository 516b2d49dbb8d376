//! Protocol, balancing and health checks of backends.

use std::sync::Arc;

use super::{Annotation, Dialect, Reading, Refusal, Support, Value, parse_bool};
use crate::diagnostic::Diagnostic;
use crate::model::{Balance, HealthCheck, Probe, Protocol};
use crate::quantity::Duration;
use crate::translate::health::{self, Timing};

pub(crate) const BACKEND_PROTOCOL: Annotation = Annotation {
    name: "backend-protocol",
    aliases: &[],
    grammar: "`HTTP`, `HTTPS`, `GRPC` or `GRPCS`",
    doc: "The protocol that the endpoints speak. Default: `appProtocol` of the Service's port, else HTTP.",
    support: Support::Both,
    on_service: false,
    protects: false,
    read: |value, reading| {
        reading.overrides.protocol = Some(match value.text.to_ascii_uppercase().as_str() {
            "HTTP" => Protocol::Http,
            "HTTPS" => Protocol::Https,
            "GRPC" => Protocol::H2c,
            "GRPCS" => Protocol::H2,
            _ => return Err(Refusal(format!("`{}` is not a supported protocol", value.text))),
        });
        Ok(())
    },
};

pub(crate) const LOAD_BALANCE: Annotation = Annotation {
    name: "load-balance",
    aliases: &[],
    grammar: "`round-robin` or `least-request`",
    doc: "How an endpoint is picked. Default: `defaults.loadBalancing`.",
    support: Support::Both,
    on_service: false,
    protects: false,
    read: |value, reading| {
        reading.overrides.balance = Some(match value.text {
            "round_robin" | "round-robin" => Balance::RoundRobin,
            "least_request" | "least-request" => Balance::LeastRequest,
            "ewma" if value.dialect == Dialect::Nginx => {
                warn_of_ewma(value, reading);
                Balance::LeastRequest
            }
            _ => return Err(Refusal(format!("`{}` is not a way to balance", value.text))),
        });
        Ok(())
    },
};

pub(crate) const SERVICE_UPSTREAM: Annotation = Annotation {
    name: "service-upstream",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether requests go to the Service's address (`spec.clusterIP`) in place of its endpoints, for a mesh or kube-proxy to balance. A headless Service has none. Default false.",
    support: Support::Both,
    on_service: false,
    protects: false,
    read: |value, reading| {
        reading.overrides.service_upstream = parse_bool(value.text)?;
        Ok(())
    },
};

pub(crate) const HEALTH_CHECK: Annotation = Annotation {
    name: "health-check",
    aliases: &[],
    grammar: "`tcp`, a path (`/healthz`) or `path=/healthz,interval=5s,timeout=1s,healthy=1,unhealthy=2`",
    doc: "Active health checks of the endpoints; that of an Ingress comes before that of the Service. The interval is at least 100ms; the timeout at most the interval, and 30s. Default: none.",
    support: Support::Own,
    on_service: true,
    protects: false,
    read: |value, reading| {
        let (check, told) = health_check(value.text)?;
        let warn = |message| Diagnostic::warning("BoundedHealthCheck", value.origin, message);
        reading.diagnostics.extend(told.into_iter().map(warn));
        reading.overrides.health_check = Some(check);
        Ok(())
    },
};

fn warn_of_ewma(value: &Value<'_>, reading: &mut Reading) {
    let message = "`ewma` is read as `least-request`, which also prefers endpoints that answer quickly";
    reading.diagnostics.push(Diagnostic::warning("DifferentAnnotation", value.origin, message));
}

/// A health check, and what of it is not kept as it is written.
fn health_check(text: &str) -> Result<(HealthCheck, Vec<String>), Refusal> {
    let (mut probe, mut interval, mut timeout) = (Probe::Tcp, None, None);
    let (mut healthy_threshold, mut unhealthy_threshold) = (1, 2);
    for field in text.split(',').map(str::trim) {
        match field.split_once('=') {
            None if field == "tcp" => probe = Probe::Tcp,
            _ if field.starts_with('/') => probe = http_probe(field)?,
            Some(("path", path)) => probe = http_probe(path)?,
            Some(("interval", value)) => interval = Some(span(value)?),
            Some(("timeout", value)) => timeout = Some(span(value)?),
            Some(("healthy", value)) => healthy_threshold = count(value)?,
            Some(("unhealthy", value)) => unhealthy_threshold = count(value)?,
            _ => return Err(Refusal(format!("`{field}` is not part of a health check"))),
        }
    }
    let Timing { interval, timeout, told } = health::timing(interval, timeout);
    Ok((HealthCheck { probe, interval, timeout, healthy_threshold, unhealthy_threshold }, told))
}

fn http_probe(path: &str) -> Result<Probe, Refusal> {
    let is_good = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    let refusal = || Refusal(format!("`{path}` is not a path"));
    is_good.then(|| Probe::Http { path: Arc::from(path), host: None, statuses: Vec::new() }).ok_or_else(refusal)
}

fn span(text: &str) -> Result<std::time::Duration, Refusal> {
    let span = text.parse::<Duration>().map_err(|error| Refusal(error.to_string()))?.0;
    if span.is_zero() { Err(Refusal(format!("`{text}` is no time at all"))) } else { Ok(span) }
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
        assert_eq!(health_check("/x?a=b").unwrap().0.probe, http_probe("/x?a=b").unwrap());
        assert_eq!(health_check("tcp").unwrap().0.probe, Probe::Tcp);
    }

    #[test]
    fn a_health_check_with_a_wrong_part_is_refused() {
        for text in ["", "udp", "path=x", "timeout=0s", "healthy=0", "unhealthy=-1", "/a b", "tcp,interval=5"] {
            assert!(health_check(text).is_err(), "{text}");
        }
    }
}
