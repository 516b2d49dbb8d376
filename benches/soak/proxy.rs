//! The proxy that the soak is about.

use std::net::SocketAddr;

/// The host that its routes are for.
pub(crate) const HOST: &str = "soak.test";

/// Where the proxy listens.
pub(crate) struct Proxy {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
}
