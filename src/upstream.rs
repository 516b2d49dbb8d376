//! How upstreams are spoken to, balanced and checked.
//!
//! A leaf module. The conf writes these types, the model and the endpoint table share one [`UpstreamConfig`].

mod check;

use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use check::{HealthCheck, HttpProbe};

/// Settings of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamConfig {
    /// The protocol that its endpoints speak.
    pub protocol: Protocol,
    /// How TLS to it is made, for [`Protocol::Https`] and [`Protocol::H2`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Active health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// The DNS name that stands for the endpoints, resolved while serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalName>,
    /// Whether it is known to be unusable (no such Service or port): requests are answered `invalid_backend`.
    pub is_invalid: bool,
}

/// Protocol of the endpoints of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Cleartext HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// Cleartext HTTP/2 with prior knowledge; gRPC.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

/// Load balancing algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// The endpoint with fewer active requests of two random ones.
    LeastRequest,
}

/// TLS to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
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
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CaBundle(pub Arc<[Vec<u8>]>);

/// A DNS name in place of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ExternalName {
    /// The name to resolve.
    pub name: Arc<str>,
    /// The port at every address.
    pub port: u16,
}

// === impl UpstreamConfig ===

impl UpstreamConfig {
    /// Puts it where many can point to it. Most upstreams have the default settings, and share them.
    pub fn shared(self) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<UpstreamConfig>> = LazyLock::new(Arc::default);
        if self == **DEFAULT { Arc::clone(&DEFAULT) } else { Arc::new(self) }
    }

    /// How TLS is made: `None` for protocols in clear; without settings, unverified.
    pub fn effective_tls(&self) -> Option<UpstreamTls> {
        self.protocol.is_tls().then(|| self.tls.clone().unwrap_or_default())
    }
}

// === impl Protocol ===

impl Protocol {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::H2 => "h2",
        }
    }

    /// Whether its connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }

    /// Whether it is HTTP/2.
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }
}

// === impl Balance ===

impl Balance {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastRequest => "least-request",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_conf() {
        for protocol in [Protocol::Http, Protocol::Https, Protocol::H2c, Protocol::H2] {
            assert_eq!(serde_json::json!(protocol), protocol.as_str());
        }
        for balance in [Balance::RoundRobin, Balance::LeastRequest] {
            assert_eq!(serde_json::json!(balance), balance.as_str());
        }
    }
}
