use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;

use super::*;
use crate::resources::Strings;

fn name(name: &str) -> ObjectName {
    ObjectName::new("a", name)
}

fn there(text: &str, version: &str) -> Fetched {
    let metadata = ObjectMeta { namespace: Some("a".into()), name: Some(text.into()), ..ObjectMeta::default() };
    let secret = Secret { metadata, ..Secret::default() };
    Fetched::There(Box::new(Object::secret(secret, None, &mut Strings::default())), version.into())
}

fn want(secrets: &mut Secrets, text: &str, is_wanted: bool) -> usize {
    secrets.want(BTreeMap::from([(name(text), is_wanted)])).len()
}

fn listed(secrets: &mut Secrets, versions: &[(&str, &str)]) -> usize {
    secrets.take(0, Version::Begin);
    for (text, version) in versions {
        secrets.take(0, Version::Listed(name(text), (*version).into()));
    }
    secrets.take(0, Version::End).len()
}

fn one_feed(versions: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add_feed(0, None);
    listed(&mut secrets, versions);
    secrets
}

fn fetches(secrets: &mut Secrets) -> Vec<String> {
    std::iter::from_fn(|| secrets.next_fetch()).map(|(name, _)| name.name.to_string()).collect()
}

#[test]
fn nothing_is_fetched_that_is_not_wanted_and_nothing_twice() {
    let mut secrets = one_feed(&[("x", "1"), ("y", "1")]);
    assert_eq!(fetches(&mut secrets), [""; 0]);
    want(&mut secrets, "x", true);
    assert!(!secrets.is_answered());
    assert_eq!(fetches(&mut secrets), ["x"]);
    assert!(secrets.fetched(&name("x"), there("x", "1")).is_some());
    assert!(secrets.is_answered());
    secrets.take(0, Version::Applied(name("x"), "1".into()));
    listed(&mut secrets, &[("x", "1"), ("y", "1")]);
    assert_eq!(fetches(&mut secrets), [""; 0]);
    secrets.take(0, Version::Applied(name("x"), "2".into()));
    assert_eq!(fetches(&mut secrets), ["x"]);
}

#[test]
fn what_changes_while_it_is_fetched_is_fetched_again() {
    let mut secrets = one_feed(&[("x", "1")]);
    want(&mut secrets, "x", true);
    assert_eq!(fetches(&mut secrets), ["x"]);
    secrets.take(0, Version::Applied(name("x"), "2".into()));
    assert_eq!(fetches(&mut secrets), [""; 0], "one fetch at a time");
    secrets.fetched(&name("x"), there("x", "1"));
    assert_eq!(fetches(&mut secrets), ["x"]);
    secrets.take(0, Version::Applied(name("x"), "3".into()));
    secrets.fetched(&name("x"), there("x", "3"));
    assert_eq!(fetches(&mut secrets), [""; 0], "the answer was the newer one already");
}

#[test]
fn what_no_list_has_named_is_asked_for_once() {
    let mut secrets = one_feed(&[]);
    want(&mut secrets, "x", true);
    assert!(!secrets.is_answered());
    assert_eq!(fetches(&mut secrets), ["x"]);
    assert!(secrets.fetched(&name("x"), Fetched::Missing).is_none());
    assert!(secrets.is_answered());
    listed(&mut secrets, &[]);
    assert_eq!(fetches(&mut secrets), [""; 0]);
    secrets.take(0, Version::Applied(name("x"), "1".into()));
    assert_eq!(fetches(&mut secrets), ["x"]);
}

#[test]
fn a_namespace_that_is_not_read_is_not_asked() {
    let mut secrets = Secrets::default();
    secrets.add_feed(0, Some("other"));
    listed(&mut secrets, &[]);
    want(&mut secrets, "x", true);
    assert!(secrets.is_answered());
    assert_eq!(fetches(&mut secrets), [""; 0]);
}

#[test]
fn what_is_gone_or_no_longer_wanted_is_told_once() {
    let mut secrets = one_feed(&[("x", "1"), ("y", "1"), ("z", "1")]);
    for text in ["x", "y", "z"] {
        want(&mut secrets, text, true);
        fetches(&mut secrets);
        secrets.fetched(&name(text), there(text, "1"));
    }
    assert_eq!(secrets.take(0, Version::Deleted(name("x"))).len(), 1);
    assert_eq!(secrets.take(0, Version::Deleted(name("x"))).len(), 0);
    assert_eq!(listed(&mut secrets, &[("z", "1")]), 1, "a list without `y`");
    assert_eq!(want(&mut secrets, "z", false), 1);
    assert_eq!(want(&mut secrets, "z", false), 0);
    assert!(secrets.is_answered());
}

#[test]
fn a_failed_fetch_settles_is_told_and_is_tried_again() {
    let mut secrets = one_feed(&[("x", "1")]);
    want(&mut secrets, "x", true);
    fetches(&mut secrets);
    assert!(secrets.fetched(&name("x"), Fetched::Failed("no".into())).is_none());
    assert!(secrets.is_answered());
    assert_eq!(secrets.diagnostics().count(), 1);
    assert_eq!(secrets.next_fetch(), Some((name("x"), 1)));
    secrets.fetched(&name("x"), there("x", "1"));
    assert_eq!(secrets.diagnostics().count(), 0);
}

#[test]
fn fetches_are_bounded_and_all_come_to_their_turn() {
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let versions: Vec<(&str, &str)> = names.iter().map(|text| (text.as_str(), "1")).collect();
    let mut secrets = one_feed(&versions);
    secrets.want(names.iter().map(|text| (name(text), true)).collect());
    let mut done = 0;
    while !secrets.is_answered() {
        let begun = fetches(&mut secrets);
        assert!((1..=MAX_FETCHES).contains(&begun.len()), "{}", begun.len());
        done += begun.len();
        for text in begun {
            secrets.fetched(&name(&text), there(&text, "1"));
        }
    }
    assert_eq!(done, 100);
}

#[test]
fn the_answer_for_what_is_no_longer_wanted_is_dropped() {
    let mut secrets = one_feed(&[("x", "1")]);
    want(&mut secrets, "x", true);
    fetches(&mut secrets);
    want(&mut secrets, "x", false);
    assert!(secrets.fetched(&name("x"), there("x", "1")).is_none());
    want(&mut secrets, "x", true);
    assert_eq!(fetches(&mut secrets), ["x"]);
}
