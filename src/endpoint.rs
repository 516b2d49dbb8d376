//! Upstreams and their endpoints while serving: who may get a request, who is healthy, how busy each is.
//!
//! Lives outside the snapshot's routes: a route points to an [`Upstream`], whose configuration and endpoints
//! are swapped under it, so that endpoint churn touches no route.
//! It must not know Kubernetes, the model or how requests are sent. (stub: replaced by the endpoint owner)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

/// Settings of an upstream.
#[derive(Clone, Debug, Default)]
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
#[expect(missing_docs, reason = "documented at the model's type")]
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
#[expect(missing_docs, reason = "documented at the model's type")]
pub struct TlsConfig {
    pub verify: bool,
    pub server_name: Option<Arc<str>>,
    /// DER certificates of authorities; `None`: the system's.
    pub ca: Option<Arc<[Vec<u8>]>>,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "documented at the model's type")]
pub struct HealthCheckConfig {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "documented at the model's type")]
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

/// One backend while serving.
#[derive(Debug)]
pub struct Upstream {
    id: Arc<str>,
    config: ArcSwap<UpstreamConfig>,
    addresses: ArcSwap<Vec<SocketAddr>>,
}

/// All upstreams, by id.
#[derive(Debug, Default)]
pub struct Table {}

/// Endpoints already tried by a request; they are passed over while others are there.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    addresses: Vec<SocketAddr>,
}

/// An endpoint picked for one try. Counts as in flight until dropped.
#[derive(Debug)]
pub struct Pick {
    address: SocketAddr,
}

/// Why no endpoint could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// There is none, or none that is ready.
    Empty,
    /// All were tried already.
    Exhausted,
}

impl Table {
    /// The upstream of that id; made, empty, when it is new.
    pub fn upstream(&self, id: &str) -> Arc<Upstream> {
        Arc::new(Upstream { id: id.into(), config: ArcSwap::default(), addresses: ArcSwap::default() })
    }
}

impl Upstream {
    /// `namespace/service:port` or `upstream/name`.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }
    /// Its settings now.
    pub fn config(&self) -> Arc<UpstreamConfig> {
        self.config.load_full()
    }
    /// Puts new settings in place.
    pub fn set_config(&self, config: UpstreamConfig) {
        self.config.store(Arc::new(config));
    }
    /// Puts new endpoints in place; those that stay keep their health and counters.
    pub fn set_endpoints(&self, addresses: &[Address]) {
        self.addresses.store(Arc::new(addresses.iter().map(|address| address.address).collect()));
    }
    /// Picks an endpoint for one try and marks it as tried.
    pub fn pick(&self, tried: &mut Tried) -> Result<Pick, NoPick> {
        let addresses = self.addresses.load();
        let next = addresses.iter().find(|address| !tried.addresses.contains(address));
        let address = *next.ok_or(if addresses.is_empty() { NoPick::Empty } else { NoPick::Exhausted })?;
        tried.addresses.push(address);
        Ok(Pick { address })
    }
}

impl Pick {
    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
