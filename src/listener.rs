//! What is spoken on a listener: protocols, and versions of TLS.
//!
//! A leaf module: the conf writes these words, the front acts on them.

use schemars::JsonSchema;
use serde::Deserialize;

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3, RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
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
