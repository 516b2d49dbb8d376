//! Limits how many requests a key may make.
//!
//! A limit by address, route or header stands before authentication, so that it limits guesses too; one by identity
//! stands after it. See [`crate::gcra`] for how it counts.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::Instant;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{BuildContext, BuildError, Define, Flow, Plugin, Reply, RequestContext, Stage, network, plugin};

use crate::gcra::{Gcra, Limit, Rate, micros};

/// How much is allowed, and to whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Requests in a second, minute or hour: `100/s`, `30/m`, `1000/h`; up to `1000000/s`. The time between two is kept in
    /// whole microseconds, so that rates above `100000/s` may be up to a tenth and more too low.
    pub rate: String,
    /// Requests that may come at once, at least 1.
    #[serde(default = "one")]
    pub burst: u32,
    /// Who is counted: `clientIp`, `identity`, `route` or `header: NAME`. Without the header or an identity: the client's
    /// address. By `identity` it stands after authentication, else before it. Whoever sends a request chooses the value
    /// of a header, and another value has another limit: count by it only what somebody in front of tidegate sets.
    #[serde(default)]
    pub key: Key,
    /// Whether routes of different namespaces that name this instance count apart: `namespace` (the default) or
    /// `instance`, all together.
    #[serde(default)]
    pub scope: Scope,
    /// Keys remembered at once, 8 bytes each; rounded up to a power of two.
    #[serde(default = "max_keys")]
    pub max_keys: u32,
}

/// Who is counted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Key {
    /// The client's address; an IPv6 client by its /64 network.
    #[default]
    ClientIp,
    /// The identity that an authenticating plugin has found.
    Identity,
    /// All requests of a route together.
    Route,
    /// The value of a request header.
    Header(String),
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The routes of one namespace; those of the conf are one too.
    #[default]
    Namespace,
    /// All routes that name the instance.
    Instance,
}

/// The plugin.
#[derive(Debug)]
pub struct RateLimit {
    by: By,
    scope: Scope,
    policy: HeaderValue,
    table: Gcra,
    hasher: RandomState,
    start: Instant,
}

#[derive(Debug)]
enum By {
    ClientIp,
    Identity,
    Route,
    Header(HeaderName),
}

impl Define for RateLimit {
    const NAME: &'static str = "rate-limit";
    const STAGE: Stage = Stage::Limit;
    const STAGES: &'static [Stage] = &[Stage::Access, Stage::Limit];
    type Config = Config;

    fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        let rate = Rate::parse(&config.rate).ok_or_else(|| {
            BuildError::invalid("rate", format!("`{}` is not a rate from 1/h to 1000000/s (try `100/s`)", config.rate))
        })?;
        let limit = Limit::new(rate, config.burst).map_err(|why| BuildError::invalid("burst", why))?;
        if !(8..=1 << 24).contains(&config.max_keys) {
            return Err(BuildError::invalid("maxKeys", "must be from 8 to 16777216"));
        }
        let policy = format!("\"default\";q={};w={}", rate.count, rate.seconds);
        Ok(Self {
            by: by(config.key)?,
            scope: config.scope,
            policy: HeaderValue::try_from(policy).map_err(|error| BuildError::invalid("rate", error))?,
            table: Gcra::new(limit, config.max_keys),
            hasher: RandomState::new(),
            start: Instant::now(),
        })
    }

    fn stage(&self) -> Stage {
        match self.by {
            By::Identity => Stage::Limit,
            By::ClientIp | By::Route | By::Header(_) => Stage::Access,
        }
    }
}

#[plugin]
impl Plugin for RateLimit {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        match self.table.admit(self.hash(cx), micros(self.start.elapsed())) {
            Ok(()) => Flow::Continue,
            Err(wait_us) => Flow::Reply(self.refuse(wait_us)),
        }
    }
}

// === impl RateLimit ===

