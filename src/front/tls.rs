//! TLS of a listener: versions, application protocols, and the certificate for each handshake.
//!
//! The certificate is looked up in the snapshot that is current when the handshake happens, so a swap changes the next
//! handshake and no open connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::listener::{ClientCertificates, ListenerId, Serves, TlsSettings, TlsVersion};
use crate::snapshot::Snapshot;
use crate::snapshot::listener::Listener;

/// Sessions of TLS 1.2 clients without tickets that can be resumed, for each listener.
const CACHED_SESSIONS: usize = 16 * 1024;

/// What handshakes of a listener need. Clones share session tickets.
#[derive(Clone)]
pub(super) struct TlsListener {
    settings: Arc<TlsSettings>,
    serves: Serves,
    acceptor: Arc<Acceptor>,
    pub(super) handshake_timeout: Duration,
}

/// Looks certificates up in the current snapshot.
#[derive(Debug)]
struct CurrentCertificates {
    snapshot: Arc<ArcSwap<Snapshot>>,
    serves: Serves,
    listener: ListenerId,
}

// === impl TlsListener ===

impl TlsListener {
    /// Makes the listener's configuration.
    ///
    /// # Errors
    /// The random generator fails, from which ticket keys come.
    pub(super) fn new(listener: &Listener, snapshot: Arc<ArcSwap<Snapshot>>) -> Result<Self, rustls::Error> {
        let (settings, serves) = (Arc::clone(&listener.tls), listener.serves);
        let certificates = CurrentCertificates { snapshot, serves, listener: listener.id.clone() };
        let config = server_config(&settings, Arc::new(certificates))?;
        Ok(Self {
            acceptor: Arc::new(Acceptor::from_server_config(Arc::new(config))),
            handshake_timeout: settings.handshake_timeout,
            settings,
            serves,
        })
    }

    /// The same for what the listener has become, where that speaks TLS as before: sessions of clients can be resumed.
    pub(super) fn kept_for(&self, listener: &Listener) -> Option<Self> {
        (self.settings == listener.tls && self.serves == listener.serves).then(|| self.clone())
    }

    /// The configuration for a server name: one for all, since hosts differ in their certificates only.
    pub(super) fn choose(&self, _server_name: Option<&str>) -> &Acceptor {
        &self.acceptor
    }
}

fn server_config(
    settings: &TlsSettings,
    certificates: Arc<CurrentCertificates>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match settings.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let config =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions)?;
    let config = match settings.client_certificates {
        ClientCertificates::Unasked => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(certificates);
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_str().as_bytes().to_vec()).collect();
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
        let of_listener = snapshot.listeners.iter().find(|listener| listener.id == self.listener);
        let of_listener = of_listener.and_then(|listener| listener.certificate.as_ref());
        let certificates = &snapshot.served(self.serves).certificates;
        let served = certificates.find_or(name.as_deref(), of_listener);
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
