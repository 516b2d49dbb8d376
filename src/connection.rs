//! What is known of a client's connection, carried to every request on it.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::protocols::Digest;
use tidegate_plugin::TlsFacts;

/// Facts of one connection.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConnectionInfo {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub listener: Arc<str>,
    pub is_tls: bool,
    pub tls: Option<Arc<TlsFacts>>,
}

// === impl ConnectionInfo ===

impl ConnectionInfo {
    /// The facts that the front has put into the connection's digest.
    pub fn of(digest: &Digest) -> Option<&Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// A request's head is complete.
    pub fn head_arrived(&self) {}

    /// A request's body is expected.
    pub fn body_started(&self) {}

    /// A request is finished; the connection may be idle now.
    pub fn request_done(&self) {}
}
