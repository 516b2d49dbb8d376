use k8s_openapi::api::networking::v1::Ingress;
use kube::core::ObjectMeta;

use super::*;
use crate::resources::{Object, Strings};

fn ingress(name: &str) -> Object {
    let metadata = ObjectMeta { namespace: Some("a".into()), name: Some(name.into()), ..ObjectMeta::default() };
    Object::of(Ingress { metadata, ..Ingress::default() }, None, &mut Strings::default())
}

fn named(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Ingress, "a", name)
}

fn listed(state: &mut ClusterState, feed: FeedId, names: &[&str]) {
    state.take(feed, WatchEvent::Init);
    for name in names {
        state.take(feed, WatchEvent::InitApply(Decoded::Object(ingress(name))));
    }
    state.take(feed, WatchEvent::InitDone);
}

/// `+name` for what is applied, `-name` for what goes.
fn told(state: &mut ClusterState) -> Option<(Vec<String>, bool)> {
    let batch = state.batch(Instant::now())?;
    let text = |event: &Event| match event {
        Event::Apply(object) => format!("+{}", object.name().name),
        Event::Delete(name) => format!("-{}", name.name.name),
    };
    Some((batch.events.iter().map(text).collect(), batch.is_complete))
}

fn one_feed(names: &[&str]) -> ClusterState {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    listed(&mut state, 0, names);
    told(&mut state);
    state
}

fn said(names: &[&str]) -> Option<(Vec<String>, bool)> {
    Some((names.iter().map(|&name| name.to_owned()).collect(), true))
}

#[test]
fn nothing_is_delivered_before_every_feed_has_ended_its_first_list() {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    state.add_feed(1, Kind::Ingress, false);
    listed(&mut state, 0, &["x"]);
    assert_eq!(told(&mut state), None);
    listed(&mut state, 1, &[]);
    assert_eq!(told(&mut state), said(&["+x"]));
}

#[test]
fn an_empty_server_is_complete_once() {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    listed(&mut state, 0, &[]);
    assert_eq!(told(&mut state), said(&[]));
    assert_eq!(told(&mut state), None);
}

#[test]
fn a_second_list_removes_what_it_does_not_name_and_only_when_it_has_ended() {
    let mut state = one_feed(&["x", "y"]);
    state.take(0, WatchEvent::Init);
    state.take(0, WatchEvent::InitApply(Decoded::Object(ingress("y"))));
    assert_eq!(told(&mut state), None);
    state.take(0, WatchEvent::InitDone);
    assert_eq!(told(&mut state), said(&["+y", "-x"]));
}

#[test]
fn a_list_that_is_begun_anew_forgets_the_half_one() {
    let mut state = one_feed(&["x", "y"]);
    state.take(0, WatchEvent::Init);
    state.take(0, WatchEvent::InitApply(Decoded::Object(ingress("half"))));
    listed(&mut state, 0, &["x", "y"]);
    assert_eq!(told(&mut state), said(&["+x", "+y"]));
}

#[test]
fn a_malformed_object_keeps_its_last_good_content_and_is_told() {
    let mut state = one_feed(&["x"]);
    state.take(0, WatchEvent::Apply(Decoded::Broken(named("x"), "no".into())));
    let batch = state.batch(Instant::now()).unwrap();
    assert!(batch.events.is_empty(), "{batch:?}");
    assert_eq!(batch.diagnostics.iter().map(|it| it.code.as_str()).collect::<Vec<_>>(), ["InvalidObject"]);
    state.take(0, WatchEvent::Init);
    state.take(0, WatchEvent::InitApply(Decoded::Broken(named("x"), "no".into())));
    state.take(0, WatchEvent::InitDone);
    assert_eq!(told(&mut state), None);
    state.take(0, WatchEvent::Apply(Decoded::Object(ingress("x"))));
    let batch = state.batch(Instant::now()).unwrap();
    assert!(batch.diagnostics.is_empty(), "{batch:?}");
}

#[test]
fn a_delete_that_comes_twice_is_told_once() {
    let mut state = one_feed(&["x"]);
    state.take(0, WatchEvent::Delete(named("x")));
    state.take(0, WatchEvent::Delete(named("x")));
    assert_eq!(told(&mut state), said(&["-x"]));
}

#[test]
fn a_list_that_fails_is_told_until_one_succeeds_and_removes_nothing() {
    let mut state = one_feed(&["x"]);
    state.take(0, WatchEvent::Init);
    state.take(0, failed(Cause::Other));
    let batch = state.batch(Instant::now()).unwrap();
    assert_eq!((batch.events.len(), batch.diagnostics.len(), batch.is_complete), (0, 1, true));
    listed(&mut state, 0, &["x"]);
    let batch = state.batch(Instant::now()).unwrap();
    assert_eq!((batch.events.len(), batch.diagnostics.len()), (1, 0));
}

fn failed(cause: Cause) -> ObjectEvent {
    WatchEvent::Failed(Failure { error: "no".into(), cause })
}

#[test]
fn a_forbidden_feed_holds_up_no_other_of_its_kind_and_a_forbidden_kind_holds_up_all() {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    state.add_feed(1, Kind::Ingress, false);
    state.take(1, failed(Cause::Forbidden));
    assert!(!state.is_complete());
    listed(&mut state, 0, &["x"]);
    assert!(state.is_complete());
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    state.take(0, failed(Cause::Forbidden));
    assert!(!state.is_complete(), "a server that refuses every Ingress has said nothing");
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    state.take(0, failed(Cause::Other));
    assert!(!state.is_complete(), "a server that fails may succeed in a moment");
}

#[test]
fn what_came_from_a_feed_goes_with_it() {
    let mut state = one_feed(&["x"]);
    state.add_feed(1, Kind::Ingress, false);
    assert_eq!(told(&mut state), None);
    state.remove_feed(0);
    assert_eq!(told(&mut state), said(&["-x"]));
}

#[test]
fn an_optional_kind_holds_up_others_only_until_it_is_known_whether_it_is_there() {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, false);
    state.await_kind(Kind::ConfigMap);
    listed(&mut state, 0, &[]);
    assert!(!state.is_complete());
    state.settle_kind(Kind::ConfigMap);
    assert!(state.is_complete());
    state.add_feed(1, Kind::ConfigMap, true);
    assert!(!state.is_complete(), "it is there, so its first list counts");
    state.take(1, failed(Cause::Other));
    assert!(!state.is_complete());
    state.take(1, failed(Cause::Missing));
    assert!(state.is_complete());
    state.add_feed(2, Kind::ConfigMap, true);
    state.take(2, failed(Cause::Forbidden));
    assert!(state.is_complete(), "others are served where the whole kind is refused");
}

#[test]
fn a_list_of_an_optional_kind_that_is_not_there_is_no_fault_and_removes_nothing() {
    let mut state = ClusterState::default();
    state.add_feed(0, Kind::Ingress, true);
    listed(&mut state, 0, &["x"]);
    told(&mut state);
    state.take(0, WatchEvent::Init);
    state.take(0, failed(Cause::Missing));
    assert_eq!(told(&mut state), None);
    state.remove_feed(0);
    assert_eq!(told(&mut state), said(&["-x"]));
}
