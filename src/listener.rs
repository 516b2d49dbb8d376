//! What a listener is: its name, what is spoken on it, and what it serves.
//!
//! A leaf module: the conf writes these words, model and snapshot have them, the front acts on them.
//! Where a listener may be or do more one day, that is a further variant: the compiler names every place to fill.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which listener: its name, unique in the process, which logs and metrics have too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListenerId(Arc<str>);

/// Which hosts, routes and certificates a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Those that all listeners of the conf share.
    Common,
}

/// TLS settings of a listener. Model, snapshot and front point to one of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSettings {
    /// Protocols offered by ALPN, in order of preference.
    pub alpn: Box<[Alpn]>,
    /// Minimum version.
    pub min_version: TlsVersion,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
    /// Timeout of the handshake, from accept.
    #[serde(skip)]
    pub handshake_timeout: Duration,
}

/// Whether clients are asked for a certificate in the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not.
    #[default]
    Unasked,
}

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// Cleartext HTTP: HTTP/1.1, and HTTP/2 with prior knowledge, detected by a connection's first bytes.
    Http,
    /// Cleartext HTTP/1.1 only.
    Http1,
    /// Cleartext HTTP/2 with prior knowledge only.
    H2c,
    /// HTTP over TLS.
    Https,
}

/// A protocol negotiated in TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3, RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

// === impl ListenerId ===

impl ListenerId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, to be shared.
    pub fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl From<&str> for ListenerId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl TlsSettings ===

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            alpn: [Alpn::H2, Alpn::Http11].into(),
            min_version: TlsVersion::default(),
            client_certificates: ClientCertificates::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

// === impl ListenerProtocol ===

impl ListenerProtocol {
    /// Whether it is spoken over TLS.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Http | Self::Http1 | Self::H2c => false,
            Self::Https => true,
        }
    }

    /// The scheme of URLs that lead to it.
    pub fn scheme(self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }
}

// === impl Alpn ===

impl Alpn {
    /// The name in the TLS handshake.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}
