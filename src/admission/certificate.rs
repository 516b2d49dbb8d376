//! What the webhook is served with: a certificate of its own making, or one from files.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::pem_text::{self, PemFault};

/// A certificate chain, its private key and the CA bundle. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Chain, leaf first.
    pub chain: Vec<u8>,
    /// Private key of the leaf.
    pub key: Vec<u8>,
    /// Authorities, newest first; empty where somebody else tells them.
    pub authorities: Vec<u8>,
}

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    /// What is wrong with the text of the chain or of the key.
    #[error("the {0} {1}")]
    Pem(&'static str, PemFault),
    /// Authorities that none can be verified by.
    #[error("the authorities cannot be used: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The key is of no kind that is known, or not that of the leaf.
    #[error("{0}")]
    Key(#[from] rustls::Error),
    /// It cannot be made.
    #[error("cannot be generated: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate in force; it may change while connections go on.
#[derive(Debug, Default)]
pub(crate) struct Current(ArcSwapOption<CertifiedKey>);

/// Verifier of client certificates by these authorities. Without any, all clients are refused.
#[derive(Default)]
pub(crate) struct Clients(ArcSwapOption<Arc<dyn ClientCertVerifier>>);

/// How long a certificate of our own making is good.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// It begins earlier than it is made: clocks differ.
const SKEW: Duration = Duration::from_secs(3600);
/// After this share of its life it is made anew, as a fraction of three.
const RENEWED_AFTER_THIRDS: u32 = 2;

// === impl Pair ===

impl Pair {
    /// Makes an authority and, signed by it, a certificate for these names. The authority's key is thrown away.
    ///
    /// # Errors
    /// A name that is none.
    pub(crate) fn make(names: &[String], now: SystemTime) -> Result<Self, PairError> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "tidegate admission");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        (authority.not_before, authority.not_after) = ((now - SKEW).into(), (now + LIFE).into());
        let authority_key = KeyPair::generate()?;
        let trusted = authority.self_signed(&authority_key)?;
        let mut leaf = CertificateParams::new(names.to_vec())?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (leaf.not_before, leaf.not_after) = ((now - SKEW).into(), (now + LIFE).into());
        let key = KeyPair::generate()?;
        let signed = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?;
        Ok(Self {
            chain: signed.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authorities: trusted.pem().into_bytes(),
        })
    }

    /// The same with the authority of an older one besides, for servers that still have that.
    #[must_use]
    pub(crate) fn after(mut self, old: &Self) -> Self {
        let newest = pem_text::certificates(&old.authorities).ok().and_then(|all| all.into_iter().next());
        if let Some(newest) = newest {
            let form = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
            let text = pem::encode_config(&pem::Pem::new("CERTIFICATE", newest.to_vec()), form);
            self.authorities.extend_from_slice(text.as_bytes());
        }
        self
    }

    /// Whether it is to be made anew.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        let Some(end) = self.not_after() else { return true };
        let renewed = end.checked_sub(LIFE / 3 * (3 - RENEWED_AFTER_THIRDS));
        renewed.is_none_or(|renewed| now >= renewed)
    }

    fn not_after(&self) -> Option<SystemTime> {
        let leaf = pem_text::certificates(&self.chain).ok()?.into_iter().next()?;
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).ok()?;
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn certified(&self) -> Result<CertifiedKey, PairError> {
        let chain = pem_text::certificates(&self.chain).map_err(|fault| PairError::Pem("chain", fault))?;
        let key = pem_text::private_key(&self.key).map_err(|fault| PairError::Pem("private key", fault))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match()?;
        Ok(certified)
    }
}

/// Keys are shown nowhere.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

// === impl Current ===

impl Current {
    /// Puts a pair in force for the handshakes to come.
    ///
    /// # Errors
    /// One that cannot be used; the old one stays.
    pub(crate) fn set(&self, pair: &Pair) -> Result<(), PairError> {
        self.0.store(Some(Arc::new(pair.certified()?)));
        Ok(())
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

// === impl Clients ===

impl Clients {
    /// Puts authorities (PEM) in force for the handshakes to come.
    ///
    /// # Errors
    /// Those that cannot be used; the old ones stay.
    pub(crate) fn set(&self, authorities: &[u8]) -> Result<(), PairError> {
        let mut roots = RootCertStore::empty();
        for authority in pem_text::certificates(authorities).map_err(|fault| PairError::Pem("authorities", fault))? {
            roots.add(authority)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
        self.0.store(Some(Arc::new(verifier)));
        Ok(())
    }
}

impl ClientCertVerifier for Clients {
    /// No hint: it would be that of the authorities at start.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.0.load_full() {
            Some(verifier) => verifier.verify_client_cert(leaf, intermediates, now),
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}
