//! Where clients come in: what the front listens on, and what is met there.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::certificates::ServedCertificate;
use crate::listener::{ListenerId, ListenerProtocol, Serves, TlsSettings};
use crate::origin::Origin;

/// All of them, in order of precedence.
pub(crate) type Listeners = Arc<[Arc<Listener>]>;

/// A listener as it is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// Its name.
    pub id: ListenerId,
    /// Who wants it.
    pub origin: Origin,
    /// Address; port 0: the system chooses. `[::]` takes IPv4 as well, every other IPv6 address IPv6 only.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// How TLS is spoken, where it is.
    pub tls: Arc<TlsSettings>,
    /// What is presented to clients that name no known host; `None`: the default of what it serves.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// Which hosts, routes and certificates it serves.
    pub serves: Serves,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} on {})", self.id, self.protocol.scheme(), self.address)
    }
}
