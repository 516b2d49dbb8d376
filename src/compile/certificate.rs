//! Certificates: from PEM to what handshakes present.
//!
//! What cannot be used is never presented: the last good certificate of the same name stays, else the default.
//! Source: RFC 7468 (PEM), RFC 5280 (validity), RFC 6125 (names).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::diagnostic::Diagnostic;
use crate::host::{HostPattern, Labels};
use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::pem_text;
use crate::snapshot::certificates::ServedCertificate;

/// Loads the certificates of one compilation; one that many hosts share is read once.
pub(super) struct Loader {
    now: i64,
    attempts: HashMap<Arc<str>, Attempt>,
}

/// What became of a certificate.
struct Attempt {
    certificate: Arc<Certificate>,
    result: Result<Read, String>,
}

/// A certificate that was read, with the start of its validity.
#[derive(Clone)]
struct Read {
    served: Arc<ServedCertificate>,
    not_before: i64,
}

// === impl Loader ===

impl Loader {
    /// Judges validity at a time in seconds since 1970.
    pub(super) fn new(now: i64) -> Self {
        Self { now, attempts: HashMap::new() }
    }

    /// Loads a certificate for a host (`None`: for everybody), or keeps the last good one of the same name.
    pub(super) fn load(
        &mut self,
        certificate: &Arc<Certificate>,
        host: Option<&HostPattern>,
        previous: Option<&Arc<ServedCertificate>>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Arc<ServedCertificate>> {
        let last_good = || previous.filter(|served| served.name == certificate.name).cloned();
        if certificate.is_invalid {
            // Whoever found that out has said so.
            return last_good();
        }
        match self.read(certificate) {
            Ok(read) => {
                diagnostics.extend(self.judge(&read, host));
                Some(read.served)
            }
            Err(message) => {
                let last_good = last_good();
                let hint = match &last_good {
                    Some(_) => "the last good certificate stays in use",
                    None => "the default certificate is presented",
                };
                let message = format!("certificate `{}`: {message}", certificate.name);
                diagnostics.push(Diagnostic::error("InvalidCertificate", &certificate.origin, message).hint(hint));
                last_good
            }
        }
    }

    fn read(&mut self, certificate: &Arc<Certificate>) -> Result<Read, String> {
        if let Some(attempt) = self.attempts.get(&certificate.name)
            && (Arc::ptr_eq(&attempt.certificate, certificate) || attempt.certificate == *certificate)
        {
            return attempt.result.clone();
        }
        let result = read(certificate);
        let attempt = Attempt { certificate: Arc::clone(certificate), result: result.clone() };
        self.attempts.insert(Arc::clone(&certificate.name), attempt);
        result
    }

    fn judge(&self, read: &Read, host: Option<&HostPattern>) -> Vec<Diagnostic> {
        let served = &read.served;
        let warn = |code, message: String| {
            let message = format!("certificate `{}` {message}", served.name);
            Diagnostic::warning(code, &served.origin, message)
        };
        let mut found = Vec::new();
        if self.now > served.not_after {
            found.push(warn("CertificateExpired", "has expired; clients will refuse it".to_owned()));
        }
        if self.now < read.not_before {
            found.push(warn("CertificateNotYetValid", "is not valid yet; clients will refuse it".to_owned()));
        }
        if let Some(host) = host.filter(|host| !covers(&served.dns_names, host)) {
            let names = served.dns_names.join(", ");
            let message = format!("does not cover host `{host}`");
            found.push(warn("CertificateNameMismatch", message).hint(format!("its DNS names are: {names}")));
        }
        found
    }
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
        dns_names: dns_names_of(&chain),
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
fn read(certificate: &Certificate) -> Result<Read, String> {
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
        dns_names: dns_names_of(&leaf),
        not_after,
    };
    Ok(Read { served: Arc::new(served), not_before })
}

fn dns_names_of(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// Start and end of validity, in seconds since 1970.
fn validity_of(leaf: &CertificateDer<'_>) -> (i64, i64) {
    X509Certificate::from_der(leaf).map_or((0, 0), |(_, parsed)| {
        let validity = parsed.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    })
}

/// Whether the names of a certificate cover a host. A star stands for one label, so `**.` is covered in part at best.
fn covers(names: &[String], host: &HostPattern) -> bool {
    let mut patterns = names.iter().filter_map(|name| HostPattern::parse(name).ok());
    match host {
        HostPattern::Any => true,
        HostPattern::Exact(host) => patterns.any(|pattern| pattern.matches(host)),
        HostPattern::Wildcard { suffix, .. } => {
            let wanted = HostPattern::Wildcard { suffix: Arc::clone(suffix), labels: Labels::One };
            patterns.any(|pattern| pattern == wanted)
        }
    }
}
