use rustls_pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::*;

fn tagged(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [vec![tag, 0x82], length.to_vec(), content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(0x30, parts)
}

fn number(bytes: &[u8]) -> Vec<u8> {
    tagged(2, &[bytes.to_vec()])
}

fn oid(text: &str) -> Vec<u8> {
    let id = text.parse::<Oid<'_>>().unwrap();
    tagged(6, &[id.as_bytes().to_vec()])
}

fn rsa_key(bits: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0, 0x80];
    modulus.resize(bits / 8 + 1, 1);
    sequence(&[number(&[0]), number(&modulus), number(exponent), number(&[1])])
}

fn pkcs8(algorithm: &[Vec<u8>], key: &[u8]) -> String {
    let der = sequence(&[number(&[0]), sequence(algorithm), tagged(4, &[key.to_vec()])]);
    private_key(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).unwrap()
}

#[test]
fn keys_are_named_as_their_makers_name_them() {
    let ec = |curve: &str| pkcs8(&[oid(EC), oid(curve)], b"hidden");
    assert_eq!(ec("1.3.132.0.35"), "P-521");
    assert_eq!(ec("1.2.840.10045.3.1.7"), "P-256");
    assert_eq!(ec("1.3.132.0.10"), "secp256k1");
    assert_eq!(ec("1.3.132.0.9"), "EC of curve 1.3.132.0.9");
    assert_eq!(pkcs8(&[oid(EC), sequence(&[])], b""), "EC with parameters of its own");
    for (id, name) in ALGORITHMS {
        assert_eq!(pkcs8(&[oid(id)], b"hidden"), name);
    }
    assert_eq!(pkcs8(&[oid("1.2.3.4")], b""), "of algorithm 1.2.3.4");
    let rsa = |bits, exponent: &[u8]| pkcs8(&[oid(RSA)], &rsa_key(bits, exponent));
    assert_eq!(rsa(1024, &[1, 0, 1]), "RSA 1024");
    assert_eq!(rsa(5120, &[1, 0, 1]), "RSA 5120");
    assert_eq!(rsa(2048, &[3]), "RSA 2048 with exponent 3");
    assert_eq!(rsa(2048, &[1, 2, 3, 4]), "RSA 2048 with an exponent other than 65537");
    assert_eq!(pkcs8(&[oid(RSA)], b"junk"), "RSA");
}

#[test]
fn older_forms_of_keys_are_named_too() {
    let key = PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(rsa_key(1024, &[1, 0, 1])));
    assert_eq!(private_key(&key).as_deref(), Some("RSA 1024"));
    let curve = tagged(0xa0, &[oid("1.3.132.0.35")]);
    let key = sequence(&[number(&[1]), tagged(4, &[b"hidden".to_vec()]), curve]);
    assert_eq!(private_key(&PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key))).as_deref(), Some("P-521"));
}

#[test]
fn what_is_no_key_has_no_name() {
    for junk in [&b""[..], b"\x30", b"\x30\x82\xff\xff\x00", b"\x30\x00", b"\x02\x01\x00"] {
        assert_eq!(private_key(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(junk.to_vec()))), None);
        assert_eq!(private_key(&PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(junk.to_vec()))), None);
        assert_eq!(private_key(&PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(junk.to_vec()))), None);
    }
}

#[test]
fn certificates_are_named() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (_, certificate) = X509Certificate::from_der(made.cert.der()).unwrap();
    assert_eq!(version(&certificate), "X.509 v3");
    assert_eq!(public_key(certificate.public_key()), "P-256");
}
