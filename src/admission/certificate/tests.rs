use super::*;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

fn names() -> Vec<String> {
    vec!["tidegate-admission.edge.svc".to_owned()]
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_made_certificate_is_signed_by_its_authority_and_has_the_names() {
    let now = SystemTime::now();
    let pair = Pair::make(&names(), now).unwrap();
    Current::default().set(&pair).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pair.authorities).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let leaf = CertificateDer::from_pem_slice(&pair.chain).unwrap();
    let verify = |name: &'static str| {
        use rustls::client::danger::ServerCertVerifier;
        let time = rustls_pki_types::UnixTime::now();
        verifier.verify_server_cert(&leaf, &[], &name.try_into().unwrap(), &[], time)
    };
    assert!(verify("tidegate-admission.edge.svc").is_ok());
    assert!(verify("other.edge.svc").is_err());
}

#[test]
fn it_is_made_anew_after_two_thirds_of_its_life() {
    let now = SystemTime::now();
    let pair = Pair::make(&names(), now).unwrap();
    assert!(!pair.is_due(now) && !pair.is_due(now + DAY * 240));
    assert!(pair.is_due(now + DAY * 245) && pair.is_due(now + DAY * 400));
    assert!(Pair { chain: b"rubbish".to_vec(), ..pair }.is_due(now));
}

#[test]
fn a_renewed_one_is_told_with_the_authority_before_it_and_no_older_one() {
    let make = || Pair::make(&names(), SystemTime::now()).unwrap();
    let (first, second, third) = (make(), make(), make());
    let count = |pair: &Pair| CertificateDer::pem_slice_iter(&pair.authorities).map(Result::unwrap).collect::<Vec<_>>();
    let second = second.after(&first);
    assert_eq!(count(&second)[1..], count(&first));
    let third = third.after(&second);
    assert_eq!(count(&third)[1..], count(&second)[..1]);
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_old_one() {
    let pair = Pair::make(&names(), SystemTime::now()).unwrap();
    let other = Pair::make(&names(), SystemTime::now()).unwrap();
    let current = Current::default();
    current.set(&pair).unwrap();
    let before = current.0.load_full();
    for bad in [
        Pair { key: other.key, ..pair.clone() },
        Pair { chain: Vec::new(), ..pair.clone() },
        Pair { key: b"x".to_vec(), ..pair.clone() },
    ] {
        assert!(current.set(&bad).is_err());
    }
    assert!(Arc::ptr_eq(&before.unwrap(), &current.0.load_full().unwrap()));
    assert!(!format!("{pair:?}").contains("PRIVATE"));
}
