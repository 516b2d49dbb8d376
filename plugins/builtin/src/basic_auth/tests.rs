use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tidegate_plugin::testing::ManualClock;
use tidegate_plugin::testing::{Outcome, Request};
use tidegate_plugin::{Data, Inputs, Ticket, Turn, Work, Workers};

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
    tidegate_plugin::build::<BasicAuth>(&config, &cx)
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
    struct Counts(std::sync::atomic::AtomicU64);
    impl Workers for Counts {
        fn take(&self, _: &Turn, work: Work) -> Option<Ticket> {
            work.run();
            Some(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }
        fn leave(&self, _: &Turn, _: Ticket) {}
    }
    let counts = Arc::new(Counts(Default::default()));
    let plugin = BasicAuth { blocking: Blocking::new(counts.clone()), ..plugin() };
    (0..5).for_each(|_| assert_eq!(refused(&plugin, asked("ann:myPassword")), 200));
    (0..5).for_each(|_| assert_eq!(refused(&plugin, asked("nobody:x")), 401));
    assert_eq!(counts.0.load(std::sync::atomic::Ordering::Relaxed), 1 + 5, "strangers are hashed too");
}

#[test]
fn a_password_that_waits_for_its_equal_costs_no_hash_of_its_own() {
    let plugin = plugin();
    let given = Credentials { user: "ann", password: "myPassword" };
    let client = IpAddr::from([10, 0, 0, 1]);
    let (first, second) = (plugin.check(&given, client), plugin.check(&given, client));
    assert_eq!(first(), Checked::Right);
    assert!(plugin.cache.has(plugin.cache.digest("ann", "myPassword")), "before the second begins");
    assert_eq!(second(), Checked::Right);
}

#[test]
fn strangers_are_measured_by_the_costliest_hash() {
    for list in [LIST.to_owned(), LIST.lines().rev().collect::<Vec<_>>().join("\n")] {
        let cx = BuildContext::new("staff", "", Path::new(".")).with_inputs(inputs(&list));
        let config = json!({"users": {"file": "users.htpasswd"}});
        let plugin = tidegate_plugin::build::<BasicAuth>(&config, &cx).unwrap();
        assert!(matches!(plugin.stranger, Hash::Md5 { .. }), "bob's");
    }
}

#[test]
fn credentials_too_long_to_be_hashed_in_good_time_are_refused_unread() {
    struct Never;
    impl Workers for Never {
        fn take(&self, _: &Turn, _: Work) -> Option<Ticket> {
            panic!("hashed");
        }
        fn leave(&self, _: &Turn, _: Ticket) {}
    }
    let plugin = BasicAuth { blocking: Blocking::new(Arc::new(Never)), ..plugin() };
    assert_eq!(refused(&plugin, asked(&format!("ann:{}", "x".repeat(40_000)))), 401);
}

#[test]
fn too_much_work_is_503() {
    struct Refuses;
    impl Workers for Refuses {
        fn take(&self, _: &Turn, work: Work) -> Option<Ticket> {
            work.refuse();
            None
        }
        fn leave(&self, _: &Turn, _: Ticket) {}
    }
    let plugin = BasicAuth { blocking: Blocking::new(Arc::new(Refuses)), ..plugin() };
    let Outcome::Reply(reply) = asked("ann:myPassword").run(&plugin) else { panic!("must be refused") };
    assert_eq!((reply.status.as_u16(), reply.reason), (503, Some(ReasonCode::WORK_REFUSED)));
}

/// The plugin with so many wrong passwords allowed, and its clock.
fn limited(failures: serde_json::Value) -> (BasicAuth, ManualClock) {
    let clock = ManualClock::default();
    let cx = BuildContext::new("staff", "", Path::new(".")).with_inputs(inputs(LIST)).with_clock(clock.clock());
    let config = json!({"users": {"file": "users.htpasswd"}, "failures": failures});
    (tidegate_plugin::build::<BasicAuth>(&config, &cx).unwrap(), clock)
}

