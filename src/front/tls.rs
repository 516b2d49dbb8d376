//! TLS of a listener: versions, application protocols, and the certificate for each handshake.
//!
//! The certificate is looked up in the snapshot that is current when the handshake happens, so a swap changes the next
//! handshake and no open connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::listener::{Alpn, TlsVersion};
use crate::snapshot::Snapshot;
use crate::snapshot::certificates::ServedCertificate;

/// Sessions of TLS 1.2 clients without tickets that can be resumed, for each listener.
const CACHED_SESSIONS: usize = 16 * 1024;

/// TLS settings of a listener.
#[derive(Clone, Debug)]
pub(crate) struct TlsPolicy {
    /// Protocols that are offered, in order of preference.
    pub alpn: Box<[Alpn]>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
    /// What clients get that name no known host; `None`: the snapshot's default.
    /// May be replaced while the listener runs.
    pub certificate: Arc<ArcSwapOption<ServedCertificate>>,
    /// Time for the whole handshake, from the connection's start.
    pub handshake_timeout: Duration,
}

/// What handshakes of a listener need.
pub(super) struct TlsListener {
    acceptor: Acceptor,
    pub(super) handshake_timeout: Duration,
}

/// Looks certificates up in the current snapshot.
#[derive(Debug)]
struct CurrentCertificates {
    snapshot: Arc<ArcSwap<Snapshot>>,
    listener_default: Arc<ArcSwapOption<ServedCertificate>>,
}

// === impl TlsPolicy ===

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            alpn: [Alpn::H2, Alpn::Http11].into(),
            min_version: TlsVersion::default(),
            certificate: Arc::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

// === impl TlsListener ===

impl TlsListener {
    /// Makes the listener's configuration.
    ///
    /// # Errors
    /// The random generator fails, from which ticket keys come.
    pub(super) fn new(policy: &TlsPolicy, snapshot: Arc<ArcSwap<Snapshot>>) -> Result<Self, rustls::Error> {
        let certificates = CurrentCertificates { snapshot, listener_default: policy.certificate.clone() };
        let config = server_config(policy, Arc::new(certificates))?;
        Ok(Self {
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            handshake_timeout: policy.handshake_timeout,
        })
    }

    /// The configuration for a server name: one for all, since hosts differ in their certificates only.
    pub(super) fn choose(&self, _server_name: Option<&str>) -> &Acceptor {
        &self.acceptor
    }
}

fn server_config(policy: &TlsPolicy, certificates: Arc<CurrentCertificates>) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match policy.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = policy.alpn.iter().map(|protocol| protocol.as_str().as_bytes().to_vec()).collect();
    config.session_storage = ServerSessionMemoryCache::new(CACHED_SESSIONS);
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// The server name as certificates are looked up: lower case, without trailing dot.
pub(super) fn canonical_server_name(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

// === impl CurrentCertificates ===

impl ResolvesServerCert for CurrentCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.snapshot.load();
        let name = hello.server_name().map(canonical_server_name);
        let of_listener = self.listener_default.load();
        let served = snapshot.certificates.find_or(name.as_deref(), of_listener.as_ref());
        Some(served.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_are_compared_in_one_form() {
        assert_eq!(canonical_server_name("A.Example."), "a.example");
        assert!(matches!(canonical_server_name("a.example"), Cow::Borrowed("a.example")));
    }
}
