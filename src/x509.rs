//! What a certificate or a key is, in words: `RSA 1024`, `P-521`, `X.509 v1`.
//!
//! For findings and logs: whoever made it must see what to make otherwise. Nothing of a key itself is in the words.
//! It must not know who uses them, or for what. Source: RFC 5280, RFC 8017 (RSA), RFC 5915 (EC), RFC 5958 (PKCS #8),
//! RFC 8410 (EdDSA).

use rustls_pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag};
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Keys that TLS here can use, for hints.
pub(crate) const USABLE_KEYS: &str = "RSA of 2048 to 4096 bits with exponent 65537, P-256, P-384 and Ed25519";

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
/// The exponent that nearly every RSA key has.
const COMMON_EXPONENT: &[u8] = &[1, 0, 1];

/// Algorithms of keys that have no parameters worth a word.
const ALGORITHMS: [(&str, &str); 8] = [
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10046.2.1", "DH"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.643.7.1.1.1.1", "GOST R 34.10-2012"),
];

/// Curves by the names that tools give them.
const CURVES: [(&str, &str); 9] = [
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
];

/// The version of a certificate: `X.509 v1`.
pub(crate) fn version(certificate: &X509Certificate<'_>) -> String {
    format!("X.509 v{}", certificate.version().0.saturating_add(1))
}

/// A public key: `RSA 2048`, `P-256`.
pub(crate) fn public_key(info: &SubjectPublicKeyInfo<'_>) -> String {
    let bits = &info.subject_public_key.data;
    kind(&info.algorithm, || {
        let mut numbers = items(bits)?;
        rsa(numbers.next()?, numbers.next()?)
    })
}

/// A private key likewise; nothing when it is no key.
pub(crate) fn private_key(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs1(der) => rsa_private(der.secret_pkcs1_der()),
        // ECPrivateKey: version, key, [0] curve.
        PrivateKeyDer::Sec1(der) => {
            let parameters = items(der.secret_sec1_der())?.find(|item| item.tag() == Tag(0))?;
            Some(curve(Oid::from_der(parameters.data).ok().map(|(_, oid)| oid)))
        }
        PrivateKeyDer::Pkcs8(der) => {
            let (_, whole) = Any::from_der(der.secret_pkcs8_der()).ok()?;
            let (rest, _version) = Any::from_der(whole.data).ok()?;
            let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
            let (_, inner) = Any::from_der(rest).ok()?;
            Some(kind(&algorithm, || rsa_private(inner.data)))
        }
        _ => None,
    }
}

/// RSAPrivateKey: version, modulus, public exponent.
fn rsa_private(der: &[u8]) -> Option<String> {
    let mut numbers = items(der)?.skip(1);
    rsa(numbers.next()?, numbers.next()?)
}

fn kind(algorithm: &AlgorithmIdentifier<'_>, rsa: impl FnOnce() -> Option<String>) -> String {
    let id = algorithm.algorithm.to_id_string();
    match &*id {
        RSA => rsa().unwrap_or_else(|| "RSA".to_owned()),
        EC => {
            curve(algorithm.parameters.as_ref().filter(|any| any.tag() == Tag::Oid).and_then(|any| any.as_oid().ok()))
        }
        _ => named(&ALGORITHMS, &id).map_or_else(|| format!("of algorithm {id}"), str::to_owned),
    }
}

fn curve(oid: Option<Oid<'_>>) -> String {
    let Some(oid) = oid else { return "EC with parameters of its own".to_owned() };
    let id = oid.to_id_string();
    named(&CURVES, &id).map_or_else(|| format!("EC of curve {id}"), str::to_owned)
}

fn rsa(modulus: Any<'_>, exponent: Any<'_>) -> Option<String> {
    let modulus = without_zeros(modulus.data);
    let first = modulus.first()?;
    let bits = modulus.len() * 8 - usize::try_from(first.leading_zeros()).ok()?;
    let exponent = without_zeros(exponent.data);
    Some(match exponent {
        COMMON_EXPONENT => format!("RSA {bits}"),
        [small] => format!("RSA {bits} with exponent {small}"),
        _ => format!("RSA {bits} with an exponent other than 65537"),
    })
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn named(table: &[(&str, &'static str)], id: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

/// What a sequence holds, as far as it can be read.
fn items(der: &[u8]) -> Option<impl Iterator<Item = Any<'_>>> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let mut rest = sequence.data;
    Some(std::iter::from_fn(move || {
        let (after, item) = Any::from_der(rest).ok()?;
        rest = after;
        Some(item)
    }))
}

#[cfg(test)]
mod tests;
