//! Certificates: from PEM to what handshakes present. Which one a host presents is decided in `presented`.
//!
//! Source: RFC 7468 (PEM), RFC 5280 (validity), RFC 6125 and RFC 2818 (names).

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::pem_text;
use crate::snapshot::certificates::ServedCertificate;

/// A certificate that was read, with what is said of it but not served.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) served: Arc<ServedCertificate>,
    /// Start of its validity.
    pub(super) not_before: i64,
    /// Whether it is known by its Common Name alone.
    pub(super) is_without_names: bool,
}

/// Makes a certificate that files name ready to be presented.
///
/// # Errors
/// What is wrong with chain or key.
pub fn load_certificate(
    name: &str,
    origin: &Origin,
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<Arc<ServedCertificate>, String> {
    let certificate = Certificate {
        name: name.into(),
        origin: origin.clone(),
        chain_pem: chain_pem.into(),
        key_pem: SecretBytes::new(key_pem),
        is_invalid: false,
    };
    read(&certificate).map(|read| read.served)
}

/// Makes the certificate that is presented when there is no other one.
pub(super) fn self_signed() -> Arc<ServedCertificate> {
    #[expect(clippy::expect_used, reason = "fixed valid input; fails only without a source of random numbers")]
    let (chain, key) = make_self_signed().expect("a P-256 key and its certificate can be made");
    Arc::new(ServedCertificate {
        name: "self-signed".into(),
        origin: Origin::new("Conf", "", "", None),
        dns_names: dns_names_of(&chain).into(),
        not_after: validity_of(&chain).1,
        key: Arc::new(key),
    })
}

fn make_self_signed() -> Result<(CertificateDer<'static>, CertifiedKey), Box<dyn std::error::Error>> {
    let mut params = rcgen::CertificateParams::new(["tidegate.local".to_owned(), "localhost".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "tidegate.local");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let leaf = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::from_der(vec![leaf.clone()], key, &default_provider())?;
    Ok((leaf, certified))
}

/// Reads chain and key. Nothing of either goes into a message.
pub(super) fn read(certificate: &Certificate) -> Result<Read, String> {
    let chain = pem_text::certificates(&certificate.chain_pem).map_err(|fault| format!("the chain {fault}"))?;
    let leaf = chain.first().cloned().ok_or("the chain has no CERTIFICATE block")?;
    X509Certificate::from_der(&leaf).map_err(|_| "the first block of the chain is no X.509 certificate".to_owned())?;
    let key =
        pem_text::private_key(certificate.key_pem.expose()).map_err(|fault| format!("the private key {fault}"))?;
    let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key does not belong to the first certificate of the chain".to_owned()
        }
        error => format!("the key cannot be used: {error}"),
    })?;
    let (not_before, not_after) = validity_of(&leaf);
    let served = ServedCertificate {
        name: Arc::clone(&certificate.name),
        origin: certificate.origin.clone(),
        key: Arc::new(key),
        dns_names: dns_names_of(&leaf).into(),
        not_after,
    };
    Ok(Read { served: Arc::new(served), not_before, is_without_names: alternative_names(&leaf).is_empty() })
}

fn dns_names_of(leaf: &CertificateDer<'_>) -> Vec<String> {
    let names = alternative_names(leaf);
    if names.is_empty() { common_name(leaf).into_iter().collect() } else { names }
}

fn alternative_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// The name of a certificate that has no other (RFC 2818 section 3.1: the most specific one of the subject).
fn common_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let last = parsed.subject().iter_common_name().last()?;
    last.as_str().ok().map(str::to_ascii_lowercase)
}

/// Start and end of validity, in seconds since 1970.
fn validity_of(leaf: &CertificateDer<'_>) -> (i64, i64) {
    X509Certificate::from_der(leaf).map_or((0, 0), |(_, parsed)| {
        let validity = parsed.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    })
}
