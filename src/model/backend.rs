//! Backends: where requests go, how, and how the endpoint is picked.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::origin::Origin;

/// Names a backend. A pointer: a name stands at many places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(Arc<BackendName>);

/// What a backend is called.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendName {
    /// A port of a Kubernetes Service; the port as the route names it (`80` or `http`).
    Service {
        /// Namespace of the Service.
        namespace: Arc<str>,
        /// Name of the Service.
        name: Arc<str>,
        /// Number or name of `Service.spec.ports[]`.
        port: Arc<str>,
        /// What an Ingress asks of it that others do not (`h2c`, `least-request`), so that two may differ; else empty.
        variant: Arc<str>,
    },
    /// An upstream of the conf.
    Upstream(Arc<str>),
}

/// How a backend is spoken to and balanced. Its endpoints are kept apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Which one.
    pub id: BackendId,
    /// The Service or conf upstream.
    pub origin: Origin,
    /// The protocol that its endpoints speak.
    pub protocol: Protocol,
    /// How TLS to it is made, for [`Protocol::Https`] and [`Protocol::H2`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<UpstreamTls>>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Active health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheck>>,
    /// The DNS name that stands for the endpoints (ExternalName), resolved while serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalName>,
    /// Whether it is known to be unusable (no such Service or port): requests are answered `invalid_backend`.
    pub is_invalid: bool,
}

/// Protocol of the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in clear with prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

/// TLS to a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Whether the certificate must verify.
    pub verify: bool,
    /// Server name sent and verified; `None`: the request's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Arc<str>>,
    /// Authorities to verify against; `None`: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaBundle>,
}

/// Certificates of authorities, DER.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle(pub Arc<[Vec<u8>]>);

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// The less busy of two random ones.
    LeastRequest,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Time between two probes of an endpoint.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Successes in a row that make it healthy.
    pub healthy_threshold: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// A TCP (and, for TLS backends, TLS) connection.
    Tcp,
    /// A GET that must be answered with one of the statuses.
    Http {
        /// Path and query.
        path: Arc<str>,
        /// Host header; `None`: the endpoint's address.
        host: Option<Arc<str>>,
        /// Accepted statuses; empty: 200 to 399.
        statuses: Vec<u16>,
    },
}

/// A DNS name in place of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ExternalName {
    /// The name to resolve.
    pub name: Arc<str>,
    /// The port at every address.
    pub port: u16,
}

/// The endpoints of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSet {
    /// Those that may get requests, sorted by address, each once.
    pub endpoints: Box<[Endpoint]>,
}

/// One address that may get requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Share among the endpoints, 1 to 65535.
    pub weight: u16,
    /// Zone, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
}

// === impl BackendId ===

impl BackendId {
    /// Names a port of a Service.
    pub fn service(namespace: &str, name: &str, port: &str) -> Self {
        Self::service_variant(namespace, name, port, "")
    }

    /// Names a port of a Service under settings of its own; an empty variant is the Service's own settings.
    pub fn service_variant(namespace: &str, name: &str, port: &str, variant: &str) -> Self {
        let [namespace, name, port, variant] = [namespace, name, port, variant].map(Arc::from);
        BackendName::Service { namespace, name, port, variant }.into()
    }

    /// Names an upstream of the conf.
    pub fn upstream(name: &str) -> Self {
        BackendName::Upstream(name.into()).into()
    }

    /// The Service's or upstream's own name.
    pub fn name(&self) -> &Arc<str> {
        match &**self {
            BackendName::Service { name, .. } | BackendName::Upstream(name) => name,
        }
    }

    /// The Service's namespace; an upstream of the conf has none.
    pub fn namespace(&self) -> Option<&str> {
        match &**self {
            BackendName::Service { namespace, .. } => Some(namespace),
            BackendName::Upstream(_) => None,
        }
    }
}

impl From<BackendName> for BackendId {
    fn from(name: BackendName) -> Self {
        Self(Arc::new(name))
    }
}

impl Deref for BackendId {
    type Target = BackendName;

    fn deref(&self) -> &BackendName {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &**self {
            BackendName::Service { namespace, name, port, variant } if variant.is_empty() => {
                write!(f, "{namespace}/{name}:{port}")
            }
            BackendName::Service { namespace, name, port, variant } => {
                write!(f, "{namespace}/{name}:{port}+{variant}")
            }
            BackendName::Upstream(name) => write!(f, "upstream/{name}"),
        }
    }
}

impl Serialize for BackendId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl CaBundle ===

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaBundle({} certificates)", self.0.len())
    }
}

impl Serialize for CaBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} certificates", self.0.len()))
    }
}
