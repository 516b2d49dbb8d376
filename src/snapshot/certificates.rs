//! From server name to certificate.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::host_map::HostMap;
use crate::origin::Origin;

/// Certificates by host, and what is presented to everybody else.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// By host.
    pub hosts: HostMap<Arc<ServedCertificate>>,
    /// For clients that name no known host, or none at all.
    pub default: Arc<ServedCertificate>,
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
    pub dns_names: Vec<String>,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
}

// === impl Certificates ===

impl Certificates {
    /// The certificate for a server name, canonical; `None`: the client sent none.
    pub fn find(&self, server_name: Option<&str>) -> &Arc<ServedCertificate> {
        self.find_or(server_name, None)
    }

    /// The certificate for a canonical server name: its host's, else the listener's own, else the default.
    pub fn find_or<'c>(
        &'c self,
        server_name: Option<&str>,
        of_listener: Option<&'c Arc<ServedCertificate>>,
    ) -> &'c Arc<ServedCertificate> {
        server_name.and_then(|name| self.hosts.find(name)).or(of_listener).unwrap_or(&self.default)
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
