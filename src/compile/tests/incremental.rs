//! Any sequence of changes compiles to what the final model compiles to.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::fixtures::{backend, codes, compiler, exact, full, host, model, prefix, route};
use crate::edge::{Edge, Limits};
use crate::host::HostPattern;
use crate::model::*;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::route;
use crate::upstream::UpstreamConfig;

/// One change of a model.
#[derive(Clone, Debug)]
enum Change {
    Host(usize, Option<Vec<(u8, u8)>>),
    Backend(u8, Option<bool>),
    Default(Option<u8>),
    Edge(usize),
}

const PATTERNS: [&str; 5] = ["", "a.t", "b.t", "*.t", "**.a.t"];

fn any_change() -> impl Strategy<Value = Change> {
    let routes = prop::collection::vec((0..4u8, 0..4u8), 0..4);
    prop_oneof![
        4 => (0..PATTERNS.len(), prop::option::of(routes)).prop_map(|(host, routes)| Change::Host(host, routes)),
        2 => (0..4u8, prop::option::of(any::<bool>())).prop_map(|(name, to)| Change::Backend(name, to)),
        1 => prop::option::of(0..4u8).prop_map(Change::Default),
        1 => (1..5usize).prop_map(Change::Edge),
    ]
}

fn route_to(path: u8, to: u8) -> Route {
    let mut route = route(&format!("r{path}{to}"), prefix(&format!("/{path}")));
    route.action = Action::Forward([WeightedBackend { backend: backend_id(to), weight: 1 }].into());
    if path == 3 {
        route.matcher.path = PathMatch::Regex("(".into());
    }
    route
}

fn backend_id(number: u8) -> BackendId {
    BackendId::upstream(&format!("u{number}"))
}

fn apply(model: &mut Model, change: &Change) -> Touched {
    let mut touched = Touched::default();
    match change {
        Change::Host(index, routes) => {
            let pattern = HostPattern::parse(PATTERNS[*index]).unwrap();
            put(
                &mut model.hosts,
                pattern.clone(),
                routes.as_ref().map(|routes| {
                    let routes = routes.iter().map(|(path, to)| route_to(*path, *to)).collect();
                    Arc::new(host(PATTERNS[*index], routes))
                }),
            );
            touched.hosts.insert(pattern);
        }
        Change::Backend(name, to) => {
            put(
                &mut model.backends,
                backend_id(*name),
                to.map(|is_invalid| {
                    let backend = backend(&format!("u{name}"));
                    let config = UpstreamConfig { is_invalid, ..(**backend.config()).clone() };
                    Arc::new(Backend::new(backend.id, backend.origin, config))
                }),
            );
            touched.backends.insert(backend_id(*name));
        }
        Change::Default(to) => {
            model.default = to.map(|to| route_to(0, to).into());
            touched.default = true;
        }
        Change::Edge(count) => {
            model.edge =
                Arc::new(Edge { limits: Limits { header_count: *count, ..Limits::default() }, ..Edge::default() });
            touched.edge = true;
        }
    }
    touched
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// Each upstream that routes point to, and whether it is invalid.
fn upstreams(snapshot: &Snapshot) -> BTreeMap<String, Vec<bool>> {
    let mut all = BTreeMap::<String, Vec<bool>>::new();
    let routes = snapshot.common.router.hosts().flat_map(|(_, routes)| routes.routes()).chain(&snapshot.common.default);
    for route in routes {
        let route::Action::Forward(forward) = &route.action else { continue };
        for (upstream, _) in forward.shares() {
            all.entry(upstream.id().to_string()).or_default().push(upstream.config().is_invalid);
        }
    }
    all
}

fn self_signed_apart(snapshot: &Snapshot) -> serde_json::Value {
    let mut described = snapshot.describe();
    described["defaultCertificate"] = serde_json::Value::Null;
    described
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_sequence_of_changes_gives_what_a_full_compile_of_the_last_model_gives(
        steps in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..12)
    ) {
        let mut model = Model::default();
        let mut incremental = compiler();
        let mut snapshot = incremental.compile(&model, &Touched::all(&model), &incremental.empty());
        for changes in &steps {
            let mut touched = Touched::default();
            for change in changes {
                touched.merge(apply(&mut model, change));
            }
            snapshot = incremental.compile(&model, &touched, &snapshot);
        }
        let (whole, once) = full(&model);
        prop_assert_eq!(self_signed_apart(&snapshot), self_signed_apart(&whole));
        prop_assert_eq!(upstreams(&snapshot), upstreams(&whole));
        prop_assert_eq!(incremental.diagnostics(), once.diagnostics());
        prop_assert_eq!(snapshot.generation, steps.len() as u64 + 1);
    }
}

#[test]
fn only_touched_hosts_are_rebuilt() {
    let mut model = model(vec![host("a.t", vec![route("a", exact("/"))]), host("b.t", vec![route("b", exact("/"))])]);
    let (first, mut compiler) = full(&model);
    let touched = apply(&mut model, &Change::Host(1, Some(vec![(1, 1)])));
    let second = compiler.compile(&model, &touched, &first);
    let of = |snapshot: &Snapshot, name: &str| {
        Arc::clone(snapshot.common.router.host(&HostPattern::parse(name).unwrap()).unwrap())
    };
    assert!(!Arc::ptr_eq(&of(&first, "a.t"), &of(&second, "a.t")));
    assert!(Arc::ptr_eq(&of(&first, "b.t"), &of(&second, "b.t")));
}

#[test]
fn a_backend_that_appears_later_serves_the_routes_that_wait_for_it() {
    let mut model = model(vec![host("a.t", vec![route_to(1, 1)])]);
    let (snapshot, mut compiler) = full(&model);
    assert_eq!(upstreams(&snapshot), [("upstream/u1".to_owned(), vec![true])].into());
    let touched = apply(&mut model, &Change::Backend(1, Some(false)));
    let snapshot = compiler.compile(&model, &touched, &snapshot);
    assert_eq!(upstreams(&snapshot), [("upstream/u1".to_owned(), vec![false])].into());
}

#[test]
fn a_plugin_that_cannot_be_built_closes_its_route() {
    let mut closed = route("closed", prefix("/"));
    let origin = Origin::new("Conf", "", "x", None);
    let config = serde_json::Value::Null;
    let instance = PluginInstance {
        name: "x".into(),
        kind: "no-such".into(),
        config,
        origin: origin.clone(),
        inputs: PluginInputs::default(),
    };
    closed.plugins = vec![PluginUse { instance: instance.into(), origin }];
    let (snapshot, compiler) = full(&model(vec![host("", vec![closed])]));
    assert_eq!(codes(&compiler).len(), 1);
    let (_, routes) = snapshot.common.router.hosts().next().unwrap();
    let actions: Vec<_> = routes.routes().map(|route| &route.action).collect();
    assert!(matches!(actions[..], [route::Action::Refuse(Reason::BrokenPolicy)]));
}

#[test]
fn a_header_value_that_cannot_be_sent_is_told_and_replaced() {
    let edge = Edge { server_header: Some("a\nb".into()), ..Edge::default() };
    let (snapshot, compiler) = full(&Model { edge: edge.into(), ..Model::default() });
    assert_eq!(codes(&compiler), ["InvalidHeaderValue"]);
    assert_eq!(snapshot.edge.server_header.as_ref().unwrap(), "tidegate");
}
