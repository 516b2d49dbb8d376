//! Whatever the order of events, the incremental result is the full one, and what differs is told.

mod objects;
mod statuses;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::code::Code;
use crate::resources::{Event, Kind, Object, ObjectRef};
use objects::{events, object};

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
        listeners: before.listeners != after.listeners,
        edge: before.edge != after.edge,
        address_rules: before.address_rules != after.address_rules,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_sequence_of_changes_gives_what_a_full_translation_gives(batches in events()) {
        let mut resources = Resources::default();
        let mut translator = Translator::new();
        let mut wanted = BTreeSet::new();
        for batch in batches {
            let before = translator.model().clone();
            let changes = resources.apply(batch);
            let touched = translator.apply(&resources, &changes);
            let full = translate(&resources);
            prop_assert_eq!(translator.model(), &full.model);
            prop_assert_eq!(translator.diagnostics(), full.diagnostics);
            prop_assert_eq!(touched, difference(&before, translator.model()));
            demand(&mut translator, &mut wanted);
            let (mut whole, mut wanted_of_whole) = (Translator::new(), BTreeSet::new());
            whole.apply(&resources, &resources.all());
            demand(&mut whole, &mut wanted_of_whole);
            prop_assert_eq!(&wanted, &wanted_of_whole);
        }
    }
}

/// Brings a set of wanted Secrets up to date; each change of it is told once.
fn demand(translator: &mut Translator, wanted: &mut BTreeSet<ObjectName>) {
    for (name, is_wanted) in translator.take_demand() {
        let is_news = if is_wanted { wanted.insert(name.clone()) } else { wanted.remove(&name) };
        assert!(is_news, "{name} was told already");
    }
}

