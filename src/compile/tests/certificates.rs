//! Certificates: what is presented, what is only told.

use std::sync::Arc;

use super::fixtures::{NOW, codes, compiler, full};
use crate::host::HostPattern;
use crate::model::{Certificate, Model, SecretBytes, Touched};
use crate::origin::Origin;

/// A chain and a key in PEM, made for these names and years.
fn pem(names: &[&str], years: (i32, i32)) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn certificate(name: &str, chain: &str, key: &str) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: name.into(),
        origin: Origin::new("Secret", "ns", name, None),
        chain_pem: chain.as_bytes().into(),
        key_pem: SecretBytes::new(key.as_bytes()),
        is_invalid: false,
    })
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

fn with(host: &str, certificate: Arc<Certificate>) -> Model {
    Model { certificates: [(pattern(host), certificate)].into(), ..Model::default() }
}

#[test]
fn a_certificate_is_presented_to_its_host_and_the_default_to_others() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
    assert_eq!(codes(&compiler), [""; 0]);
    assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "ns/s");
    assert_eq!(&*snapshot.certificates.find(Some("b.t")).name, "self-signed");
    assert_eq!(&*snapshot.certificates.find(None).name, "self-signed");
    assert_eq!(snapshot.certificates.find(Some("a.t")).dns_names, ["a.t"]);
}

#[test]
fn the_self_signed_default_has_names_and_is_made_once() {
    let compiler = compiler();
    let (one, two) = (compiler.empty(), compiler.empty());
    assert!(Arc::ptr_eq(&one.certificates.default, &two.certificates.default));
    assert_eq!(one.certificates.default.dns_names, ["tidegate.local", "localhost"]);
    assert!(one.certificates.default.not_after > NOW);
}

#[test]
fn validity_and_names_are_only_warned_of() {
    let cases = [
        (&["a.t"], (2000, 2001), "CertificateExpired"),
        (&["a.t"], (2090, 2091), "CertificateNotYetValid"),
        (&["b.t"], (2020, 2040), "CertificateNameMismatch"),
    ];
    for (names, years, code) in cases {
        let (chain, key) = pem(names, years);
        let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
        assert_eq!(codes(&compiler), [code]);
        assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "ns/s", "{code}: still presented");
    }
}

#[test]
fn wildcard_names_cover_one_label() {
    let (chain, key) = pem(&["*.a.t"], (2020, 2040));
    for (host, is_covered) in [("x.a.t", true), ("*.a.t", true), ("a.t", false), ("y.x.a.t", false)] {
        let (_, compiler) = full(&with(host, certificate("ns/s", &chain, &key)));
        assert_eq!(codes(&compiler).is_empty(), is_covered, "{host}");
    }
}

#[test]
fn what_cannot_be_used_is_an_error_and_the_default_is_presented() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let (_, other_key) = pem(&["a.t"], (2020, 2040));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (chain.as_str(), other_key.as_str(), "does not belong"),
        (chain.as_str(), encrypted, "encrypted"),
        (chain.as_str(), "", "the private key is empty"),
        ("", key.as_str(), "the chain is empty"),
        (key.as_str(), key.as_str(), "no CERTIFICATE block"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key.as_str(), "no X.509 certificate"),
    ];
    for (chain, key, message) in cases {
        let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", chain, key)));
        assert_eq!(codes(&compiler), ["InvalidCertificate"], "{message}");
        let told = &compiler.diagnostics()[0].message;
        assert!(told.contains(message), "{told}");
        assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "self-signed", "{message}");
    }
}

#[test]
fn the_last_good_certificate_stays_while_the_host_asks_for_the_same_secret() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let good = with("a.t", certificate("ns/s", &chain, &key));
    let (snapshot, mut compiler) = full(&good);
    let broken = with("a.t", certificate("ns/s", &chain, ""));
    let touched = Touched { certificates: [pattern("a.t")].into(), ..Touched::default() };
    let snapshot = compiler.compile(&broken, &touched, &snapshot);
    assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "ns/s");
    assert_eq!(codes(&compiler), ["InvalidCertificate"]);
    let renamed = with("a.t", certificate("ns/other", &chain, ""));
    let snapshot = compiler.compile(&renamed, &touched, &snapshot);
    assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "self-signed");
    let snapshot = compiler.compile(&good, &touched, &snapshot);
    assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "ns/s");
    assert_eq!(codes(&compiler), [""; 0]);
    let snapshot = compiler.compile(&Model::default(), &touched, &snapshot);
    assert_eq!(&*snapshot.certificates.find(Some("a.t")).name, "self-signed");
}
