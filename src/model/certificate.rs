//! Certificates with their keys, as bytes: whether they fit each other is the compiler's question.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::origin::Origin;

/// A certificate chain and its key, as given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// `namespace/secret`, or the file's path.
    pub name: Arc<str>,
    /// The Secret or conf field.
    pub origin: Origin,
    /// PEM of the chain, leaf first.
    #[serde(skip)]
    pub chain_pem: Arc<[u8]>,
    /// PEM of the private key.
    #[serde(skip)]
    pub key_pem: SecretBytes,
    /// Whether it is known to be unusable: the last good one of its name stays, else the default is presented.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_invalid: bool,
}

/// A `tls` entry that counts for a host, with the certificate that its Secret holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The `tls` entry; its namespace is that of the claim.
    pub origin: Origin,
    /// Whether the entry names the host by a wildcard only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_wildcard: bool,
    /// What it wants to be presented.
    pub certificate: Arc<Certificate>,
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Arc<[u8]>);

// === impl SecretBytes ===

impl SecretBytes {
    /// Wraps bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes; the one place where they can be read.
    pub fn expose(&self) -> &Arc<[u8]> {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}
