//! Backends: where requests go.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::origin::Origin;
use crate::upstream::UpstreamConfig;

/// Names a backend. A pointer: a name stands at many places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(Arc<BackendName>);

/// Name of a backend.
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

/// A backend: protocol, load balancing, health checks. Its endpoints are kept apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Which one.
    pub id: BackendId,
    /// The Service or conf upstream.
    pub origin: Origin,
    /// Its settings: the ones that its upstream has while serving.
    #[serde(flatten)]
    config: Arc<UpstreamConfig>,
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

// === impl Backend ===

impl Backend {
    /// A backend with these settings.
    pub fn new(id: BackendId, origin: Origin, config: UpstreamConfig) -> Self {
        Self { id, origin, config: config.shared() }
    }

    /// Its settings, to be shared.
    pub fn config(&self) -> &Arc<UpstreamConfig> {
        &self.config
    }
}

/// A backend is its settings under a name.
impl Deref for Backend {
    type Target = UpstreamConfig;

    fn deref(&self) -> &UpstreamConfig {
        &self.config
    }
}
