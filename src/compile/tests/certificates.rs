//! Certificates: what is presented, what is only told.

use std::sync::Arc;

use x509_parser::asn1_rs::{Any, FromDer};

use super::fixtures::{NOW, codes, compiler, full};
use crate::code::Code;
use crate::host::HostPattern;
use crate::model::{Certificate, Claim, Model, SecretBytes, Touched};
use crate::origin::Origin;
use crate::snapshot::Snapshot;

/// A chain and a key in PEM, made for these names and years.
fn pem(names: &[&str], years: (i32, i32)) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
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
    claimed(host, [claim("ns", certificate)])
}

/// A claim of an entry that names the host itself.
fn claim(namespace: &str, certificate: Arc<Certificate>) -> Claim {
    let origin = Origin::new("Ingress", namespace, &certificate.name, None).at("spec.tls[0]");
    Claim { origin, by_wildcard: false, certificate }
}

fn by_wildcard(claim: Claim) -> Claim {
    Claim { by_wildcard: true, ..claim }
}

fn claimed(host: &str, claims: impl IntoIterator<Item = Claim>) -> Model {
    Model { certificates: [(pattern(host), claims.into_iter().collect())].into(), ..Model::default() }
}

/// A certificate that is good for names.
fn good(name: &str, names: &[&str]) -> Arc<Certificate> {
    let (chain, key) = pem(names, (2020, 2040));
    certificate(name, &chain, &key)
}

/// What is presented to a name, or nothing for the default.
fn presented(snapshot: &Snapshot, name: &str) -> Option<String> {
    let found = &snapshot.common.certificates.find_or(Some(name), None).name;
    (**found != *"self-signed").then(|| found.to_string())
}

#[test]
fn a_certificate_is_presented_to_its_host_and_the_default_to_others() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
    assert_eq!(codes(&compiler), [""; 0]);
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "ns/s");
    assert_eq!(&*snapshot.common.certificates.find_or(Some("b.t"), None).name, "self-signed");
    assert_eq!(&*snapshot.common.certificates.find_or(None, None).name, "self-signed");
    assert_eq!(snapshot.common.certificates.find_or(Some("a.t"), None).dns_names.texts(), ["a.t"]);
}

#[test]
fn the_self_signed_default_has_names_and_is_made_once() {
    let compiler = compiler();
    let (one, two) = (compiler.empty(), compiler.empty());
    assert!(Arc::ptr_eq(&one.common.certificates.default, &two.common.certificates.default));
    assert_eq!(one.common.certificates.default.dns_names.texts(), ["tidegate.local", "localhost"]);
    assert!(one.common.certificates.default.not_after > NOW);
}

#[test]
fn validity_is_only_warned_of() {
    for (years, code) in [((2000, 2001), "CertificateExpired"), ((2090, 2091), "CertificateNotYetValid")] {
        let (chain, key) = pem(&["a.t"], years);
        let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
        assert_eq!(codes(&compiler), [code]);
        assert_eq!(presented(&snapshot, "a.t").as_deref(), Some("ns/s"), "{code}: still presented");
    }
}

#[test]
fn what_does_not_cover_a_host_is_not_presented_there() {
    let (snapshot, compiler) = full(&with("a.t", good("ns/s", &["b.t"])));
    assert_eq!(codes(&compiler), ["CertificateNameMismatch"]);
    assert_eq!(compiler.diagnostics()[0].origin.to_string(), "Ingress/ns/ns/s spec.tls[0].secretName");
    assert_eq!((presented(&snapshot, "a.t"), presented(&snapshot, "b.t")), (None, None));
}

#[test]
fn a_certificate_without_names_is_known_by_its_common_name() {
    let made = |alternatives: &[rcgen::SanType]| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "A.t");
        params.subject_alt_names = alternatives.to_vec();
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        full(&with("a.t", certificate("ns/s", &chain, &key.serialize_pem())))
    };
    let (snapshot, compiler) = made(&[]);
    assert_eq!(presented(&snapshot, "a.t").as_deref(), Some("ns/s"));
    assert_eq!(codes(&compiler), ["CertificateNameMismatch"], "most clients refuse it");
    let (snapshot, _) = made(&[rcgen::SanType::IpAddress([10, 0, 0, 1].into())]);
    assert_eq!(presented(&snapshot, "a.t").as_deref(), Some("ns/s"), "an address is no name");
    let (snapshot, _) = made(&[rcgen::SanType::DnsName("b.t".try_into().unwrap())]);
    assert_eq!(presented(&snapshot, "a.t"), None, "with names, the Common Name is none");
}