/// Objects that need each other, in a thousand orders, with deletions between them.
#[test]
fn the_order_in_which_objects_come_and_go_leaves_no_trace() {
    let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    let secret = json!({"metadata": {"name": "cert", "namespace": "ns"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": "AA==", "tls.key": "AA=="}});
    let tls = json!({"metadata": {"name": "tls", "namespace": "ns"}, "spec": {"ingressClassName": "edge",
        "tls": [{"hosts": ["a.test"], "secretName": "cert"}],
        "rules": [{"host": "a.test", "http": {"paths": [{"path": "/x", "pathType": "Exact",
            "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}});
    let class = json!({"metadata": {"name": "edge"}, "spec": {"controller": "tidegate.io/ingress-controller"}});
    let objects = [
        simple_ingress("a"),
        object(Kind::Ingress, tls),
        object(Kind::IngressClass, class),
        object(Kind::Service, service),
        object(Kind::Secret, secret),
        simple_slice("10.0.0.1"),
    ];
    let mut expected = Resources::default();
    expected.apply(objects.iter().cloned().map(Event::Apply));
    let expected = translate(&expected);
    assert_eq!(expected.model.hosts.len(), 1);
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..1000 {
        let mut events: Vec<Event> = objects.iter().cloned().map(Event::Apply).collect();
        // Some come, go and come again.
        let gone = random.choice(&objects).map(Object::to_ref);
        events.extend(gone.map(Event::Delete));
        random.shuffle(&mut events);
        let missing: Vec<Event> = objects.iter().cloned().map(Event::Apply).collect();
        let (mut resources, mut translator) = (Resources::default(), Translator::new());
        for event in events.into_iter().chain(missing) {
            let changes = resources.apply([event]);
            translator.apply(&resources, &changes);
        }
        assert_eq!(translator.model(), &expected.model);
        assert_eq!(translator.diagnostics(), expected.diagnostics);
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

/// Addresses of the one backend's endpoints, and whether one is refused.
fn endpoints_of(translator: &Translator) -> (Vec<String>, bool) {
    let set = &translator.model().endpoints[&BackendId::service("ns", "web", "80")];
    let is_told = translator.diagnostics().iter().any(|each| each.code == Code::AddressRefused);
    (set.endpoints.iter().map(|each| each.address.to_string()).collect(), is_told)
}

#[test]
fn addresses_of_files_are_the_operators_own_and_those_of_a_cluster_are_not() {
    let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    for kind in [Kind::EndpointSlice, Kind::Endpoints] {
        let (mut resources, mut translator) = (Resources::default(), Translator::new());
        apply(&mut resources, &mut translator, simple_ingress("a"));
        apply(&mut resources, &mut translator, object(Kind::Service, service.clone()));
        let endpoints = json!({"metadata": {"name": "web", "namespace": "ns"},
            "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 8080}]}]});
        let of_cluster = match kind {
            Kind::Endpoints => object(kind, endpoints),
            _ => simple_slice("127.0.0.1"),
        };
        apply(&mut resources, &mut translator, of_cluster.clone());
        assert_eq!(endpoints_of(&translator), (vec![], true), "{kind:?}");
        apply(&mut resources, &mut translator, of_file(of_cluster));
        assert_eq!(endpoints_of(&translator), (vec!["127.0.0.1:8080".to_owned()], false), "{kind:?}");
    }
}

/// The same object, read from a file.
fn of_file(object: Object) -> Object {
    let place = crate::origin::Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
    let mut origin = (**object.origin()).clone();
    origin.place = Some(place);
    let origin = Arc::new(origin);
    match object {
        Object::EndpointSlice(it) => Object::EndpointSlice(crate::resources::Sourced { origin, ..it }),
        Object::Endpoints(it) => Object::Endpoints(crate::resources::Sourced { origin, ..it }),
        Object::Service(it) => Object::Service(crate::resources::Sourced { origin, ..it }),
        other => other,
    }
}

/// Who writes an address into a file means it; `localhost` is a name, which says what it stands for.
#[test]
fn an_external_name_that_is_an_address_of_a_file_is_the_operators_own() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    apply(&mut resources, &mut translator, object(Kind::Conf, json!({"defaults": {"allowExternalName": true}})));
    for (name, of_cluster, of_files) in [
        ("127.0.0.1", None, Some("127.0.0.1:80")),
        ("::1", None, Some("[::1]:80")),
        ("localhost", None, None),
        ("a.localhost.", None, None),
        ("10.0.0.1", Some("10.0.0.1:80"), Some("10.0.0.1:80")),
    ] {
        let spec = json!({"type": "ExternalName", "externalName": name});
        let service = object(Kind::Service, json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}));
        for (service, expected) in [(service.clone(), of_cluster), (of_file(service), of_files)] {
            apply(&mut resources, &mut translator, service);
            let addresses: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(endpoints_of(&translator), (addresses, expected.is_none()), "{name}");
        }
    }
}

#[test]
fn networks_and_sockets_of_the_conf_decide_about_addresses_at_once() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    let service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    apply(&mut resources, &mut translator, object(Kind::Service, service));
    apply(&mut resources, &mut translator, simple_slice("127.0.0.1"));
    let conf = |allowed: &str, own: &str| {
        let mut conf = crate::resources::conf::Conf::default();
        conf.defaults.allow_addresses = vec![allowed.parse().unwrap()];
        conf.own_sockets.sockets = vec![own.parse().unwrap()];
        Object::conf(conf, None)
    };
    apply(&mut resources, &mut translator, conf("192.0.2.0/24", "127.0.0.1:1"));
    for (allowed, own, is_let_in) in [
        ("127.0.0.0/8", "127.0.0.1:1", true),
        ("10.0.0.0/8", "127.0.0.1:1", false),
        ("127.0.0.0/8", "0.0.0.0:8080", false),
        ("127.0.0.1/32", "0.0.0.0:8080", true),
    ] {
        let touched = apply(&mut resources, &mut translator, conf(allowed, own));
        assert!(touched.address_rules && touched.is_endpoints_only(), "{touched:?}");
        let expected = if is_let_in { vec!["127.0.0.1:8080".to_owned()] } else { Vec::new() };
        assert_eq!(endpoints_of(&translator), (expected, !is_let_in), "{allowed} {own}");
    }
}

#[test]
fn an_ingress_that_changes_touches_the_hosts_it_names_only() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    apply(&mut resources, &mut translator, simple_ingress("a"));
    let touched = apply(&mut resources, &mut translator, simple_ingress("b"));
    assert_eq!(touched, Touched { hosts: [HostPattern::parse("b.test").unwrap()].into(), ..Touched::default() });
}

/// The inputs of the one plugin on the routes of a host.
fn inputs(translator: &Translator, host: &str) -> crate::model::PluginInputs {
    let pattern = HostPattern::parse(host).unwrap();
    translator.model().hosts[&pattern].routes[0].plugins[0].instance.inputs.clone()
}

#[test]
fn a_changed_secret_touches_the_hosts_whose_plugins_name_it_and_no_other() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    let secret = |value: &str| {
        object(Kind::Secret, json!({"metadata": {"name": "users", "namespace": "ns"}, "stringData": {"auth": value}}))
    };
    let auth = json!({"type": "basic-auth", "users": {"secretName": "users", "namespace": "ns"}});
    let conf = json!({"plugins": {"auth": auth}, "routes": [
        {"hosts": ["named.test"], "respond": {}, "plugins": ["auth"]},
        {"hosts": ["inline.test"], "respond": {}, "plugins": [auth]},
        {"hosts": ["free.test"], "respond": {}},
    ]});
    apply(&mut resources, &mut translator, object(Kind::Conf, conf));
    apply(&mut resources, &mut translator, simple_ingress("free"));
    let annotated = json!({"metadata": {"name": "own", "namespace": "ns", "annotations":
        {"tidegate.io/auth-type": "basic", "tidegate.io/auth-secret": "users"}},
        "spec": {"ingressClassName": "tidegate", "rules": [{"host": "own.test", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}});
    apply(&mut resources, &mut translator, object(Kind::Ingress, annotated));
    let hosts = ["inline.test", "named.test", "own.test"];
    let patterns: BTreeSet<HostPattern> = hosts.map(|host| HostPattern::parse(host).unwrap()).into();
    assert!(hosts.iter().all(|host| inputs(&translator, host).secrets.is_empty()));
    for value in ["one", "two"] {
        let touched = apply(&mut resources, &mut translator, secret(value));
        assert_eq!(touched, Touched { hosts: patterns.clone(), ..Touched::default() });
        for host in hosts {
            let inputs = inputs(&translator, host);
            let data = inputs.secrets.values().next().unwrap();
            assert_eq!((&*data[0].0, &**data[0].1.expose()), ("auth", value.as_bytes()), "{host}");
        }
    }
    assert_eq!(apply(&mut resources, &mut translator, secret("two")), Touched::default());
    let changes = resources.apply([Event::Delete(ObjectRef::new(Kind::Secret, "ns", "users"))]);
    assert_eq!(translator.apply(&resources, &changes).hosts, patterns);
}

#[test]
fn a_secret_of_another_namespace_is_read_only_while_it_is_granted() {
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    let users = json!({"metadata": {"name": "users", "namespace": "staff"}, "stringData": {"auth": "one"}});
    apply(&mut resources, &mut translator, object(Kind::Secret, users));
    let annotated = json!({"metadata": {"name": "own", "namespace": "ns", "annotations":
        {"tidegate.io/auth-type": "basic", "tidegate.io/auth-secret": "staff/users"}},
        "spec": {"ingressClassName": "tidegate", "rules": [{"host": "own.test", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}});
    apply(&mut resources, &mut translator, object(Kind::Ingress, annotated));
    let name = ObjectName::new("staff", "users");
    let grant = |namespace: &str, from: &str, to: Value| json!({"grants": [{"namespace": namespace, "from": [{"kind": "Ingress", "namespace": from}], "to": [to]}]});
    let mut was_granted = false;
    for (conf, is_granted) in [
        (json!({}), false),
        (grant("staff", "ns", json!({"kind": "Secret", "name": "users"})), true),
        (grant("staff", "ns", json!({"kind": "Secret", "name": "others"})), false),
        (grant("staff", "ns", json!({"kind": "Secret"})), true),
        (grant("staff", "away", json!({"kind": "Secret"})), false),
        (grant("away", "ns", json!({"kind": "Secret"})), false),
    ] {
        apply(&mut resources, &mut translator, object(Kind::Conf, conf.clone()));
        assert_eq!(!inputs(&translator, "own.test").secrets.is_empty(), is_granted, "{conf}");
        let demand = if is_granted == was_granted { vec![] } else { vec![(name.clone(), is_granted)] };
        assert_eq!(translator.take_demand(), demand, "{conf}");
        let is_told = translator.diagnostics().iter().any(|each| each.code == Code::ForbiddenReference);
        assert_eq!(is_told, !is_granted, "{conf}");
        was_granted = is_granted;
    }
}

/// A pattern that comes between takes the redirect of a name away from where it stood, whatever else comes with it.
#[test]
fn a_name_that_ceases_to_be_a_stray_leaves_no_redirect_where_it_was_served() {
    let ingress = |name: &str, hosts: &[&str], named: &[&str]| {
        let path =
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host, "http": {"paths": [path]}})).collect();
        Event::Apply(object(
            Kind::Ingress,
            json!({"metadata": {"name": name, "namespace": "ns"},
                "spec": {"ingressClassName": "tidegate", "rules": rules, "tls": [{"hosts": named}]}}),
        ))
    };
    let steps = [
        vec![ingress("any", &[""], &[]), ingress("tls", &["other.test"], &["a.test"])],
        vec![ingress("new", &["a.test", "*.test"], &[])],
        vec![ingress("new", &["other.test"], &[])],
        vec![ingress("new", &["*.test"], &[]), ingress("tls", &["other.test"], &[])],
    ];
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    for step in steps {
        let changes = resources.apply(step);
        translator.apply(&resources, &changes);
        assert_eq!(translator.model(), &translate(&resources).model);
    }
}
