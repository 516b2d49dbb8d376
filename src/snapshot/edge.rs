//! Edge settings, ready for use.

pub(crate) mod claims;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use http::HeaderValue;

use self::claims::Claims;
use crate::capacity;
use crate::edge::{self, Limits};

/// Settings of the edge for every request: [`crate::edge::Edge`], with headers and their names compiled.
#[derive(Clone, Debug)]
pub struct Edge {
    pub settings: edge::Edge,
    pub server_header: Option<HeaderValue>,
    pub claims: Arc<Claims>,
    pub loop_id: HeaderValue,
}

// === impl Edge ===

/// What is not compiled is as it is written.
impl Deref for Edge {
    type Target = edge::Edge;

    fn deref(&self) -> &edge::Edge {
        &self.settings
    }
}

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
