use std::sync::Arc;

use super::*;
use crate::compile::{Compiler, CompilerParts};
use crate::model::Touched;

fn ingress(name: &str, created: &str, extra: &str) -> Value {
    let text = format!(
        r#"{{ "metadata": {{ "namespace": "shop", "name": "{name}", "creationTimestamp": "{created}" }},
             "spec": {{ "ingressClassName": "tidegate", "rules": [ {{ "host": "shop.test", "http": {{ "paths": [
               {{ "path": "/{name}", "pathType": "Prefix", "backend": {{ "service": {{ "name": "a", "port": {{ "number": 80 }} }} }} }}
               {extra} ] }} }} ] }} }}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn path(path: &str, kind: &str) -> String {
    format!(
        r#", {{ "path": "{path}", "pathType": "{kind}", "backend": {{ "service": {{ "name": "b", "port": {{ "name": "http" }} }} }} }}"#
    )
}

fn asked(kind: &str, operation: &str, object: Value, old_object: Value) -> Request {
    let request = json!({ "uid": "1", "operation": operation, "kind": { "group": "networking.k8s.io", "kind": kind },
        "object": object, "oldObject": old_object });
    Request::read(json!({ "kind": "AdmissionReview", "request": request }).to_string().as_bytes()).unwrap()
}

fn create(object: Value) -> Request {
    asked("Ingress", "CREATE", object, Value::Null)
}

fn update(object: Value, old_object: Value) -> Request {
    asked("Ingress", "UPDATE", object, old_object)
}

fn base(objects: impl IntoIterator<Item = Object>) -> Base {
    let mut resources = Resources::default();
    resources.apply(objects.into_iter().map(Event::Apply));
    Base::new(&resources)
}

/// A snapshot with these Ingresses.
fn live(ingresses: impl IntoIterator<Item = Value>) -> Arc<Snapshot> {
    live_of(ingresses.into_iter().map(|it| Event::Apply(Object::from_json(Kind::Ingress, it).unwrap())))
}

fn live_of(events: impl IntoIterator<Item = Event>) -> Arc<Snapshot> {
    let mut resources = Resources::default();
    resources.apply(events);
    let model = translate(&resources).model;
    let mut compiler = Compiler::new(CompilerParts {
        table: Arc::default(),
        plugins: Vec::new(),
        folder: "/nowhere".into(),
        route_metrics: Box::new(|_| Arc::default()),
        now: Box::new(|| 0),
    });
    let empty = compiler.empty();
    Arc::new(compiler.compile(&model, &Touched::all(&model), &empty))
}

fn judged(request: &Request, live: &Snapshot) -> Verdict {
    review(request, &Base::default(), live)
}

