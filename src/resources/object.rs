//! Objects as they are kept: of each kind only what translation reads.
//!
//! A cluster's objects are read by the tens of thousands and kept for good, and most of what they say matters to
//! others. Whoever delivers objects reads them in their API's types, which know every field, and brings them into
//! these with [`Object`]'s constructors. It must not know what is right: what is written is kept, unless it cannot
//! mean anything.

mod convert;
mod secret_data;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// `networking.k8s.io/v1` Ingress.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// `metadata.generation`; 0: there is none, as in most files.
    #[serde(default)]
    pub generation: i64,
    /// `metadata.annotations`.
    pub annotations: Annotations,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<Box<IngressBackend>>,
    /// `spec.rules`.
    pub rules: Box<[IngressRule]>,
    /// `spec.tls`.
    pub tls: Box<[IngressTls]>,
}

/// `spec.rules[]` of an Ingress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressRule {
    /// The host; empty: every one.
    pub host: Arc<str>,
    /// `http.paths`.
    pub paths: Box<[IngressPath]>,
}

/// `http.paths[]` of a rule.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressPath {
    /// The path; may be empty.
    pub path: Arc<str>,
    /// `pathType`, as it is written.
    pub path_type: Arc<str>,
    /// Where requests go.
    pub backend: IngressBackend,
}

/// Where requests of an Ingress go.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressBackend {
    /// A Service, and its port by number or name; `None`: neither is given, or both are.
    Service {
        /// Name of the Service.
        name: Arc<str>,
        /// Number or name of the port.
        port: Option<Arc<str>>,
    },
    /// An object of another kind.
    Resource {
        /// Its kind.
        kind: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// Neither is given, or both are.
    Unclear,
}

/// `spec.tls[]` of an Ingress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressTls {
    /// The hosts.
    pub hosts: Box<[Arc<str>]>,
    /// Name of the Secret; may be empty.
    pub secret: Arc<str>,
}

/// `networking.k8s.io/v1` IngressClass.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressClass {
    /// `spec.controller`.
    pub controller: Option<Arc<str>>,
    /// Whether Ingresses without a class are of this one.
    pub is_default: bool,
}

/// `v1` Service.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `metadata.annotations`.
    pub annotations: Annotations,
    /// `spec.externalName`, for type ExternalName; may be empty.
    pub external_name: Option<Arc<str>>,
    /// `spec.clusterIP`, unless it is headless.
    pub cluster_ip: Option<IpAddr>,
    /// `spec.ports`.
    pub ports: Box<[ServicePort]>,
}

/// `spec.ports[]` of a Service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Number.
    pub port: i32,
    /// `protocol`.
    #[serde(default)]
    pub transport: Transport,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// `targetPort` of type ExternalName: elsewhere it is told by the endpoints.
    #[serde(default)]
    pub target: Option<TargetPort>,
}

/// `targetPort` of a Service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A name, or a number that is no port's.
    Name,
}

/// What carries a port's bytes. Ports are told apart by number and by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP, also where nothing is said.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// A word that the API does not know.
    Unknown,
}

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Name of the Service that it belongs to, from its label.
    pub service: Option<Arc<str>>,
    /// Ports.
    pub ports: Box<[EndpointPort]>,
    /// Endpoints with an address; none of a slice of names.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// A port of endpoints.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Number.
    pub port: u16,
    /// `protocol`.
    #[serde(default)]
    pub transport: Transport,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// The first address, which alone has a meaning.
    pub address: IpAddr,
    /// `conditions.ready`; it counts as true where nothing is said.
    pub is_ready: bool,
    /// Whether it ends, but still serves.
    pub is_draining: bool,
    /// Zone.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones`: names, separated by commas.
    pub for_zones: Option<Arc<str>>,
}

/// `v1` Endpoints.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `subsets`.
    pub subsets: Box<[EndpointSubset]>,
}

/// `subsets[]` of Endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct EndpointSubset {
    /// Ports.
    pub ports: Box<[EndpointPort]>,
    /// Addresses that are ready.
    pub addresses: Box<[IpAddr]>,
}

/// `v1` Secret. Its contents are never shown.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// `type`.
    pub kind: Option<Arc<str>>,
    /// `data`, decoded, with what `stringData` puts over it, in the order of the keys.
    #[serde(with = "secret_data")]
    pub data: Box<[(Arc<str>, SharedBytes)]>,
}

/// The value of a Secret's key: who uses it shares it.
pub(crate) type SharedBytes = Arc<[u8]>;

/// `v1` ConfigMap, of which nothing is read yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConfigMap;

/// `v1` Namespace, of which nothing is read yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Namespace;

/// Annotations in the order of their keys.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations(Box<[(Arc<str>, Box<str>)]>);

// === impl Secret ===

impl Secret {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&SharedBytes> {
        self.data.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

// === impl Transport ===

impl Transport {
    /// Reads `protocol`; files may have it in any case.
    pub fn of(text: Option<&str>) -> Self {
        let known = [("", Self::Tcp), ("TCP", Self::Tcp), ("UDP", Self::Udp), ("SCTP", Self::Sctp)];
        let text = text.unwrap_or_default();
        let found = known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map_or(Self::Unknown, |(_, transport)| transport)
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Unknown => "of an unknown protocol",
        }
    }
}

// === impl Annotations ===

impl Annotations {
    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
