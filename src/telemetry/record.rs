//! How one request ended: what the access log and the metrics are made of.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tidegate_plugin::{RouteFacts, TlsFacts};

use super::metrics::RouteMetrics;
use crate::reason::Reason;

/// One finished request.
#[expect(missing_docs, reason = "the names say it")]
pub struct RequestRecord<'a> {
    pub time: SystemTime,
    pub duration: Duration,
    pub method: &'a str,
    pub scheme: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub protocol: &'static str,
    pub status: u16,
    pub reason: Reason,
    pub route: Option<&'a RouteFacts>,
    pub metrics: Option<&'a RouteMetrics>,
    pub client: IpAddr,
    pub peer: SocketAddr,
    pub listener: &'a str,
    pub request_id: &'a str,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub tries: &'a [Try],
    pub upstream: Option<&'a str>,
    pub tls: Option<&'a TlsFacts>,
    pub error: Option<&'a str>,
    pub identity: Option<&'a str>,
}

/// One try at an endpoint.
#[expect(missing_docs, reason = "the names say it")]
pub struct Try {
    pub address: SocketAddr,
    pub connect: Option<Duration>,
    pub header: Option<Duration>,
    pub response: Option<Duration>,
    pub is_reused: bool,
    pub outcome: Reason,
}

/// Who takes records. Must not block.
pub trait Recorder: Send + Sync {
    /// Takes one record.
    fn record(&self, record: &RequestRecord<'_>);
}
