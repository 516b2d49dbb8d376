//! Random objects, good and bad ones, that come and go.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HOSTS: [&str; 7] = ["a.test", "b.test", "*.test", "c.a.test", "*.a.test", "", "bad host"];
const NAMES: [&str; 3] = ["one", "two", "three"];
const SERVICES: [&str; 2] = ["web", "api"];
const CLASSES: [&str; 3] = ["tidegate", "edge", "other"];

pub(super) fn object(kind: Kind, value: Value) -> Object {
    Object::from_json(kind, value).unwrap()
}

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

fn ingress() -> impl Strategy<Value = Event> {
    let path = pick(&["/", "/x", "/x/", "bad"]);
    let rule = (pick(&HOSTS), prop::collection::vec((path, pick(&SERVICES), pick(&[80, 81])), 0..3));
    let secret = prop::option::weighted(0.8, pick(&["cert", "other"]));
    let tls = prop::collection::vec((prop::collection::vec(pick(&HOSTS), 0..3), secret), 0..3);
    let annotations = pick(&[
        json!({}),
        json!({"tidegate.io/backend-protocol": "GRPC"}),
        json!({"tidegate.io/plugins": "limit"}),
        json!({"tidegate.io/proxy-read-timeout": "5s", "tidegate.io/ssl-redirect": "false"}),
        json!({"nginx.ingress.kubernetes.io/auth-url": "http://x"}),
        json!({"tidegate.io/auth-type": "basic", "tidegate.io/auth-secret": "other"}),
        json!({"tidegate.io/auth-type": "basic", "tidegate.io/auth-secret": "away/other"}),
    ]);
    let parts = (
        (pick(&["ns", "ns", "away"]), pick(&NAMES)),
        prop_oneof![6 => Just(Some("tidegate")), 2 => pick(&CLASSES).prop_map(Some), 1 => Just(None)],
        prop::collection::vec(rule, 0..3),
        prop::option::of(pick(&SERVICES)),
        tls,
        annotations,
        (pick(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]), 1..3_i64),
    );
    parts.prop_map(|((namespace, name), class, rules, default, tls, annotations, (created, generation))| {
        let backend = |service: &str, port: i32| json!({"service": {"name": service, "port": {"number": port}}});
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|(host, paths)| {
                let paths: Vec<Value> = paths
                    .into_iter()
                    .map(|(path, service, port)| {
                        json!({"path": path, "pathType": "Prefix", "backend": backend(service, port)})
                    })
                    .collect();
                json!({"host": host, "http": {"paths": paths}})
            })
            .collect();
        let tls: Vec<Value> =
            tls.into_iter().map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret})).collect();
        Event::Apply(object(
            Kind::Ingress,
            json!({
                "metadata": {
                    "name": name, "namespace": namespace, "creationTimestamp": created, "generation": generation,
                    "annotations": annotations,
                },
                "spec": {
                    "ingressClassName": class, "rules": rules, "tls": tls,
                    "defaultBackend": default.map(|service| backend(service, 80)),
                },
            }),
        ))
    })
}

