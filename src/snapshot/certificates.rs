//! From server name to certificate.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use serde::{Serialize, Serializer};

use super::host_map::HostMap;
use crate::host::{HostPattern, HostSet};
use crate::origin::Origin;

/// Certificates by host, and the default certificate.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// By host. Several: each for the names that it covers, the first one first. None: the default.
    pub hosts: HostMap<Arc<[Presented]>>,
    /// For clients that name no known host, or none at all.
    pub default: Arc<ServedCertificate>,
}

/// A certificate with the object that it is presented for.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The certificate.
    pub served: Arc<ServedCertificate>,
    /// The `tls` entry that named it.
    pub owner: Origin,
}

/// DNS names that a certificate is valid for. Whether it covers a name is decided here only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsNames {
    texts: Vec<String>,
    set: HostSet,
}

/// A certificate that is ready to be presented.
pub struct ServedCertificate {
    /// `namespace/secret`, the file's path, or `self-signed`.
    pub name: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// Chain and key, checked to belong together.
    pub key: Arc<CertifiedKey>,
    /// DNS names that it is valid for.
    pub dns_names: DnsNames,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
}

// === impl Certificates ===

impl Certificates {
    /// The certificate for a canonical server name: its host's, else the listener's own, else the default.
    pub fn find_or<'c>(
        &'c self,
        server_name: Option<&str>,
        of_listener: Option<&'c Arc<ServedCertificate>>,
    ) -> &'c Arc<ServedCertificate> {
        let owned = server_name.and_then(|name| self.presented(name)).map(|presented| &presented.served);
        owned.or(of_listener).unwrap_or(&self.default)
    }

    /// What is presented to a canonical server name because a `tls` entry says so.
    pub fn presented(&self, server_name: &str) -> Option<&Presented> {
        self.hosts.find(server_name)?.iter().find(|presented| presented.served.dns_names.contains(server_name))
    }

    /// All certificates with their hosts, without the default. Sorts: for display.
    pub fn iter(&self) -> impl Iterator<Item = (&HostPattern, &Presented)> {
        self.hosts.iter().flat_map(|(pattern, presented)| presented.iter().map(move |each| (pattern, each)))
    }
}

// === impl DnsNames ===

impl DnsNames {
    /// Whether they cover a canonical host.
    pub fn contains(&self, host: &str) -> bool {
        self.set.contains(host)
    }

    /// Whether they cover all that a pattern matches.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        self.set.covers(pattern)
    }

    /// Whether they cover anything that a pattern matches.
    pub fn touches(&self, pattern: &HostPattern) -> bool {
        self.set.touches(pattern)
    }

    /// The names as the certificate has them.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl From<Vec<String>> for DnsNames {
    fn from(texts: Vec<String>) -> Self {
        let set = texts.iter().filter_map(|name| HostPattern::parse(name).ok()).collect();
        Self { texts, set }
    }
}

impl Serialize for DnsNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts.serialize(serializer)
    }
}

// === impl ServedCertificate ===

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedCertificate")
            .field("name", &self.name)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
