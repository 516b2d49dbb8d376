//! Sockets of the conf: all of them serve the same hosts.

use std::sync::Arc;

use crate::listener::{ListenerId, Serves, TlsSettings};
use crate::model::{Certificate, Listener, SecretBytes};
use crate::origin::Origin;
use crate::resources::conf::{Conf, ListenerSpec, PemFiles, TlsSpec};

/// Reads them, in the order in which they stand.
pub(crate) fn listeners(conf: &Conf, origin: &Origin) -> Arc<[Arc<Listener>]> {
    let named = conf.listeners.iter().enumerate();
    named.map(|(index, spec)| Arc::new(listener(spec, origin.at(format!("listeners[{index}]"))))).collect()
}

fn listener(spec: &ListenerSpec, origin: Origin) -> Listener {
    let tls = spec.tls.as_ref();
    Listener {
        id: ListenerId::from(spec.name.as_str()),
        address: spec.address,
        protocol: spec.protocol,
        tls: Arc::new(tls.map_or_else(TlsSettings::default, settings)),
        certificate: tls.and_then(certificate).map(Arc::new),
        serves: Serves::Common,
        origin,
    }
}

fn settings(tls: &TlsSpec) -> TlsSettings {
    let default = TlsSettings::default();
    TlsSettings { alpn: tls.alpn.as_deref().map_or(default.alpn, Into::into), min_version: tls.min_version, ..default }
}

/// The certificate of its files. One that the source could not read, it has told.
fn certificate(tls: &TlsSpec) -> Option<Certificate> {
    let ((chain, _), PemFiles { chain: chain_pem, key }) = tls.files().zip(tls.pem.as_ref())?;
    Some(Certificate {
        name: chain.into(),
        origin: Origin::new("File", "", chain, None),
        chain_pem: Arc::clone(chain_pem),
        key_pem: SecretBytes::new(Arc::clone(key)),
        is_invalid: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::listener::{Alpn, ListenerProtocol, TlsVersion};
    use crate::resources::{Event, Kind, Object, Resources};
    use crate::translate::translate;

    #[test]
    fn they_stand_in_their_order_with_what_is_spoken_on_them() {
        let conf: Conf = serde_json::from_value(json!({ "listeners": [
            { "name": "b", "address": "127.0.0.1:1", "protocol": "https", "tls": { "alpn": ["http/1.1"], "minVersion": "1.3" } },
            { "name": "a", "address": "127.0.0.1:2", "protocol": "h2c" },
        ] }))
        .unwrap();
        let [first, second] = &*listeners(&conf, &Origin::default()) else { panic!("two") };
        assert_eq!((first.id.as_str(), second.id.as_str()), ("b", "a"));
        assert_eq!((first.protocol, second.protocol), (ListenerProtocol::Https, ListenerProtocol::H2c));
        assert_eq!((&*first.tls.alpn, first.tls.min_version), (&[Alpn::Http11][..], TlsVersion::Tls13));
        assert_eq!((&second.tls, &*second.origin.field), (&Arc::default(), "listeners[1]"));
    }

    #[test]
    fn a_certificate_is_what_its_files_hold() {
        let pem = PemFiles { chain: b"chain"[..].into(), key: b"key"[..].into() };
        let named = |pem| TlsSpec {
            certificate_file: Some("a.crt".to_owned()),
            key_file: Some("a.key".to_owned()),
            pem,
            ..TlsSpec::default()
        };
        let found = certificate(&named(Some(pem))).unwrap();
        assert_eq!((&*found.name, &*found.chain_pem, &**found.key_pem.expose()), ("a.crt", &b"chain"[..], &b"key"[..]));
        assert_eq!(certificate(&named(None)), None, "the source could not read it, and said so");
    }

    #[test]
    fn without_a_conf_nobody_says_where_to_listen() {
        let mut resources = Resources::default();
        assert_eq!(translate(&resources).model.listeners, None);
        resources.apply([Event::Apply(Object::from_json(Kind::Conf, json!({})).unwrap())]);
        assert_eq!(translate(&resources).model.listeners.unwrap().len(), 2);
    }
}
