//! Listeners: what the model says of them, with certificates that can be presented.

use std::sync::Arc;

use super::certificate;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model;
use crate::snapshot::certificates::ServedCertificate;
use crate::snapshot::listener::{Listener, Listeners};

/// Compiles them. A certificate that cannot be used leaves in force what the listener of this name has in `previous`.
pub(crate) fn compile(wanted: &[Arc<model::Listener>], previous: &[Arc<Listener>]) -> (Listeners, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let compiled = wanted.iter().map(|listener| {
        let before = previous.iter().find(|previous| previous.id == listener.id);
        let before = before.and_then(|previous| previous.certificate.as_ref());
        let certificate = served(listener, before, &mut diagnostics);
        let model::Listener { id, origin, address, protocol, tls, serves, .. } = &**listener;
        let (id, origin, tls) = (id.clone(), origin.clone(), Arc::clone(tls));
        Arc::new(Listener { id, origin, address: *address, protocol: *protocol, tls, certificate, serves: *serves })
    });
    (compiled.collect(), diagnostics)
}

fn served(
    listener: &model::Listener,
    before: Option<&Arc<ServedCertificate>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Arc<ServedCertificate>> {
    let certificate = listener.certificate.as_ref()?;
    match certificate::read(certificate) {
        Ok(read) => {
            diagnostics.extend(read.told);
            Some(read.served)
        }
        Err(fault) => {
            let origin = listener.origin.at(format!("{}.tls.certificateFile", listener.origin.field));
            let message = format!("certificate {}: {fault}", certificate.name);
            let diagnostic = Diagnostic::error(Code::InvalidCertificate, &origin, message);
            diagnostics.push(diagnostic.hint(UNUSABLE));
            before.cloned()
        }
    }
}

/// What is to be known of a listener's certificate that cannot be used.
const UNUSABLE: &str = "tidegate does not start with it; a running one keeps the certificate that it has";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{ListenerProtocol, Serves};
    use crate::model::{Certificate, SecretBytes};
    use crate::origin::Origin;

    fn listener(name: &str, pem: Option<(String, String)>) -> Arc<model::Listener> {
        Arc::new(model::Listener {
            id: name.into(),
            origin: Origin::default().at("listeners[0]"),
            address: ([127, 0, 0, 1], 443).into(),
            protocol: ListenerProtocol::Https,
            tls: Arc::default(),
            certificate: pem.map(|(chain, key)| {
                Arc::new(Certificate {
                    name: "a.crt".into(),
                    origin: Origin::default(),
                    chain_pem: chain.into_bytes().into(),
                    key_pem: SecretBytes::new(key.into_bytes()),
                    is_invalid: false,
                })
            }),
            serves: Serves::Common,
        })
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_that_cannot_be_used_leaves_the_one_before_in_force_and_is_told() {
        let (good, found) = compile(&[listener("a", Some(made()))], &[]);
        assert!(found.is_empty() && good[0].certificate.is_some());
        let mixed = (made().0, made().1);
        let (kept, found) = compile(&[listener("a", Some(mixed.clone()))], &good);
        assert_eq!(
            (found[0].code, &*found[0].origin.field),
            (Code::InvalidCertificate, "listeners[0].tls.certificateFile")
        );
        assert!(Arc::ptr_eq(kept[0].certificate.as_ref().unwrap(), good[0].certificate.as_ref().unwrap()));
        let (other, _) = compile(&[listener("b", Some(mixed))], &good);
        assert!(other[0].certificate.is_none(), "another listener's is not taken");
        let (none, _) = compile(&[listener("a", None)], &good);
        assert!(none[0].certificate.is_none(), "the conf names none any more");
    }
}