fn service() -> impl Strategy<Value = Event> {
    let spec = pick(&[
        json!({"ports": [{"port": 80}]}),
        json!({"ports": [{"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}, {"name": "b", "port": 81}]}),
        json!({"type": "ExternalName", "externalName": "x.test"}),
        json!({"type": "ExternalName", "externalName": "localhost"}),
    ]);
    let annotations = pick(&[json!({}), json!({}), json!({"tidegate.io/plugins": "limit"})]);
    (pick(&SERVICES), spec, annotations).prop_map(|(name, spec, annotations)| {
        let metadata = json!({"name": name, "namespace": "ns", "annotations": annotations});
        Event::Apply(object(Kind::Service, json!({"metadata": metadata, "spec": spec})))
    })
}

fn slice() -> impl Strategy<Value = Event> {
    let address = pick(&["10.0.0.1", "10.0.0.2", "127.0.0.1"]);
    (pick(&NAMES), pick(&SERVICES), address, any::<bool>(), pick(&[json!(null), json!("http")])).prop_map(
        |(name, service, address, ready, port)| {
            Event::Apply(object(
                Kind::EndpointSlice,
                json!({
                    "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": service}},
                    "addressType": "IPv4",
                    "ports": [{"name": port, "port": 8080}],
                    "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
                }),
            ))
        },
    )
}

fn endpoints() -> impl Strategy<Value = Event> {
    (pick(&SERVICES), 1..4u8).prop_map(|(name, address)| {
        Event::Apply(object(
            Kind::Endpoints,
            json!({
                "metadata": {"name": name, "namespace": "ns"},
                "subsets": [{"addresses": [{"ip": format!("10.1.0.{address}")}], "ports": [{"port": 8080}]}],
            }),
        ))
    })
}

fn secret() -> impl Strategy<Value = Event> {
    let name = pick(&[("ns", "cert"), ("ns", "other"), ("away", "other")]);
    (name, pick(&["kubernetes.io/tls", "Opaque"]), pick(&["QQ==", "Qg=="])).prop_map(
        |((namespace, name), kind, bytes)| {
            Event::Apply(object(
                Kind::Secret,
                json!({
                    "metadata": {"name": name, "namespace": namespace}, "type": kind,
                    "data": {"tls.crt": bytes, "tls.key": bytes},
                }),
            ))
        },
    )
}

fn class() -> impl Strategy<Value = Event> {
    let controller = pick(&["tidegate.io/ingress-controller", "example.com/other"]);
    // A class object named as ours comes and goes less often, or hardly anything would be served.
    (pick(&["edge", "edge", "other", "other", "tidegate"]), controller, any::<bool>()).prop_map(
        |(name, controller, is_default)| {
            let annotation = json!({"ingressclass.kubernetes.io/is-default-class": is_default.to_string()});
            Event::Apply(object(
                Kind::IngressClass,
                json!({
                    "metadata": {"name": name, "annotations": annotation}, "spec": {"controller": controller},
                }),
            ))
        },
    )
}

fn conf() -> impl Strategy<Value = Event> {
    let part = pick(&[
        json!({}),
        json!({"ingress": {"sslRedirect": false, "watchWithoutClass": true}, "defaults": {"allowExternalName": true}}),
        json!({"defaults": {"backend": "ns/web:80", "certificate": "ns/cert"}}),
        json!({"defaults": {"attempts": 2, "loadBalancing": "least-request", "serverHeader": "off"}}),
        json!({"plugins": {"limit": {"type": "rate-limit"}}}),
        json!({"defaults": {"maxHashCost": {"bcrypt": 14}}}),
        json!({"defaults": {"allowAddresses": ["127.0.0.0/8"], "allowExternalName": true}}),
        json!({"grants": [{"namespace": "away", "from": [{"kind": "Ingress", "namespace": "ns"}], "to": [{"kind": "Secret"}]}]}),
        json!({"plugins": {"limit": {"type": "basic-auth", "users": {"secretName": "other", "namespace": "ns"}}}}),
        json!({"routes": [{"respond": {}, "plugins": [{"type": "basic-auth", "users": {"secretName": "other", "namespace": "ns"}}]}]}),
        json!({"upstreams": {"up": {"endpoints": [{"address": "127.0.0.1:80"}]}},
               "routes": [{"hosts": ["a.test"], "paths": [{"prefix": "/x"}], "backends": [{"upstream": "up"}]}]}),
        json!({"routes": [{"backends": [{"service": "ns/web:80"}], "plugins": ["limit"]}]}),
        json!({"routes": [{"hosts": ["**.test", "*.a.test"], "respond": {}}]}),
    ]);
    part.prop_map(|conf| Event::Apply(object(Kind::Conf, conf)))
}

fn delete() -> impl Strategy<Value = Event> {
    let names = [NAMES.as_slice(), &SERVICES, &CLASSES, &["cert"]].concat();
    let kinds = [
        Kind::Ingress,
        Kind::IngressClass,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Endpoints,
        Kind::Secret,
        Kind::Conf,
    ];
    (pick(&kinds), pick(&["ns", "ns", "away"]), pick(&names)).prop_map(|(kind, namespace, name)| {
        Event::Delete(match kind {
            Kind::Conf => ObjectRef::new(kind, "", ""),
            Kind::IngressClass => ObjectRef::new(kind, "", name),
            _ => ObjectRef::new(kind, namespace, name),
        })
    })
}

pub(super) fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let event = prop_oneof![
        6 => ingress(), 3 => service(), 3 => slice(), 1 => endpoints(), 2 => secret(), 1 => class(), 2 => conf(),
        3 => delete(),
    ];
    prop::collection::vec(prop::collection::vec(event, 1..4), 1..25)
}