#[test]
fn the_first_claim_that_can_be_used_and_covers_the_host_is_heard() {
    let (chain, _) = pem(&["a.t"], (2020, 2040));
    let broken = || claim("one", certificate("one/broken", &chain, ""));
    let other = || claim("one", good("one/other", &["b.t"]));
    let (first, second) = (claim("two", good("two/s", &["a.t"])), claim("three", good("three/s", &["a.t"])));
    let (snapshot, compiler) = full(&claimed("a.t", [broken(), other(), first.clone(), second.clone()]));
    assert_eq!(presented(&snapshot, "a.t").as_deref(), Some("two/s"));
    let told: Vec<String> = compiler.diagnostics().iter().map(|it| format!("{} {}", it.code, it.origin)).collect();
    let want = [
        "HostNamedByOthers Ingress/two/two/s spec.tls[0].secretName",
        "CertificateConflict Ingress/three/three/s spec.tls[0].secretName",
        "CertificateNameMismatch Ingress/one/one/other spec.tls[0].secretName",
        "InvalidCertificate Secret/ns/one/broken",
    ];
    assert_eq!(told, want);
    let (snapshot, _) = full(&claimed("a.t", [second, first]));
    assert_eq!(presented(&snapshot, "a.t").as_deref(), Some("three/s"));
    let (snapshot, _) = full(&claimed("a.t", [broken(), other()]));
    assert_eq!(presented(&snapshot, "a.t"), None);
}

#[test]
fn an_entry_for_the_host_comes_before_one_for_a_wildcard_of_its_own_namespace() {
    let wild = |namespace: &str| by_wildcard(claim(namespace, good(&format!("{namespace}/wild"), &["*.t"])));
    let named = |namespace: &str| claim(namespace, good(&format!("{namespace}/named"), &["a.t"]));
    let cases = [
        (vec![wild("one"), named("one")], "one/named", 0),
        (vec![wild("one"), named("two")], "one/wild", 2),
        (vec![wild("one"), named("two"), named("one")], "one/named", 2),
        (vec![named("two"), wild("one")], "two/named", 0),
    ];
    for (claims, want, findings) in cases {
        let (snapshot, compiler) = full(&claimed("a.t", claims));
        assert_eq!(presented(&snapshot, "a.t").as_deref(), Some(want));
        assert_eq!(codes(&compiler).len(), findings, "{want}: {:?}", codes(&compiler));
    }
}

#[test]
fn a_wildcard_presents_what_covers_the_name_that_was_asked_for() {
    let claims = [
        claim("one", good("one/part", &["x.w.t", "z.t"])),
        claim("two", good("two/none", &["w.t"])),
        claim("two", good("two/all", &["*.w.t"])),
        claim("three", good("three/late", &["y.w.t"])),
    ];
    let (snapshot, _) = full(&claimed("*.w.t", claims));
    for (name, want) in [("x.w.t", "one/part"), ("y.w.t", "two/all")] {
        assert_eq!(presented(&snapshot, name).as_deref(), Some(want), "{name}");
    }
    assert!(["w.t", "z.t", "a.b.w.t"].iter().all(|name| presented(&snapshot, name).is_none()));
}

