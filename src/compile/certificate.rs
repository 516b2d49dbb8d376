//! Certificates: from PEM to what handshakes present. Which one a host presents is decided in `presented`.
//!
//! Source: RFC 7468 (PEM), RFC 5280 (validity), RFC 6125 and RFC 2818 (names).

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::pem_text::{self, Block};
use crate::snapshot::certificates::ServedCertificate;
use crate::x509;

/// A parsed certificate, with findings about it.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) served: Arc<ServedCertificate>,
    /// Start of its validity.
    pub(super) not_before: i64,
    /// What is to be said of it whatever the time is.
    pub(super) told: Vec<Diagnostic>,
}

/// Makes a certificate that files name ready to be presented, and says what is to be said of it.
///
/// # Errors
/// What is wrong with chain or key.
pub fn load_certificate(
    name: &str,
    origin: &Origin,
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<(Arc<ServedCertificate>, Vec<Diagnostic>), String> {
    let certificate = Certificate {
        name: name.into(),
        origin: origin.clone(),
        chain_pem: chain_pem.into(),
        key_pem: SecretBytes::new(key_pem),
        is_invalid: false,
    };
    read(&certificate).map(|read| (read.served, read.told))
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
    let (_, parsed) = X509Certificate::from_der(&leaf)
        .map_err(|_| "the first block of the chain is no X.509 certificate".to_owned())?;
    let key = usable_key(certificate.key_pem.expose())?;
    // The library would read the certificate as one who verifies it, and refuse version 1.
    if key.public_key().is_some_and(|key| *key != *parsed.public_key().raw) {
        return Err("the key does not belong to the first certificate of the chain".to_owned());
    }
    let (not_before, not_after) = validity_of(&leaf);
    let served = ServedCertificate {
        name: Arc::clone(&certificate.name),
        origin: certificate.origin.clone(),
        key: Arc::new(CertifiedKey::new(chain, key)),
        dns_names: dns_names_of(&leaf).into(),
        not_after,
    };
    let told = told(certificate, &parsed);
    Ok(Read { served: Arc::new(served), not_before, told })
}

fn usable_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, String> {
    let key = pem_text::private_key(pem).map_err(|fault| format!("the private key {fault}"))?;
    let kind = x509::private_key(&key);
    default_provider().key_provider.load_private_key(key).map_err(|_| match kind {
        Some(kind) => format!("the private key is {kind}, which cannot be used; make one of {}", x509::USABLE_KEYS),
        None => "the private key is damaged, or no key at all".to_owned(),
    })
}

/// What is to be said of a certificate that is presented all the same.
fn told(certificate: &Certificate, leaf: &X509Certificate<'_>) -> Vec<Diagnostic> {
    let (name, origin) = (&certificate.name, &certificate.origin);
    let mut told = Vec::new();
    if leaf.version() != X509Version::V3 {
        let message = format!("certificate `{name}` is {}, which most clients refuse", x509::version(leaf));
        let hint = "make it with extensions (`openssl x509 -req -extfile`): they make it version 3";
        told.push(Diagnostic::warning(Code::CertificateVersion, origin, message).hint(hint));
    }
    if let Some(common_name) = common_name(leaf).filter(|_| alternative_names(leaf).is_empty()) {
        let message = format!(
            "certificate `{name}` has no DNS names; it is presented by its Common Name `{common_name}`, which most \
             clients refuse"
        );
        let hint = "make it with a subjectAltName";
        told.push(Diagnostic::warning(Code::CertificateNameMismatch, origin, message).hint(hint));
    }
    told.extend(unused_blocks(certificate));
    told
}

/// Blocks that nobody uses, told by label and place.
fn unused_blocks(certificate: &Certificate) -> Option<Diagnostic> {
    let parts = [
        ("the chain", pem_text::beside_certificates(&certificate.chain_pem)),
        ("the key", pem_text::beside_key(certificate.key_pem.expose())),
    ];
    let list = |blocks: &[Block]| blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let unused: Vec<String> = parts
        .iter()
        .filter(|(_, blocks)| !blocks.is_empty())
        .map(|(part, blocks)| format!("{} of {part}", list(blocks)))
        .collect();
    let message = format!("certificate `{}`: not used: {}", certificate.name, unused.join("; "));
    let diagnostic = Diagnostic::info(Code::UnusedPemBlocks, &certificate.origin, message);
    let hint = "the chain's certificates and the first key are used; leave the rest out";
    (!unused.is_empty()).then(|| diagnostic.hint(hint))
}

fn dns_names_of(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let names = alternative_names(&leaf);
    if names.is_empty() { common_name(&leaf).into_iter().collect() } else { names }
}

fn alternative_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// The name of a certificate that has no other (RFC 2818 section 3.1: the most specific one of the subject).
fn common_name(leaf: &X509Certificate<'_>) -> Option<String> {
    let last = leaf.subject().iter_common_name().last()?;
    last.as_str().ok().map(str::to_ascii_lowercase)
}

/// Start and end of validity, in seconds since 1970.
fn validity_of(leaf: &CertificateDer<'_>) -> (i64, i64) {
    X509Certificate::from_der(leaf).map_or((0, 0), |(_, parsed)| {
        let validity = parsed.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    })
}
