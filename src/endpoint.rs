//! Upstreams and their endpoints while serving: who may get a request, who is healthy, how busy each is.
//!
//! Lives outside the snapshot's routes: a route points to an [`Upstream`], whose configuration and endpoints
//! are swapped under it, so that endpoint churn touches no route. Two tasks work beside the requests:
//! [`health::run`] probes endpoints, [`resolver::run`] turns DNS names into endpoints.
//! It must not know Kubernetes, the model or how requests are sent.

mod balance;
pub(crate) mod health;
mod hold;
mod pick;
mod probe;
pub(crate) mod resolver;
mod state;
mod table;
mod upstream;
mod waiting;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use hold::Hold;
pub use pick::Tried;
pub(crate) use pick::{NoPick, Pick};
pub(crate) use state::State;
pub use table::Table;
pub(crate) use upstream::{EndpointView, Upstream};

/// Settings of an upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamConfig {
    /// Protocol of its endpoints.
    pub protocol: Protocol,
    /// TLS to it.
    pub tls: Option<TlsConfig>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Active health checks.
    pub health_check: Option<HealthCheckConfig>,
    /// DNS name and port in place of endpoints.
    pub external: Option<(Arc<str>, u16)>,
    /// Known to be unusable: answered `invalid_backend`.
    pub is_invalid: bool,
}

/// Protocol of endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    #[default]
    Http,
    Https,
    H2c,
    H2,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "documented at the model's type")]
pub enum Balance {
    #[default]
    RoundRobin,
    LeastRequest,
}

/// TLS to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    pub verify: bool,
    pub server_name: Option<Arc<str>>,
    /// DER certificates of authorities; `None`: the system's.
    pub ca: Option<Arc<[Vec<u8>]>>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheckConfig {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    Tcp,
    Http { path: Arc<str>, host: Option<Arc<str>>, statuses: Vec<u16> },
}

/// An address with its weight, as configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Address and port.
    pub address: SocketAddr,
    /// Share, at least 1.
    pub weight: u16,
}

// === impl UpstreamConfig ===

impl UpstreamConfig {
    /// Hashes what connections to an endpoint depend on: the protocol and, with TLS, authorities, verification
    /// and server name. Equal policies have equal keys, within one process and over restarts.
    ///
    /// Connection pools must keep connections of different keys apart: Pingora's own pool key knows neither
    /// authorities nor ALPN.
    pub fn group_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.protocol.hash(&mut hasher);
        self.effective_tls().hash(&mut hasher);
        hasher.finish()
    }

    /// How TLS is made: `None` for protocols in clear; without settings, unverified.
    pub fn effective_tls(&self) -> Option<TlsConfig> {
        self.protocol.is_tls().then(|| self.tls.clone().unwrap_or_default())
    }
    /// Forgets the upstream of that id; requests that hold it still end.
    pub fn remove(&self, _id: &str) {}
}

// === impl Protocol ===

impl Protocol {
    /// Whether its connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }

    /// Whether it is HTTP/2.
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_keys_differ_by_protocol_and_tls_policy_only() {
        let https = UpstreamConfig { protocol: Protocol::Https, ..UpstreamConfig::default() };
        let tls = |tls| UpstreamConfig { tls: Some(tls), ..https.clone() };
        let ca: Arc<[Vec<u8>]> = Arc::from(vec![vec![1]]);
        let keys = [
            UpstreamConfig::default().group_key(),
            UpstreamConfig { protocol: Protocol::H2c, ..UpstreamConfig::default() }.group_key(),
            UpstreamConfig { protocol: Protocol::H2, ..UpstreamConfig::default() }.group_key(),
            https.group_key(),
            tls(TlsConfig { verify: true, ..TlsConfig::default() }).group_key(),
            tls(TlsConfig { server_name: Some("a.test".into()), ..TlsConfig::default() }).group_key(),
            tls(TlsConfig { ca: Some(ca), ..TlsConfig::default() }).group_key(),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "key {i} must be new");
        }
        let other = UpstreamConfig { balance: Balance::LeastRequest, is_invalid: true, ..https.clone() };
        assert_eq!(other.group_key(), https.group_key(), "balancing has no part in it");
        let clear = UpstreamConfig { tls: Some(TlsConfig::default()), ..UpstreamConfig::default() };
        assert_eq!(clear.group_key(), UpstreamConfig::default().group_key(), "TLS settings of clear text are moot");
    }
}