#[test]
fn whoever_gives_too_many_wrong_passwords_may_give_no_other_for_a_while() {
    let (plugin, clock) = limited(json!({"rate": "1/m", "burst": 3}));
    let from = |client: &str, password: &str| asked(&format!("ann:{password}")).from(client);
    assert_eq!(refused(&plugin, from("10.0.0.1", "myPassword")), 200, "remembered from here on");
    let guesses: Vec<u16> = (0..10).map(|n| refused(&plugin, from("10.0.0.1", &format!("wrong{n}")))).collect();
    assert_eq!(guesses, [401, 401, 401, 429, 429, 429, 429, 429, 429, 429]);
    let Outcome::Reply(reply) = from("10.0.0.1", "wrong").run(&plugin) else { panic!("must be refused") };
    assert_eq!(
        (reply.headers[RETRY_AFTER].as_bytes(), reply.reason),
        (&b"60"[..], Some(ReasonCode::TOO_MANY_FAILURES))
    );
    assert_eq!(refused(&plugin, asked("bob:myPassword").from("10.0.0.1")), 429, "right, but nobody knows that yet");
    assert_eq!(refused(&plugin, from("10.0.0.1", "myPassword")), 200, "known to be right");
    assert_eq!(refused(&plugin, asked("bob:myPassword").from("10.0.0.2")), 200, "somebody else");
    assert_eq!(refused(&plugin, Request::get("/").from("10.0.0.1")), 401, "no password is no guess");
    clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(refused(&plugin, from("10.0.0.1", "wrong")), 401);
    assert_eq!(refused(&plugin, from("10.0.0.1", "wrong")), 429);
}

#[test]
fn right_passwords_and_missing_ones_are_not_counted() {
    let (plugin, _) = limited(json!({"rate": "1/h", "burst": 1}));
    (0..5).for_each(|_| assert_eq!(refused(&plugin, Request::get("/")), 401));
    for user in ["ann", "bob", "ann", "bob"] {
        assert_eq!(refused(&plugin, asked(&format!("{user}:myPassword"))), 200);
    }
}

#[test]
fn an_ipv6_client_guesses_as_its_network() {
    let (plugin, _) = limited(json!({"rate": "1/h", "burst": 1}));
    let from = |client: &str| refused(&plugin, asked("ann:wrong").from(client));
    assert_eq!([from("2001:db8::1"), from("2001:db8::2"), from("2001:db8:0:1::1")], [401, 429, 401]);
}

#[test]
fn guesses_that_wait_together_are_limited_too() {
    let (plugin, _) = limited(json!({"rate": "1/h", "burst": 2}));
    let client = IpAddr::from([10, 0, 0, 1]);
    let given = |password| Credentials { user: "ann", password };
    let waiting: Vec<_> = ["a", "b", "c", "myPassword"].map(|password| plugin.check(&given(password), client)).into();
    let found: Vec<_> = waiting.into_iter().map(|check| check()).collect();
    assert_eq!(found[..2], [Checked::Wrong, Checked::Wrong]);
    assert!(found[2..].iter().all(|found| matches!(found, Checked::TooMany(1..=3600))), "{found:?}");
}

#[test]
fn twenty_wrong_passwords_are_allowed_by_default_and_any_number_when_off() {
    let (off, _) = limited(json!("off"));
    for (plugin, allowed) in [(plugin(), 20), (off, 30)] {
        let tried = (0..30).filter(|n| refused(&plugin, asked(&format!("ann:wrong{n}"))) == 401).count();
        assert_eq!(tried, allowed);
    }
}

#[test]
fn a_dear_hash_keeps_its_user_out_and_is_told() {
    let dear = "$5$rounds=200000$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
    let build = |list: &str, config: serde_json::Value| {
        let cx = BuildContext::new("staff", "", Path::new(".")).with_inputs(inputs(list));
        let built = tidegate_plugin::build::<BasicAuth>(&config, &cx);
        (built, cx.findings())
    };
    let users = json!({"users": {"file": "users.htpasswd"}});
    let (built, findings) = build(&format!("{LIST}eve:{dear}\n"), users.clone());
    let plugin = built.unwrap();
    assert_eq!((findings.len(), &*findings[0].field), (1, "users"));
    assert!(findings[0].message.starts_with("line 3: ") && !findings[0].message.contains("salt"), "{findings:?}");
    assert_eq!([refused(&plugin, asked("eve:Hello world!")), refused(&plugin, asked("ann:myPassword"))], [401, 200]);
    let (none, _) = build(&format!("eve:{dear}\n"), users);
    assert!(none.is_err(), "nobody could come in");
    let raised = json!({"users": {"file": "users.htpasswd"}, "maxHashCost": {"rounds": 200_000}});
    let (raised, findings) = build(&format!("eve:{dear}\n"), raised);
    assert!(raised.is_ok() && findings.is_empty());
}

#[test]
fn the_upstream_gets_no_password_when_told_so() {
    let keeps = plugin();
    assert!(!(&keeps as &dyn Plugin).hooks().contains(Hooks::UPSTREAM_REQUEST));
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
        json!({"users": {"file": "users.htpasswd"}, "failures": {"rate": "0/s"}}),
        json!({"users": {"file": "users.htpasswd"}, "failures": {"burst": 0}}),
        json!({"users": {"file": "users.htpasswd"}, "maxHashCost": {"bcrypt": 16}}),
        json!({"users": {"file": "users.htpasswd"}, "maxHashCost": {"rounds": 2_000_000}}),
    ] {
        assert!(build(config.clone()).is_err(), "{config}");
    }
}
