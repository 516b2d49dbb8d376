//! TLS without verification to endpoints whose certificate the engine cannot read: X.509 v1, short keys, P-521.
//!
//! The engine refuses such certificates even where nothing is to be verified, and offers no place for a verifier of
//! ours. An endpoint of which it refused one is spoken to over TLS made here, which the engine takes for plain bytes;
//! it keeps no such connection, so that each request makes one. This can go
//! when the engine takes a verifier.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::{HttpPeer, Scheme};
use pingora::{Error, ErrorType, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::tunnel;
use crate::x509;

/// Keeps these connections apart from the engine's own.
const GROUP: u64 = 1 << 62;
/// Endpoints that are remembered; who is not is refused, as the engine does it.
const MAX_KNOWN: usize = 1024;
/// How long: a certificate may have been made anew.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Sizes of RSA keys of which the provider can check signatures.
const CHECKED_RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Endpoints whose certificates the engine cannot read, and how TLS to them is made.
pub(super) struct Lenient {
    known: ArcSwap<HashMap<SocketAddr, Known>>,
    http1: Option<Arc<ClientConfig>>,
    http2: Option<Arc<ClientConfig>>,
}

#[derive(Clone)]
struct Known {
    since: Instant,
    is_told: Arc<AtomicBool>,
}

/// Makes connections with TLS to one endpoint.
#[derive(Debug)]
struct Dial {
    config: Arc<ClientConfig>,
    name: String,
    is_told: Arc<AtomicBool>,
}

/// Lets every certificate pass; signatures are checked where the key is one that can be.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

// === impl Lenient ===

impl Lenient {
    pub(super) fn new() -> Self {
        Self { known: ArcSwap::default(), http1: config(b"http/1.1"), http2: config(b"h2") }
    }

    /// Remembers an endpoint; says whether that is new, so that it is worth another try.
    pub(super) fn remember(&self, address: SocketAddr) -> bool {
        let now = Instant::now();
        let is_current = |known: &Known| now.duration_since(known.since) < REMEMBERED;
        let known = self.known.load();
        if known.get(&address).is_some_and(is_current) {
            return false;
        }
        let mut new: HashMap<_, _> = known
            .iter()
            .filter(|(_, known)| is_current(known))
            .map(|(address, known)| (*address, known.clone()))
            .collect();
        if new.len() >= MAX_KNOWN {
            return false;
        }
        new.insert(address, Known { since: now, is_told: Arc::default() });
        // A rival's word may be lost: the endpoint is remembered at its next try.
        self.known.store(Arc::new(new));
        true
    }

    /// Lets a peer that is not verified be reached this way, if it must be.
    pub(super) fn set(&self, peer: &mut HttpPeer, address: SocketAddr, is_h2: bool) {
        let known = self.known.load();
        let Some(known) = known.get(&address).filter(|known| known.since.elapsed() < REMEMBERED) else { return };
        let config = if is_h2 { &self.http2 } else { &self.http1 };
        let Some(config) = config else { return };
        peer.scheme = Scheme::HTTP;
        peer.group_key |= GROUP;
        let dial = Dial { config: Arc::clone(config), name: peer.sni.clone(), is_told: Arc::clone(&known.is_told) };
        peer.options.custom_l4 = Some(Arc::new(dial));
    }
}

fn config(protocol: &[u8]) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().ok()?;
    let verifier = Arc::new(Anyone(provider));
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Some(Arc::new(config))
}

// === impl Dial ===

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &PeerAddr) -> Result<Stream> {
        let PeerAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "not an internet address");
        };
        let stream = tunnel::connect(*address).await?;
        let name = ServerName::try_from(self.name.clone()).unwrap_or_else(|_| ServerName::from(address.ip()));
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|error| Error::because(ErrorType::TLSHandshakeFailure, "TLS without verification", error))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if let Some(certificate) = certificate.filter(|_| !self.is_told.swap(true, Ordering::Relaxed)) {
            let certificate = describe(certificate);
            tracing::warn!(
                endpoint = %address,
                certificate,
                "unusual certificate; it is not verified, so it is taken, and each request makes a connection"
            );
        }
        Ok(tunnel::stream(stream))
    }
}

fn describe(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, it)) => format!("{}, {}", x509::version(&it), x509::public_key(it.public_key())),
        Err(_) => "unreadable".to_owned(),
    }
}

// === impl Anyone ===

impl Anyone {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let bad = |_| rustls::Error::from(CertificateError::BadEncoding);
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(bad)?;
        let key = parsed.public_key();
        let is_odd =
            |key: PublicKey<'_>| matches!(key, PublicKey::RSA(key) if !CHECKED_RSA_BITS.contains(&key.key_size()));
        let algorithm = Any::from_der(key.raw).ok().and_then(|(_, whole)| Any::from_der(whole.data).ok());
        let mapping = self.0.signature_verification_algorithms.mapping;
        let candidates = mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, all)| *all);
        let mut usable = candidates.filter(|candidate| {
            algorithm.as_ref().is_some_and(|(_, id)| id.data == candidate.public_key_alg_id().as_ref())
        });
        // Who cannot be verified gains nothing by a signature: where none can be checked, none is asked for.
        let Some(usable) = usable.next().filter(|_| !key.parsed().is_ok_and(is_odd)) else {
            return Ok(HandshakeSignatureValid::assertion());
        };
        let checked = usable.verify_signature(&key.subject_public_key.data, message, signed.signature());
        checked.map_err(|_| CertificateError::BadSignature.into()).map(|()| HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.check(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.check(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.0.signature_verification_algorithms.supported_schemes();
        schemes.extend([SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448]);
        schemes
    }
}