impl RateLimit {
    fn hash(&self, cx: &RequestContext<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if self.scope == Scope::Namespace {
            cx.route().namespace.hash(&mut hasher);
        }
        match (&self.by, cx.identity()) {
            (By::Identity, Some(identity)) => identity.name.hash(&mut hasher),
            (By::Route, _) => (cx.route().kind, &cx.route().namespace, &cx.route().name).hash(&mut hasher),
            (By::Header(name), _) if let Some(value) = cx.headers().get(name) => value.as_bytes().hash(&mut hasher),
            _ => network(cx.client_addr()).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// 429 with the fields of draft-ietf-httpapi-ratelimit-headers-10.
    fn refuse(&self, wait_us: u64) -> Reply {
        let seconds = wait_us.div_ceil(1_000_000);
        let reply = Reply::new(StatusCode::TOO_MANY_REQUESTS)
            .header(HeaderName::from_static("ratelimit-policy"), self.policy.clone())
            .header(RETRY_AFTER, HeaderValue::from(seconds));
        match HeaderValue::try_from(format!("\"default\";r=0;t={seconds}")) {
            Ok(state) => reply.header(HeaderName::from_static("ratelimit"), state),
            Err(_) => reply,
        }
    }
}

// === private functions ===

fn one() -> u32 {
    1
}

fn max_keys() -> u32 {
    65_536
}

fn by(key: Key) -> Result<By, BuildError> {
    Ok(match key {
        Key::ClientIp => By::ClientIp,
        Key::Identity => By::Identity,
        Key::Route => By::Route,
        Key::Header(name) => By::Header(
            name.parse().map_err(|_| BuildError::invalid("key.header", format!("`{name}` is not a header name")))?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_plugin::testing::{Outcome, Request};

    fn build(config: serde_json::Value) -> Result<RateLimit, BuildError> {
        let cx = BuildContext::new("limit", "", std::path::Path::new("."));
        tidegate_plugin::build(&config, &cx)
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_each_key_counts_alone() {
        let by = |key| build(json!({"rate": "1/h", "key": key})).unwrap();
        let from = |ip: &str| Request::get("/").from(ip).header("x-key", ip).identity(ip);
        for key in [json!("clientIp"), json!("identity"), json!({"header": "X-Key"})] {
            let limit = by(key);
            assert!(matches!(from("10.0.0.1").run(&limit), Outcome::Continue));
            assert!(matches!(from("10.0.0.2").run(&limit), Outcome::Continue));
            let Outcome::Reply(reply) = from("10.0.0.1").run(&limit) else { panic!("must be refused") };
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(reply.headers["retry-after"], "3600");
            assert_eq!(reply.headers["ratelimit"], "\"default\";r=0;t=3600");
            assert_eq!(reply.headers["ratelimit-policy"], "\"default\";q=1;w=3600");
        }
        let limit = by(json!("route"));
        assert!(matches!(from("10.0.0.1").run(&limit), Outcome::Continue));
        assert!(matches!(from("10.0.0.2").run(&limit), Outcome::Reply(_)));
    }

    #[test]
    fn namespaces_count_apart_unless_told_otherwise() {
        for key in [json!("clientIp"), json!({"header": "X-Key"}), json!("identity")] {
            for (scope, other) in [(None, true), (Some("namespace"), true), (Some("instance"), false)] {
                let mut config = json!({"rate": "1/h", "key": key});
                config.as_object_mut().unwrap().extend(scope.map(|scope| ("scope".to_owned(), scope.into())));
                let limit = build(config).unwrap();
                let passes = |namespace: &str| {
                    let mut request = Request::get("/").namespace(namespace).header("x-key", "k").identity("ann");
                    matches!(request.run(&limit), Outcome::Continue)
                };
                assert!(passes("a") && !passes("a"), "{key} {scope:?}");
                assert_eq!(passes("b"), other, "{key} {scope:?}");
            }
        }
    }

    #[test]
    fn routes_of_one_name_in_two_namespaces_are_limited_apart() {
        let limit = build(json!({"rate": "1/h", "key": "route", "scope": "instance"})).unwrap();
        let passes = |namespace| matches!(Request::get("/").namespace(namespace).run(&limit), Outcome::Continue);
        assert!(passes("a") && !passes("a") && passes("b"));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let limit = build(json!({"rate": "1/h"})).unwrap();
        let passes = |client| matches!(Request::get("/").from(client).run(&limit), Outcome::Continue);
        assert!(passes("2001:db8::1") && !passes("2001:db8::2") && passes("2001:db8:0:1::1"));
    }

    #[test]
    fn what_counts_by_identity_alone_stands_after_authentication() {
        for (key, stage) in [
            (json!("clientIp"), Stage::Access),
            (json!("route"), Stage::Access),
            (json!({"header": "X-Key"}), Stage::Access),
            (json!("identity"), Stage::Limit),
        ] {
            assert_eq!(build(json!({"rate": "1/h", "key": key})).unwrap().stage(), stage, "{key}");
        }
    }

    #[test]
    fn refuses_bad_rates_bursts_and_names() {
        for config in [
            json!({"rate": "0/s"}),
            json!({"rate": "5/d"}),
            json!({"rate": "1/s", "burst": 0}),
            json!({"rate": "1/h", "burst": 1_000_000}),
            json!({"rate": "1/s", "maxKeys": 0}),
            json!({"rate": "1/s", "key": {"header": "a b"}}),
        ] {
            assert!(build(config.clone()).is_err(), "{config}");
        }
    }
}
