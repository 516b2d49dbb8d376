//! Upstreams and their endpoints while serving: who may get a request, who is healthy, how busy each is.
//!
//! Lives outside the snapshot's routes: a route points to an [`Upstream`], whose configuration and endpoints
//! are swapped under it, so that endpoint churn touches no route. Two tasks work beside the requests:
//! [`prober::run`] probes endpoints, [`resolver::run`] turns DNS names into endpoints.
//! It must not know Kubernetes, the model or how requests are sent.

mod balance;
mod health;
mod hold;
mod pick;
mod probe;
pub(crate) mod prober;
pub(crate) mod resolver;
mod shared;
mod state;
mod strain;
mod table;
mod upstream;
mod waiting;

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
    /// How TLS is made: `None` for protocols in clear; without settings, unverified.
    pub fn effective_tls(&self) -> Option<TlsConfig> {
        self.protocol.is_tls().then(|| self.tls.clone().unwrap_or_default())
    }
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