#[test]
fn a_name_that_nobody_may_speak_for_hides_the_wildcard() {
    let mut model = claimed("*.w.t", [claim("one", good("one/all", &["*.w.t"]))]);
    model.certificates.insert(pattern("x.w.t"), Arc::default());
    let (snapshot, _) = full(&model);
    assert_eq!(presented(&snapshot, "x.w.t"), None);
    assert_eq!(presented(&snapshot, "y.w.t").as_deref(), Some("one/all"));
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
        assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "self-signed", "{message}");
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
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "ns/s");
    assert_eq!(codes(&compiler), ["InvalidCertificate"]);
    let renamed = with("a.t", certificate("ns/other", &chain, ""));
    let snapshot = compiler.compile(&renamed, &touched, &snapshot);
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "self-signed");
    let snapshot = compiler.compile(&good, &touched, &snapshot);
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "ns/s");
    assert_eq!(codes(&compiler), [""; 0]);
    let snapshot = compiler.compile(&Model::default(), &touched, &snapshot);
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "self-signed");
}

/// The same certificate without version and extensions, as `openssl x509 -req` without `-extfile` makes it.
fn as_version_1(pem: &str) -> String {
    let der = crate::pem_text::certificates(pem.as_bytes()).unwrap().remove(0);
    let wrap = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    };
    let parts = |der: &[u8]| -> Vec<Vec<u8>> {
        let (_, whole) = Any::from_der(der).unwrap();
        let mut rest = whole.data;
        let one = || {
            let (after, _) = Any::from_der(rest).ok()?;
            let (part, after) = rest.split_at(rest.len() - after.len());
            rest = after;
            Some(part.to_vec())
        };
        std::iter::from_fn(one).collect()
    };
    let [body, rest @ ..] = &parts(&der)[..] else { panic!("no certificate") };
    let is_newer = |part: &Vec<u8>| matches!(part[0], 0xa0 | 0xa3);
    let (body, rest) =
        (parts(body).into_iter().filter(|part| !is_newer(part)).collect::<Vec<_>>().concat(), rest.concat());
    let der = wrap(0x30, &[wrap(0x30, &body), rest].concat());
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}

#[test]
fn a_certificate_of_version_1_is_presented_and_told() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let old = as_version_1(&chain);
    let (snapshot, compiler) = full(&with("a.t", certificate("ns/s", &old, &key)));
    let told = compiler.diagnostics();
    assert!(told.iter().any(|it| it.code == Code::CertificateVersion && it.message.contains("X.509 v1")), "{told:?}");
    assert!(told.iter().all(|it| it.code.as_str() != "InvalidCertificate"), "{told:?}");
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "ns/s");
    let (_, other) = pem(&["a.t"], (2020, 2040));
    let (_, compiler) = full(&with("a.t", certificate("ns/s", &old, &other)));
    assert!(compiler.diagnostics()[0].message.contains("does not belong"), "{:?}", compiler.diagnostics());
}

#[test]
fn blocks_that_nobody_uses_are_told() {
    let (chain, key) = pem(&["a.t"], (2020, 2040));
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let (snapshot, compiler) =
        full(&with("a.t", certificate("ns/s", &format!("{chain}{key}"), &format!("{parameters}{key}{key}"))));
    assert_eq!(codes(&compiler), ["UnusedPemBlocks"]);
    let message = &compiler.diagnostics()[0].message;
    assert!(
        message.contains("block 2 (`PRIVATE KEY`, line") && message.contains(" of the chain; block 1"),
        "{message}"
    );
    assert!(message.contains("block 1 (`EC PARAMETERS`, line 1), block 3 (`PRIVATE KEY`, line"), "{message}");
    assert_eq!(&*snapshot.common.certificates.find_or(Some("a.t"), None).name, "ns/s");
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    let (chain, _) = pem(&["a.t"], (2020, 2040));
    // PKCS #8 of P-521: the key itself is not looked at.
    let der = b"\x30\x17\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x04\x00";
    let key = pem::encode(&pem::Pem::new("PRIVATE KEY", der.to_vec()));
    let (_, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
    let message = &compiler.diagnostics()[0].message;
    assert!(message.contains("the private key is P-521"), "{message}");
    for (label, kind) in [("DSA PRIVATE KEY", "DSA"), ("OPENSSH PRIVATE KEY", "OpenSSH")] {
        let key = pem::encode(&pem::Pem::new(label, vec![0; 40]));
        let (_, compiler) = full(&with("a.t", certificate("ns/s", &chain, &key)));
        assert!(compiler.diagnostics()[0].message.contains(kind), "{:?}", compiler.diagnostics());
    }
}
