use std::path::Path;

use serde_json::json;
use tidegate_plugin::testing::{Outcome, Request};
use tidegate_plugin::{Data, Inputs, NotDone, Work, Workers};

use super::*;

const LIST: &str = "ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\nbob:$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0\n";

fn inputs(list: &str) -> Inputs {
    let mut inputs = Inputs::default();
    let data = |key: &str, text: &str| Data::from([(key.into(), text.as_bytes().into())]);
    inputs.add_secret("web", "users", data("auth", list));
    inputs.add_secret("web", "map", data("ann", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="));
    inputs.add_file("users.htpasswd", list.as_bytes());
    inputs
}

fn build(config: serde_json::Value) -> Result<BasicAuth, BuildError> {
    let cx = BuildContext::new("staff", "", Path::new(".")).with_inputs(inputs(LIST));
    BasicAuth::build(serde_json::from_value(config).unwrap(), &cx)
}

fn plugin() -> BasicAuth {
    build(json!({"users": {"file": "users.htpasswd"}})).unwrap()
}

fn asked(user_and_password: &str) -> Request {
    Request::get("/").header("authorization", &format!("Basic {}", BASE64_STANDARD.encode(user_and_password)))
}

fn refused(plugin: &BasicAuth, mut request: Request) -> u16 {
    match request.run(plugin) {
        Outcome::Continue => 200,
        Outcome::Reply(reply) => {
            assert!(reply.status != 401 || reply.headers.contains_key(WWW_AUTHENTICATE));
            reply.status.as_u16()
        }
    }
}

#[test]
fn the_right_password_lets_in_and_says_who_it_is() {
    for config in [
        json!({"users": {"file": "users.htpasswd"}}),
        json!({"users": {"secretName": "users", "namespace": "web"}}),
        json!({"users": {"secretName": "map", "namespace": "web"}, "form": "map"}),
    ] {
        let plugin = build(config).unwrap();
        for _verified_then_remembered in 0..2 {
            let mut request = asked("ann:myPassword");
            assert!(matches!(request.run(&plugin), Outcome::Continue));
            assert_eq!(request.shared.identity.as_ref().map(|identity| &*identity.name), Some("ann"));
        }
    }
}

#[test]
fn everything_else_is_401() {
    let plugin = plugin();
    for request in [
        Request::get("/"),
        asked("ann:wrong"),
        asked("ann:"),
        asked("nobody:myPassword"),
        asked("annmyPassword"),
        asked(""),
        Request::get("/").header("authorization", "Basic %%%"),
        Request::get("/").header("authorization", "Bearer abc"),
        asked("ann:myPassword").header("authorization", "Basic eA=="),
    ] {
        assert_eq!(refused(&plugin, request), 401);
    }
    assert_eq!(refused(&plugin, asked("bob:myPassword")), 200);
    let lower = Request::get("/").header("authorization", "bAsIc YW5uOm15UGFzc3dvcmQ=");
    assert_eq!(refused(&plugin, lower), 200, "the scheme's case does not matter");
}

#[test]
fn a_password_that_was_right_costs_no_hash_again() {
    struct Counts(std::sync::atomic::AtomicUsize);
    impl Workers for Counts {
        fn take(&self, work: Work) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            work();
            true
        }
    }
    let counts = Arc::new(Counts(Default::default()));
    let plugin = BasicAuth { blocking: Blocking::new(counts.clone()), ..plugin() };
    (0..5).for_each(|_| assert_eq!(refused(&plugin, asked("ann:myPassword")), 200));
    (0..5).for_each(|_| assert_eq!(refused(&plugin, asked("nobody:x")), 401));
    assert_eq!(counts.0.load(std::sync::atomic::Ordering::Relaxed), 1 + 5, "strangers are hashed too");
}

#[test]
fn too_much_work_is_503() {
    struct Refuses;
    impl Workers for Refuses {
        fn take(&self, _: Work) -> bool {
            false
        }
    }
    let plugin = BasicAuth { blocking: Blocking::new(Arc::new(Refuses)), ..plugin() };
    assert_eq!(refused(&plugin, asked("ann:myPassword")), 503);
    let _ = NotDone;
}

#[test]
fn the_upstream_gets_no_password_when_told_so() {
    let keeps = plugin();
    assert!(!keeps.hooks().contains(Hooks::UPSTREAM_REQUEST));
    let removes = build(json!({"users": {"file": "users.htpasswd"}, "forward": false})).unwrap();
    assert!(!asked("ann:myPassword").upstream_headers(&removes).contains_key(AUTHORIZATION));
}

#[test]
fn what_is_missing_or_wrong_closes_the_route() {
    for config in [
        json!({"users": {"file": "other"}}),
        json!({"users": {"secretName": "users"}}),
        json!({"users": {"secretName": "none", "namespace": "web"}}),
        json!({"users": {"secretName": "users", "namespace": "web", "key": "other"}}),
        json!({"users": {"file": "users.htpasswd"}, "form": "map"}),
        json!({"users": {"file": "users.htpasswd"}, "realm": "a\"b"}),
    ] {
        assert!(build(config.clone()).is_err(), "{config}");
    }
}