#[test]
fn what_would_be_served_is_allowed_whatever_is_missing_yet() {
    let verdict = judged(&create(ingress("a", "2026-01-01T00:00:00Z", "")), &live([]));
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn what_would_not_be_served_is_refused_with_the_place_and_what_to_do() {
    let verdict = judged(&create(ingress("a", "2026-01-01T00:00:00Z", &path("no-slash", "Exact"))), &live([]));
    let refusal = verdict.refusal.unwrap();
    assert!(refusal.contains("spec.rules[0].http.paths[1]"), "{refusal}");
    let mut forbidden = ingress("a", "2026-01-01T00:00:00Z", "");
    forbidden["metadata"]["annotations"] = json!({ "nginx.ingress.kubernetes.io/auth-url": "http://x" });
    assert!(judged(&create(forbidden), &live([])).refusal.is_some());
    let malformed = json!({ "metadata": { "name": "a", "namespace": "shop" }, "spec": { "rules": 7 } });
    assert!(judged(&create(malformed), &live([])).refusal.unwrap().starts_with("it cannot be read"));
}

#[test]
fn what_is_served_otherwise_than_written_is_a_warning() {
    let mut object = ingress("a", "2026-01-01T00:00:00Z", "");
    object["metadata"]["annotations"] = json!({ "tidegate.io/misspelt": "1" });
    let verdict = judged(&create(object), &live([]));
    assert_eq!((verdict.refusal, verdict.warnings.len()), (None, 1));
    let many: serde_json::Map<String, Value> =
        (0..50).map(|number| (format!("tidegate.io/x{number}-{}", "y".repeat(300)), json!("1"))).collect();
    let mut object = ingress("a", "2026-01-01T00:00:00Z", "");
    object["metadata"]["annotations"] = Value::Object(many);
    let warnings = judged(&create(object), &live([])).warnings;
    assert!(warnings.len() <= MAX_WARNINGS && warnings.iter().all(|it| it.chars().count() <= MAX_WARNING + 1));
}

#[test]
fn a_path_that_another_object_serves_is_refused_and_ones_own_is_not() {
    let served = ingress("a", "2026-01-01T00:00:00Z", &path("/shared/", "Prefix"));
    let live = live([served.clone()]);
    let verdict = judged(&create(ingress("b", "2026-02-01T00:00:00Z", &path("/shared", "Prefix"))), &live);
    let refusal = verdict.refusal.unwrap();
    assert!(
        refusal.contains("prefix path `/shared` of host `shop.test` is already served by Ingress/shop/a"),
        "{refusal}"
    );
    let verdict = judged(&create(ingress("b", "2026-02-01T00:00:00Z", &path("/shared", "Exact"))), &live);
    assert_eq!(verdict.refusal, None, "an exact path is another one");
    let changed = ingress("a", "2026-01-01T00:00:00Z", &path("/shared", "Prefix"));
    assert_eq!(judged(&update(changed, served), &live).refusal, None);
    // Nor may an older one take a path away.
    let verdict = judged(&create(ingress("b", "2025-01-01T00:00:00Z", &path("/shared", "Prefix"))), &live);
    assert!(verdict.refusal.is_some());
}

#[test]
fn what_is_not_ours_or_not_changed_is_let_through() {
    let bad = ingress("a", "2026-01-01T00:00:00Z", &path("no-slash", "Exact"));
    let mut foreign = bad.clone();
    foreign["spec"]["ingressClassName"] = "other".into();
    assert_eq!(judged(&create(foreign), &live([])).refusal, None);
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    labelled["metadata"]["finalizers"] = json!([]);
    assert_eq!(judged(&update(labelled, bad.clone()), &live([])), Verdict::default());
    let delete = asked("Ingress", "DELETE", bad.clone(), Value::Null);
    assert_eq!(judged(&delete, &live([])), Verdict::default());
    let other = asked("Service", "CREATE", bad, Value::Null);
    assert_eq!(judged(&other, &live([])), Verdict::default());
}

#[test]
fn classes_and_conf_are_those_in_force() {
    let mut object = ingress("a", "2026-01-01T00:00:00Z", &path("no-slash", "Exact"));
    object["spec"]["ingressClassName"] = "edge".into();
    let class = json!({ "metadata": { "name": "edge" }, "spec": { "controller": "tidegate.io/ingress-controller" } });
    let class = Object::from_json(Kind::IngressClass, class).unwrap();
    assert!(review(&create(object.clone()), &base([class.clone()]), &live([])).refusal.is_some());
    let mut conf = Conf::default();
    conf.ingress.controllers = vec!["example.com/other".to_owned()];
    assert_eq!(review(&create(object), &base([class, Object::conf(conf, None)]), &live([])).refusal, None);
}

#[test]
fn the_answer_is_an_admission_review() {
    let allowed = Verdict { refusal: None, warnings: vec!["w".to_owned()] }.to_json("u");
    assert_eq!((&allowed["response"]["allowed"], &allowed["response"]["uid"]), (&json!(true), &json!("u")));
    assert_eq!(allowed["response"]["warnings"], json!(["w"]));
    let refused = Verdict { refusal: Some("no".to_owned()), warnings: Vec::new() }.to_json("u");
    let status = json!({ "code": 403, "reason": "Forbidden", "message": "tidegate: no" });
    assert_eq!(refused["response"]["status"], status);
    assert_eq!(refused["apiVersion"], "admission.k8s.io/v1");
}

#[test]
fn a_path_of_a_conf_route_is_refused_unless_the_route_asks_for_more() {
    let conf = |methods: Value| {
        let route = json!({ "name": "r", "hosts": ["shop.test"], "paths": [{ "prefix": "/shared" }],
            "methods": methods, "respond": { "status": 200 } });
        Object::from_json(Kind::Conf, json!({ "routes": [route] })).unwrap()
    };
    let request = create(ingress("b", "2026-01-01T00:00:00Z", &path("/shared", "Prefix")));
    let judged = |conf: Object| {
        let live = live_of([Event::Apply(conf.clone())]);
        review(&request, &base([conf]), &live)
    };
    let refusal = judged(conf(json!([]))).refusal;
    assert!(refusal.as_ref().is_some_and(|it| it.ends_with("is already served by the conf")), "{refusal:?}");
    assert_eq!(judged(conf(json!(["POST"]))), Verdict::default());
}

#[test]
fn a_default_backend_that_another_object_has_is_a_warning() {
    let fallback = |name: &str| {
        let mut object = ingress(name, "2026-01-01T00:00:00Z", "");
        let backend = json!({ "service": { "name": "a", "port": { "number": 80 } } });
        object["spec"] = json!({ "ingressClassName": "tidegate", "defaultBackend": backend });
        object
    };
    let live = live([fallback("a")]);
    let verdict = judged(&create(fallback("b")), &live);
    let expected = ["the default backend of host `*` is that of Ingress/shop/a".to_owned()];
    assert_eq!((verdict.refusal, verdict.warnings), (None, expected.to_vec()));
    let mut changed = fallback("a");
    changed["metadata"]["annotations"] = json!({ "tidegate.io/ssl-redirect": "false" });
    assert_eq!(judged(&update(changed, fallback("a")), &live), Verdict::default(), "its own is no other's");
}

#[test]
fn what_an_object_had_lost_before_is_no_reason_against_its_change() {
    let winner = ingress("a", "2026-01-01T00:00:00Z", &path("/shared", "Prefix"));
    let loser = ingress("b", "2026-02-01T00:00:00Z", &path("/shared", "Prefix"));
    let live = live([winner, loser.clone()]);
    let mut changed = loser.clone();
    changed["metadata"]["annotations"] = json!({ "tidegate.io/ssl-redirect": "false" });
    let verdict = judged(&update(changed.clone(), loser.clone()), &live);
    let expected = ["prefix path `/shared` of host `shop.test` is already served by Ingress/shop/a".to_owned()];
    assert_eq!((verdict.refusal, verdict.warnings), (None, expected.to_vec()));
    let mut foreign = loser;
    foreign["spec"]["ingressClassName"] = "other".into();
    assert!(judged(&update(changed, foreign), &live).refusal.is_some(), "to one of another class all is new");
}

/// An Ingress of a namespace with a rule for one host and a `tls` entry for others.
fn naming(namespace: &str, host: &str, named: &[&str]) -> Value {
    let mut object = ingress("web", "2026-01-01T00:00:00Z", "");
    object["metadata"]["namespace"] = namespace.into();
    object["spec"]["rules"][0]["host"] = host.into();
    object["spec"]["tls"] = json!([{ "hosts": named, "secretName": "cert" }]);
    object
}

#[test]
fn a_tls_entry_for_a_host_that_only_others_serve_is_a_warning() {
    let live = live([naming("other", "shop.test", &[]), naming("shop", "own.test", &[]), naming("wide", "", &[])]);
    let warnings = |host: &str, named: &[&str]| judged(&create(naming("shop", host, named)), &live).warnings;
    let foreign = "`tls` does nothing for host `shop.test`, which Ingress/other/web serves and this namespace does not";
    assert_eq!(warnings("mine.test", &["mine.test", "shop.test"]), [foreign]);
    assert_eq!(warnings("*.test", &["shop.test"]), [foreign], "the exact host is the other one's");
    for (host, named) in [("*.test", &["x.test"][..]), ("mine.test", &["own.test", "nobody.test"]), ("", &["x.test"])] {
        assert_eq!(warnings(host, named), [""; 0], "{host} {named:?}");
    }
    let moved = judged(&update(naming("other", "away.test", &["shop.test"]), naming("other", "shop.test", &[])), &live);
    assert_eq!(moved.warnings, [""; 0], "its own route there goes with it");
}

#[test]
fn a_default_backend_where_another_namespace_was_first_is_a_warning() {
    let live = live([naming("other", "shop.test", &[])]);
    let mut object = naming("shop", "shop.test", &[]);
    object["spec"]["rules"][0] = json!({ "host": "shop.test" });
    object["spec"]["defaultBackend"] = json!({ "service": { "name": "a", "port": { "number": 80 } } });
    let verdict = judged(&create(object), &live);
    let expected = ["the default backend is not for host `shop.test`, where Ingress/other/web was first".to_owned()];
    assert_eq!((verdict.refusal, verdict.warnings), (None, expected.to_vec()));
}

#[test]
fn a_certificate_of_another_namespace_that_is_presented_is_a_warning() {
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let data = json!({ "tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem() });
    let secret = json!({ "metadata": { "namespace": "other", "name": "cert" }, "type": "kubernetes.io/tls", "stringData": data });
    let secret = Object::from_json(Kind::Secret, secret).unwrap();
    let owner = Object::from_json(Kind::Ingress, naming("other", "shop.test", &["shop.test"])).unwrap();
    let live = live_of([secret, owner].map(Event::Apply));
    let mut object = naming("shop", "shop.test", &["shop.test"]);
    object["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/b".into();
    let verdict = judged(&create(object), &live);
    let expected =
        ["host `shop.test` already has Secret `other/cert` of Ingress/other/web; the oldest object wins".to_owned()];
    assert_eq!((verdict.refusal, verdict.warnings), (None, expected.to_vec()));
}

#[test]
fn an_ingress_with_more_than_can_be_judged_in_time_is_let_through_and_told() {
    let with = |count: usize| {
        let paths: String = (0..count).map(|number| path(&format!("/p{number}"), "Prefix")).collect();
        ingress("large", "2026-01-01T00:00:00Z", &(paths + &path("relative", "Prefix")))
    };
    let judged = review(&create(with(2_000)), &base([]), &live([]));
    assert!(judged.refusal.is_some(), "a path that is none is told");
    let verdict = review(&create(with(3_000)), &base([]), &live([]));
    assert_eq!(verdict.refusal, None);
    assert_eq!(verdict.warnings, ["it was not reviewed: it has more than 2500 hosts and paths"]);
}

#[test]
fn what_stands_in_a_string_is_no_path() {
    let mut object = naming("shop", "shop.test", &[]);
    let noise = r#"{"host":"a.test","backend":{}}"#.repeat(4_000);
    object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = noise.into();
    assert_eq!(judged(&create(object), &live([])), Verdict::default());
}

#[test]
fn what_is_far_too_large_is_not_even_read() {
    let paths = path("/p", "Prefix").repeat(6_000);
    let body = create(ingress("large", "2026-01-01T00:00:00Z", &paths));
    assert!(matches!(body.ingress, Some(Written::Large)));
    assert_eq!(review(&body, &base([]), &live([])), Verdict::not_reviewed());
}
