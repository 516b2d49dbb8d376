//! Whatever the order of events, the incremental result is the full one, and what differs is told.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::resources::{Event, Object, ObjectRef};

const HOSTS: [&str; 5] = ["a.test", "b.test", "*.test", "", "bad host"];
const NAMES: [&str; 3] = ["one", "two", "three"];
const SERVICES: [&str; 2] = ["web", "api"];
const CLASSES: [&str; 3] = ["tidegate", "edge", "other"];

fn object(kind: Kind, value: Value) -> Object {
    Object::from_json(kind, value).unwrap()
}

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

fn ingress() -> impl Strategy<Value = Event> {
    let path = pick(&["/", "/x", "/x/", "bad"]);
    let rule = (pick(&HOSTS), prop::collection::vec((path, pick(&SERVICES), pick(&[80, 81])), 0..3));
    let tls = prop::option::of((prop::option::of(pick(&HOSTS)), pick(&["cert", "other"])));
    let annotations = pick(&[
        json!({}),
        json!({"tidegate.io/backend-protocol": "GRPC"}),
        json!({"tidegate.io/plugins": "limit"}),
        json!({"tidegate.io/proxy-read-timeout": "5s", "tidegate.io/ssl-redirect": "false"}),
        json!({"nginx.ingress.kubernetes.io/auth-url": "http://x"}),
    ]);
    let parts = (
        pick(&NAMES),
        prop_oneof![6 => Just(Some("tidegate")), 2 => pick(&CLASSES).prop_map(Some), 1 => Just(None)],
        prop::collection::vec(rule, 0..3),
        prop::option::of(pick(&SERVICES)),
        tls,
        annotations,
        pick(&["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]),
    );
    parts.prop_map(|(name, class, rules, default, tls, annotations, created)| {
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
        let tls: Vec<Value> = tls
            .into_iter()
            .map(|(host, secret)| json!({"hosts": host.map(|host| vec![host]), "secretName": secret}))
            .collect();
        Event::Apply(object(
            Kind::Ingress,
            json!({
                "metadata": {"name": name, "namespace": "ns", "creationTimestamp": created, "annotations": annotations},
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
    ]);
    (pick(&SERVICES), spec).prop_map(|(name, spec)| {
        Event::Apply(object(Kind::Service, json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})))
    })
}

fn slice() -> impl Strategy<Value = Event> {
    (pick(&NAMES), pick(&SERVICES), 1..4u8, any::<bool>(), pick(&[json!(null), json!("http")])).prop_map(
        |(name, service, address, ready, port)| {
            Event::Apply(object(
                Kind::EndpointSlice,
                json!({
                    "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": service}},
                    "addressType": "IPv4",
                    "ports": [{"name": port, "port": 8080}],
                    "endpoints": [{"addresses": [format!("10.0.0.{address}")], "conditions": {"ready": ready}}],
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
    (pick(&["cert", "other"]), pick(&["kubernetes.io/tls", "Opaque"]), pick(&["QQ==", "Qg=="])).prop_map(
        |(name, kind, bytes)| {
            Event::Apply(object(
                Kind::Secret,
                json!({
                    "metadata": {"name": name, "namespace": "ns"}, "type": kind,
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
        json!({"ingress": {"sslRedirect": false, "allowExternalName": true, "watchWithoutClass": true}}),
        json!({"ingress": {"defaultBackend": "ns/web:80", "defaultCertificate": "ns/cert"}}),
        json!({"defaults": {"tries": 2, "loadBalancing": "least-request", "serverHeader": "off"}}),
        json!({"plugins": {"limit": {"type": "rate-limit"}}}),
        json!({"upstreams": {"up": {"endpoints": [{"address": "127.0.0.1:80"}]}},
               "routes": [{"hosts": ["a.test"], "paths": [{"prefix": "/x"}], "backends": [{"upstream": "up"}]}]}),
        json!({"routes": [{"backends": [{"service": "ns/web:80"}], "plugins": ["limit"]}]}),
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
    (pick(&kinds), pick(&names)).prop_map(|(kind, name)| {
        Event::Delete(match kind {
            Kind::Conf => ObjectRef::new(kind, "", ""),
            Kind::IngressClass => ObjectRef::new(kind, "", name),
            _ => ObjectRef::new(kind, "ns", name),
        })
    })
}

fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let event = prop_oneof![
        6 => ingress(), 3 => service(), 3 => slice(), 1 => endpoints(), 2 => secret(), 1 => class(), 2 => conf(),
        3 => delete(),
    ];
    prop::collection::vec(prop::collection::vec(event, 1..4), 1..25)
}

fn changed<K: Ord + Clone, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> BTreeSet<K> {
    before.keys().chain(after.keys()).filter(|key| before.get(key) != after.get(key)).cloned().collect()
}

fn difference(before: &Model, after: &Model) -> Touched {
    Touched {
        hosts: changed(&before.hosts, &after.hosts),
        backends: changed(&before.backends, &after.backends),
        endpoints: changed(&before.endpoints, &after.endpoints),
        certificates: changed(&before.certificates, &after.certificates),
        default_certificate: before.default_certificate != after.default_certificate,
        default: before.default != after.default,
        edge: before.edge != after.edge,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_sequence_of_changes_gives_what_a_full_translation_gives(batches in events()) {
        let mut resources = Resources::default();
        let mut translator = Translator::new();
        for batch in batches {
            let before = translator.model().clone();
            let changes = resources.apply(batch);
            let touched = translator.apply(&resources, &changes);
            let full = translate(&resources);
            prop_assert_eq!(translator.model(), &full.model);
            prop_assert_eq!(translator.diagnostics(), full.diagnostics);
            prop_assert_eq!(touched, difference(&before, translator.model()));
        }
    }
}

fn apply(resources: &mut Resources, translator: &mut Translator, object: Object) -> Touched {
    let changes = resources.apply([Event::Apply(object)]);
    translator.apply(resources, &changes)
}

fn simple_ingress(name: &str) -> Object {
    object(
        Kind::Ingress,
        json!({
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"ingressClassName": "tidegate", "rules": [{"host": format!("{name}.test"), "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            ]}}]},
        }),
    )
}

fn simple_slice(address: &str) -> Object {
    object(
        Kind::EndpointSlice,
        json!({
            "metadata": {"name": "web-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}],
        }),
    )
}

#[test]
fn a_service_that_appears_touches_its_backend_and_no_host() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    let id = BackendId::service("ns", "web", "80");
    assert!(translator.model().backends[&id].is_invalid);
    let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    let touched = apply(&mut resources, &mut translator, object(Kind::Service, service));
    assert_eq!(touched, Touched { backends: [id.clone()].into(), ..Touched::default() });
    assert!(!translator.model().backends[&id].is_invalid);
}

#[test]
fn a_change_of_endpoints_touches_endpoints_only() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    apply(&mut resources, &mut translator, object(Kind::Service, service));
    let touched = apply(&mut resources, &mut translator, simple_slice("10.0.0.1"));
    assert!(touched.is_endpoints_only() && !touched.is_empty(), "{touched:?}");
    assert!(apply(&mut resources, &mut translator, simple_slice("10.0.0.1")).is_empty());
}

#[test]
fn an_ingress_that_changes_touches_the_hosts_it_names_only() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    let touched = apply(&mut resources, &mut translator, simple_ingress("b"));
    assert_eq!(touched, Touched { hosts: [HostPattern::parse("b.test").unwrap()].into(), ..Touched::default() });
}
