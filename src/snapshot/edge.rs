//! Edge settings, ready for use.

pub(crate) mod claims;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;

use self::claims::Claims;
use crate::capacity;
use crate::edge::{Headers, Limits};

/// Settings of the edge for every request: [`crate::edge::Edge`], with headers and their names compiled.
#[derive(Clone, Debug)]
pub struct Edge {
    pub trusted_proxies: Vec<IpNet>,
    pub limits: Limits,
    pub headers: Headers,
    pub server_header: Option<HeaderValue>,
    pub claims: Arc<Claims>,
    pub loop_id: HeaderValue,
}

// === impl Edge ===

impl Edge {
    /// How much of what all requests need there may be, and one may take.
    pub fn capacity(&self) -> capacity::Limits {
        let Limits { reserve, connections, requests, .. } = self.limits;
        capacity::Limits { reserve, connections, requests }
    }

    /// Whether a peer's forwarded headers are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}
