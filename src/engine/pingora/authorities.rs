//! Authorities of upstreams, parsed once for the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};

/// Certificates as configuration holds them, DER.
type Bundle = Arc<[Vec<u8>]>;

/// Parsed authorities, by the address of the bundle that they were parsed from.
#[derive(Default)]
pub(super) struct Authorities {
    parsed: ArcSwap<HashMap<usize, Parsed>>,
    next_id: AtomicU64,
}

/// One bundle, parsed.
#[derive(Clone)]
pub(super) struct Parsed {
    /// Kept, so that the address stays this bundle's.
    bundle: Bundle,
    /// Unlike any other bundle's, also one of the past: part of the pool's key.
    pub(super) id: u64,
    /// `None`: some certificate is unreadable, so nothing can be verified.
    pub(super) authorities: Option<Arc<CaType>>,
}

// === impl Authorities ===

impl Authorities {
    /// The authorities of a bundle.
    pub(super) fn of(&self, bundle: &Bundle) -> Parsed {
        let key = Arc::as_ptr(bundle).cast::<()>().addr();
        match self.parsed.load().get(&key) {
            Some(parsed) => parsed.clone(),
            None => self.add(key, bundle),
        }
    }

    fn add(&self, key: usize, bundle: &Bundle) -> Parsed {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let parsed = Parsed { bundle: Arc::clone(bundle), id, authorities: parse(bundle) };
        self.parsed.rcu(|old| {
            // What no configuration holds any more goes.
            let kept = old.iter().filter(|(_, parsed)| Arc::strong_count(&parsed.bundle) > 1);
            let mut new: HashMap<_, _> = kept.map(|(key, parsed)| (*key, parsed.clone())).collect();
            new.insert(key, parsed.clone());
            new
        });
        parsed
    }
}

fn parse(bundle: &[Vec<u8>]) -> Option<Arc<CaType>> {
    // The engine panics on what is no certificate, so it only gets what was read before.
    let is_readable = |der: &Vec<u8>| x509_parser::parse_x509_certificate(der).is_ok();
    let is_usable = !bundle.is_empty() && bundle.iter().all(is_readable);
    is_usable.then(|| bundle.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Vec<u8> {
        rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.der().to_vec()
    }

    #[test]
    fn a_bundle_is_parsed_once_and_has_an_id_of_its_own() {
        let authorities = Authorities::default();
        let (one, two): (Bundle, Bundle) = ([certificate()].into(), [certificate()].into());
        let first = authorities.of(&one);
        assert_eq!(first.authorities.as_ref().unwrap().len(), 1);
        assert_eq!(authorities.of(&one).id, first.id);
        assert_ne!(authorities.of(&two).id, first.id);
    }

    #[test]
    fn an_unreadable_bundle_verifies_nothing() {
        let bundle: Bundle = [certificate(), b"junk".to_vec()].into();
        assert!(Authorities::default().of(&bundle).authorities.is_none());
        assert!(Authorities::default().of(&Vec::new().into()).authorities.is_none());
    }

    #[test]
    fn bundles_that_nobody_holds_are_forgotten() {
        let authorities = Authorities::default();
        for _ in 0..10 {
            authorities.of(&[certificate()].into());
        }
        assert!(authorities.parsed.load().len() <= 2);
    }
}
