//! Statuses: whatever the order of events those of a full translation, and told of those only that are touched.

use super::*;
use crate::origin::Place;
use crate::resources::status::{Condition, ConditionType, ObjectStatus, Parent};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_sequence_of_changes_gives_the_statuses_of_a_full_translation(batches in events()) {
        let mut resources = Resources::default();
        let mut translator = Translator::new();
        let mut statuses = Arc::<Statuses>::default();
        for (index, batch) in batches.into_iter().enumerate() {
            let changes = resources.apply(batch);
            translator.apply(&resources, &changes);
            // It need not be asked each time.
            if index % 3 == 2 {
                continue;
            }
            Statuses::update(&mut statuses, translator.take_statuses(&resources));
            prop_assert_eq!(&*statuses, &translate(&resources).statuses);
            prop_assert_eq!(translator.take_statuses(&resources), vec![], "told already");
        }
    }
}

/// An Ingress with these routes of `shop.test`.
fn ingress(name: &str, class: Value, paths: &[(&str, &str)]) -> Value {
    let path = |(path, service): &(&str, &str)| {
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        json!({"path": path, "pathType": "Prefix", "backend": backend})
    };
    let paths: Vec<Value> = paths.iter().map(path).collect();
    json!({"metadata": {"name": name, "namespace": "ns", "generation": 3},
        "spec": {"ingressClassName": class, "rules": [{"host": "shop.test", "http": {"paths": paths}}]}})
}

fn service() -> Object {
    object(Kind::Service, json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}}))
}

/// What is there, and what is said of it.
struct House {
    resources: Resources,
    translator: Translator,
    statuses: Arc<Statuses>,
}

impl House {
    fn new() -> Self {
        let (resources, translator) = (Resources::default(), Translator::new());
        let mut house = Self { resources, translator, statuses: Arc::default() };
        house.apply(service());
        house.apply(simple_slice("10.0.0.1"));
        house
    }

    /// Takes an object in and says of which ones something was told.
    fn apply(&mut self, object: Object) -> Vec<String> {
        self.change(Event::Apply(object))
    }

    fn change(&mut self, event: Event) -> Vec<String> {
        let changes = self.resources.apply([event]);
        self.translator.apply(&self.resources, &changes);
        let told = self.translator.take_statuses(&self.resources);
        let names = told.iter().map(|(object, _)| object.name.name.to_string()).collect();
        Statuses::update(&mut self.statuses, told);
        assert_eq!(*self.statuses, translate(&self.resources).statuses);
        names
    }

    fn status(&self, name: &str) -> Option<&ObjectStatus> {
        self.statuses.get(&ObjectRef::new(Kind::Ingress, "ns", name))
    }

    /// Conditions as `type=status reason`.
    fn conditions(&self, name: &str) -> Vec<String> {
        let status = self.status(name).unwrap();
        let text = |it: &Condition| format!("{:?}={} {}", it.kind, it.status, it.reason);
        status.parents[0].conditions.iter().map(text).collect()
    }

    fn message(&self, name: &str, kind: ConditionType) -> &str {
        let conditions = &self.status(name).unwrap().parents[0].conditions;
        &conditions.iter().find(|it| it.kind == kind).unwrap().message
    }
}

#[test]
fn what_is_served_is_accepted_by_its_class_and_says_where_its_traffic_comes_in() {
    let mut house = House::new();
    let told = house.apply(object(Kind::Ingress, ingress("shop", json!("tidegate"), &[("/", "web")])));
    assert_eq!(told, ["shop"]);
    let status = house.status("shop").unwrap();
    assert_eq!((status.observed_generation, status.has_address, status.reports_live), (3, true, false));
    assert_eq!(status.parents[0].parent, Parent::class("tidegate"));
    assert_eq!(house.conditions("shop"), ["Accepted=true Accepted", "ResolvedRefs=true ResolvedRefs"]);
    house.apply(object(Kind::Ingress, ingress("other", json!("tidegate"), &[("/x", "web")])));
    let [shop, other] = ["shop", "other"].map(|name| &house.status(name).unwrap().parents);
    assert!(Arc::ptr_eq(shop, other), "what is the same is kept once");
}

