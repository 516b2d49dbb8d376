//! Listeners, as the conf writes them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listener::{Alpn, ListenerProtocol, TlsVersion};

/// A listener. Listeners start, change and stop without a restart: those that keep their address lose no connection,
/// and connections of a removed one are drained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListenerSpec {
    /// Name for logs and metrics; unique.
    pub name: String,
    /// `IP:port`; port 0 lets the system choose. If it cannot be bound, a process does not start; on a change, there is
    /// the finding `ListenerNotBound`, and binding is retried.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// TLS settings, for `https` only.
    #[serde(default)]
    pub tls: Option<TlsSpec>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TlsSpec {
    /// PEM file of the certificate chain for clients that send no known server name (SNI). Read again when it changes.
    /// Default: self-signed, generated at start.
    pub certificate_file: Option<String>,
    /// PEM file of the private key; read again with it.
    pub key_file: Option<String>,
    /// Protocols offered by ALPN, in order of preference. Default `h2`, `http/1.1`.
    pub alpn: Option<Vec<Alpn>>,
    /// Minimum version of TLS. Default `1.2`.
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
