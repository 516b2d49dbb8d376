//! Where clients come in, and what they meet there.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::Certificate;
use crate::listener::{ListenerId, ListenerProtocol, Serves, TlsSettings};
use crate::origin::Origin;

/// A socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name.
    pub id: ListenerId,
    /// Who wants it.
    pub origin: Origin,
    /// Where it listens; port 0: the system chooses.
    pub address: SocketAddr,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// How TLS is spoken, where it is.
    pub tls: Arc<TlsSettings>,
    /// What is presented to clients that name no known host; `None`: the model's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Arc<Certificate>>,
    /// Which hosts, routes and certificates it serves.
    pub serves: Serves,
}