#[test]
fn the_parent_is_whoever_makes_it_ours() {
    let mut house = House::new();
    house.apply(object(Kind::Ingress, ingress("shop", json!(null), &[("/", "web")])));
    assert_eq!(house.status("shop"), None, "of no class, and there is no default");
    let class = json!({"metadata": {"name": "edge", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "tidegate.io/ingress-controller"}});
    assert_eq!(house.apply(object(Kind::IngressClass, class)), ["shop"]);
    assert_eq!(house.status("shop").unwrap().parents[0].parent, Parent::class("edge"));
    house.change(Event::Delete(ObjectRef::new(Kind::IngressClass, "", "edge")));
    assert_eq!(house.status("shop"), None);
    house.apply(object(Kind::Conf, json!({"ingress": {"watchWithoutClass": true}})));
    assert_eq!(house.status("shop").unwrap().parents[0].parent, Parent::Controller);
    let mut legacy = ingress("shop", json!(null), &[("/", "web")]);
    legacy["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "tidegate"});
    house.apply(object(Kind::Ingress, legacy));
    assert_eq!(house.status("shop").unwrap().parents[0].parent, Parent::class("tidegate"));
    house.change(Event::Delete(ObjectRef::new(Kind::Ingress, "ns", "shop")));
    assert_eq!(*house.statuses, Statuses::default());
}

#[test]
fn an_unknown_class_is_told_and_has_no_address() {
    let mut house = House::new();
    let mut curious = ingress("shop", json!("nobody"), &[("/", "web")]);
    curious["metadata"]["annotations"] = json!({"tidegate.io/report-live": "true"});
    house.apply(object(Kind::Ingress, curious));
    let status = house.status("shop").unwrap();
    assert!(!status.has_address && !status.reports_live);
    assert_eq!(house.conditions("shop"), ["Accepted=false ForeignClass"]);
    assert!(house.message("shop", ConditionType::Accepted).contains("there is no IngressClass `nobody`"));
}

#[test]
fn a_mistake_takes_no_address_away() {
    let mut house = House::new();
    house.apply(object(Kind::Ingress, ingress("shop", json!("tidegate"), &[("/", "web")])));
    for (changed, conditions) in [
        (
            ingress("shop", json!("tidegate"), &[("bad", "web")]),
            vec!["Accepted=false InvalidPath", "ResolvedRefs=true ResolvedRefs"],
        ),
        (
            ingress("shop", json!("tidegate"), &[("/", "web"), ("bad", "web"), ("worse", "web")]),
            vec!["Accepted=true Accepted", "ResolvedRefs=true ResolvedRefs", "PartiallyInvalid=true InvalidPath"],
        ),
        (
            ingress("shop", json!("tidegate"), &[("/", "gone")]),
            vec!["Accepted=true Accepted", "ResolvedRefs=false ServiceNotFound"],
        ),
        (ingress("shop", json!("tidegate"), &[]), vec!["Accepted=false EmptyRule", "ResolvedRefs=true ResolvedRefs"]),
    ] {
        assert_eq!(house.apply(object(Kind::Ingress, changed)), ["shop"]);
        assert_eq!(house.conditions("shop"), conditions);
        assert!(house.status("shop").unwrap().has_address);
    }
}

#[test]
fn one_that_loses_everything_to_an_older_one_is_not_accepted_until_that_goes() {
    let mut house = House::new();
    let mut old = ingress("old", json!("tidegate"), &[("/", "web")]);
    old["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
    house.apply(object(Kind::Ingress, ingress("young", json!("tidegate"), &[("/", "web")])));
    assert_eq!(house.apply(object(Kind::Ingress, old)), ["old", "young"]);
    assert_eq!(house.conditions("young")[0], "Accepted=false PathConflict");
    let message = house.message("young", ConditionType::Accepted);
    assert!(
        message.starts_with("spec.rules[0].http.paths[0].path: ") && message.contains("Ingress/ns/old"),
        "{message}"
    );
    let two = ingress("young", json!("tidegate"), &[("/", "web"), ("/more", "web")]);
    house.apply(object(Kind::Ingress, two));
    assert_eq!(house.conditions("young")[2], "PartiallyInvalid=true PathConflict");
    let told = house.change(Event::Delete(ObjectRef::new(Kind::Ingress, "ns", "old")));
    assert_eq!(told, ["old", "young"]);
    assert_eq!(house.conditions("young").len(), 2);
}

#[test]
fn protection_that_cannot_be_kept_serves_nothing() {
    let mut house = House::new();
    let mut closed = ingress("shop", json!("tidegate"), &[("/", "web"), ("/x", "web")]);
    closed["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/auth-url": "http://x"});
    closed["spec"]["tls"] = json!([{"hosts": ["other.test"], "secretName": "gone"}]);
    house.apply(object(Kind::Ingress, closed));
    assert_eq!(
        house.conditions("shop"),
        ["Accepted=false UnsupportedSecurityAnnotation", "ResolvedRefs=false SecretNotFound"]
    );
}

#[test]
fn names_that_do_nothing_are_a_part_that_is_refused() {
    let mut house = House::new();
    let mut named = ingress("shop", json!("tidegate"), &[("/", "web")]);
    named["spec"]["tls"] = json!([{"hosts": ["other.test"]}]);
    house.apply(object(Kind::Ingress, named));
    assert_eq!(house.conditions("shop")[2], "PartiallyInvalid=true TlsHostNotServed");
}

#[test]
fn only_those_are_told_of_which_something_else_is_said() {
    let mut house = House::new();
    house.apply(object(Kind::Ingress, ingress("a", json!("tidegate"), &[("/a", "web")])));
    house.apply(object(Kind::Ingress, ingress("b", json!("tidegate"), &[("/b", "api")])));
    assert_eq!(house.apply(simple_slice("10.0.0.2")), [""; 0], "endpoints say nothing of an Ingress");
    let api = json!({"metadata": {"name": "api", "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(house.conditions("b")[1], "ResolvedRefs=false ServiceNotFound");
    assert_eq!(house.apply(object(Kind::Service, api)), ["b"]);
    assert_eq!(house.conditions("b")[1], "ResolvedRefs=true ResolvedRefs");
}

#[test]
fn an_ingress_of_a_file_has_nobody_to_tell_an_address() {
    let place = Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
    let Object::Ingress(it) = object(Kind::Ingress, ingress("shop", json!("tidegate"), &[("/", "web")])) else {
        panic!("an Ingress");
    };
    let mut origin = (*it.origin).clone();
    origin.place = Some(place);
    let mut house = House::new();
    house.apply(Object::Ingress(crate::resources::Sourced { object: it.object, origin: Arc::new(origin) }));
    assert!(!house.status("shop").unwrap().has_address);
    assert_eq!(house.conditions("shop")[0], "Accepted=true Accepted");
}

#[test]
fn who_wants_to_be_told_when_a_change_is_live_says_so() {
    let mut house = House::new();
    let mut curious = ingress("shop", json!("tidegate"), &[("/", "web")]);
    curious["metadata"]["annotations"] = json!({"tidegate.io/report-live": "true"});
    house.apply(object(Kind::Ingress, curious));
    assert!(house.status("shop").unwrap().reports_live);
}
