use k8s_openapi::api::networking::v1::Ingress;
use kube::core::ObjectMeta;

use super::*;
use crate::resources::Strings;

fn ingress(name: &str) -> Object {
    let metadata = ObjectMeta { namespace: Some("a".into()), name: Some(name.into()), ..ObjectMeta::default() };
    Object::ingress(Ingress { metadata, ..Ingress::default() }, None, &mut Strings::default())
}

fn named(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Ingress, "a", name)
}

fn listed(state: &mut State, feed: FeedId, names: &[&str]) {
    state.take(feed, Seen::Begin);
    for name in names {
        state.take(feed, Seen::Listed(Word::Object(ingress(name))));
    }
    state.take(feed, Seen::End);
}

/// `+name` for what is applied, `-name` for what goes.
fn told(state: &mut State) -> Option<(Vec<String>, bool)> {
    let batch = state.batch(Instant::now())?;
    let text = |event: &Event| match event {
        Event::Apply(object) => format!("+{}", object.name().name),
        Event::Delete(name) => format!("-{}", name.name.name),
    };
    Some((batch.events.iter().map(text).collect(), batch.is_complete))
}

fn one_feed(names: &[&str]) -> State {
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    listed(&mut state, 0, names);
    told(&mut state);
    state
}

fn said(names: &[&str]) -> Option<(Vec<String>, bool)> {
    Some((names.iter().map(|&name| name.to_owned()).collect(), true))
}

#[test]
fn nothing_is_delivered_before_every_feed_has_ended_its_first_list() {
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    state.add_feed(1, Kind::Ingress);
    listed(&mut state, 0, &["x"]);
    assert_eq!(told(&mut state), None);
    listed(&mut state, 1, &[]);
    assert_eq!(told(&mut state), said(&["+x"]));
}

#[test]
fn an_empty_server_is_complete_once() {
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    listed(&mut state, 0, &[]);
    assert_eq!(told(&mut state), said(&[]));
    assert_eq!(told(&mut state), None);
}

#[test]
fn a_second_list_removes_what_it_does_not_name_and_only_when_it_has_ended() {
    let mut state = one_feed(&["x", "y"]);
    state.take(0, Seen::Begin);
    state.take(0, Seen::Listed(Word::Object(ingress("y"))));
    assert_eq!(told(&mut state), None);
    state.take(0, Seen::End);
    assert_eq!(told(&mut state), said(&["+y", "-x"]));
}

#[test]
fn a_list_that_is_begun_anew_forgets_the_half_one() {
    let mut state = one_feed(&["x", "y"]);
    state.take(0, Seen::Begin);
    state.take(0, Seen::Listed(Word::Object(ingress("half"))));
    listed(&mut state, 0, &["x", "y"]);
    assert_eq!(told(&mut state), said(&["+x", "+y"]));
}

#[test]
fn a_malformed_object_keeps_its_last_good_content_and_is_told() {
    let mut state = one_feed(&["x"]);
    state.take(0, Seen::Applied(Word::Broken(named("x"), "no".into())));
    let batch = state.batch(Instant::now()).unwrap();
    assert!(batch.events.is_empty(), "{batch:?}");
    assert_eq!(batch.diagnostics.iter().map(|it| it.code).collect::<Vec<_>>(), ["InvalidObject"]);
    state.take(0, Seen::Begin);
    state.take(0, Seen::Listed(Word::Broken(named("x"), "no".into())));
    state.take(0, Seen::End);
    assert_eq!(told(&mut state), None);
    state.take(0, Seen::Applied(Word::Object(ingress("x"))));
    let batch = state.batch(Instant::now()).unwrap();
    assert!(batch.diagnostics.is_empty(), "{batch:?}");
}

#[test]
fn a_delete_that_comes_twice_is_told_once() {
    let mut state = one_feed(&["x"]);
    state.take(0, Seen::Deleted(named("x")));
    state.take(0, Seen::Deleted(named("x")));
    assert_eq!(told(&mut state), said(&["-x"]));
}

#[test]
fn a_list_that_fails_is_told_until_one_succeeds_and_removes_nothing() {
    let mut state = one_feed(&["x"]);
    state.take(0, Seen::Begin);
    state.take(0, failed(false));
    let batch = state.batch(Instant::now()).unwrap();
    assert_eq!((batch.events.len(), batch.diagnostics.len(), batch.is_complete), (0, 1, true));
    listed(&mut state, 0, &["x"]);
    let batch = state.batch(Instant::now()).unwrap();
    assert_eq!((batch.events.len(), batch.diagnostics.len()), (1, 0));
}

fn failed(is_forbidden: bool) -> Seen {
    Seen::Failed(Failure { error: "no".into(), is_forbidden })
}

#[test]
fn a_forbidden_feed_holds_up_no_other_of_its_kind_and_a_forbidden_kind_holds_up_all() {
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    state.add_feed(1, Kind::Ingress);
    state.take(1, failed(true));
    assert!(!state.is_complete());
    listed(&mut state, 0, &["x"]);
    assert!(state.is_complete());
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    state.take(0, failed(true));
    assert!(!state.is_complete(), "a server that refuses every Ingress has said nothing");
    let mut state = State::default();
    state.add_feed(0, Kind::Ingress);
    state.take(0, failed(false));
    assert!(!state.is_complete(), "a server that fails may succeed in a moment");
}

#[test]
fn what_came_from_a_feed_goes_with_it() {
    let mut state = one_feed(&["x"]);
    state.add_feed(1, Kind::Ingress);
    assert_eq!(told(&mut state), None);
    state.remove_feed(0);
    assert_eq!(told(&mut state), said(&["-x"]));
}
