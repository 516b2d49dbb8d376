//! Sockets that clients connect to, as the conf writes them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listener::{Alpn, ListenerProtocol, TlsVersion};

/// A socket that clients connect to. Listeners start, change and stop while the process runs: those whose address
/// stays lose no connection, and connections of those that go end after their current request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListenerSpec {
    /// Name for logs and metrics; unique.
    pub name: String,
    /// `IP:port`; port 0 lets the system choose. One that cannot be had keeps a process from starting; while it runs,
    /// that is the finding `ListenerNotBound`, and it is tried again.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// TLS, for `https` only.
    #[serde(default)]
    pub tls: Option<TlsSpec>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TlsSpec {
    /// PEM chain for clients that name no known host. Read again when it changes. Default: self-signed, made at start.
    pub certificate_file: Option<String>,
    /// PEM key of it; read again with it.
    pub key_file: Option<String>,
    /// Protocols offered, in order of preference. Default `h2`, `http/1.1`.
    pub alpn: Option<Vec<Alpn>>,
    /// Oldest version of TLS that is accepted. Default `1.2`.
    pub min_version: TlsVersion,
    /// What these files hold; read by the source.
    #[serde(skip)]
    #[schemars(skip)]
    pub pem: Option<PemFiles>,
}

/// Contents of a certificate's files. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// The chain.
    pub chain: Arc<[u8]>,
    /// The private key.
    pub key: Arc<[u8]>,
}

/// The listeners of a conf that names none.
pub(super) fn default() -> Vec<ListenerSpec> {
    let listener = |name: &str, port, protocol| ListenerSpec {
        name: name.to_owned(),
        address: SocketAddr::from(([0, 0, 0, 0], port)),
        protocol,
        tls: None,
    };
    vec![listener("http", 8080, ListenerProtocol::Http), listener("https", 8443, ListenerProtocol::Https)]
}

// === impl TlsSpec ===

impl TlsSpec {
    /// The files of its certificate: chain and key.
    pub fn files(&self) -> Option<(&str, &str)> {
        self.certificate_file.as_deref().zip(self.key_file.as_deref())
    }
}

// === impl PemFiles ===

impl fmt::Debug for PemFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemFiles").finish_non_exhaustive()
    }
}
