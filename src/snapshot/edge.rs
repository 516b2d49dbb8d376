//! Edge settings, ready for use.

pub(crate) mod claims;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use self::claims::Claims;
use crate::capacity::Limits;

/// What holds for every request. See [`crate::model::Edge`] for what each means.
#[derive(Clone, Debug)]
pub struct Edge {
    pub trusted_proxies: Vec<IpNet>,
    pub server_header: Option<HeaderValue>,
    pub x_forwarded: bool,
    pub forwarded_rfc7239: bool,
    pub request_id: bool,
    pub max_header_bytes: usize,
    pub max_header_count: usize,
    pub max_uri_bytes: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub keep_alive_timeout: Duration,
    pub send_timeout: Duration,
    pub keep_alive_requests: Option<u32>,
    pub max_connections: usize,
    pub max_requests: usize,
    pub reserve: usize,
    pub max_source_connections: Option<usize>,
    pub memory: Option<u64>,
    pub h2_stalled: u64,
    pub h2_max_streams: u32,
    pub h2_window: u32,
    pub preserve_header_case: bool,
    pub claims: Arc<Claims>,
    pub loop_id: HeaderValue,
    pub max_hops: u32,
}

// === impl Edge ===

impl Edge {
    /// How much of what all requests need there may be, and one may take.
    pub fn capacity(&self) -> Limits {
        Limits { reserve: self.reserve, connections: self.max_connections, requests: self.max_requests }
    }

    /// Whether a peer's forwarded headers are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}
