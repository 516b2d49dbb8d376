//! Limits how many requests a key may make, by GCRA, in memory of fixed size and without a lock.
//!
//! A slot is one atomic word: 18 bits of the key's hash and 46 bits of its theoretical arrival time in microseconds.
//! Eight slots are a set; a new key takes the slot whose time is oldest, so under more keys than slots the least
//! busy are forgotten. Two keys of one set with equal bits share a limit: about 1 of 30,000 new keys in a full set.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{BuildContext, BuildError, Define, Flow, Hooks, Plugin, Reply, RequestContext, Stage};

/// How much is allowed, and to whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Requests in a second, minute or hour: `100/s`, `30/m`, `1000/h`; up to `1000000/s`. The time between two is kept in
    /// whole microseconds, so that rates above `100000/s` may be up to a tenth and more too low.
    pub rate: String,
    /// Requests that may come at once, at least 1.
    #[serde(default = "one")]
    pub burst: u32,
    /// Who is counted: `clientIp`, `identity`, `route` or `header: NAME`. Without the header or an identity: the client's address.
    #[serde(default)]
    pub key: Key,
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

/// The plugin.
#[derive(Debug)]
pub struct RateLimit {
    by: By,
    interval_us: u64,
    tolerance_us: u64,
    policy: HeaderValue,
    slots: Box<[[AtomicU64; 8]]>,
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

const TIME_BITS: u32 = 46;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

impl Define for RateLimit {
    const NAME: &'static str = "rate-limit";
    const STAGE: Stage = Stage::Limit;
    type Config = Config;

    fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        let (count, seconds) = rate(&config.rate).ok_or_else(|| {
            BuildError::invalid("rate", format!("`{}` is not a rate from 1/h to 1000000/s (try `100/s`)", config.rate))
        })?;
        if !(1..=1_000_000).contains(&config.burst) {
            return Err(BuildError::invalid("burst", "must be from 1 to 1000000"));
        }
        if !(8..=1 << 24).contains(&config.max_keys) {
            return Err(BuildError::invalid("maxKeys", "must be from 8 to 16777216"));
        }
        let interval_us = (seconds * 1_000_000).div_ceil(count);
        if interval_us * u64::from(config.burst) > 1 << (TIME_BITS - 2) {
            return Err(BuildError::invalid("burst", "takes more than 200 days to refill at this rate"));
        }
        let sets = config.max_keys.next_power_of_two() / 8;
        let policy = format!("\"default\";q={count};w={seconds}");
        Ok(Self {
            by: by(config.key)?,
            interval_us,
            tolerance_us: interval_us * u64::from(config.burst - 1),
            policy: HeaderValue::try_from(policy).map_err(|error| BuildError::invalid("rate", error))?,
            slots: (0..sets).map(|_| Default::default()).collect(),
            hasher: RandomState::new(),
            start: Instant::now(),
        })
    }
}

impl Plugin for RateLimit {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(TIME_MASK);
        match self.admit(self.hash(cx), now) {
            Ok(()) => Flow::Continue,
            Err(wait_us) => Flow::Reply(self.refuse(wait_us)),
        }
    }
}

// === impl RateLimit ===

impl RateLimit {
    fn hash(&self, cx: &RequestContext<'_>) -> u64 {
        let found = match &self.by {
            By::ClientIp => None,
            By::Identity => cx.identity().map(|identity| self.hasher.hash_one(&*identity.name)),
            By::Route => Some(self.hasher.hash_one(&*cx.route().name)),
            By::Header(name) => cx.headers().get(name).map(|value| self.hasher.hash_one(value.as_bytes())),
        };
        found.unwrap_or_else(|| match cx.client_addr() {
            IpAddr::V4(address) => self.hasher.hash_one(address),
            IpAddr::V6(address) => self.hasher.hash_one(address.to_bits() >> 64),
        })
    }

    /// Counts one request; an error is the time in microseconds until one would pass.
    fn admit(&self, hash: u64, now: u64) -> Result<(), u64> {
        let tag = hash >> TIME_BITS;
        let index = usize::try_from(hash & TIME_MASK).unwrap_or(0) & (self.slots.len() - 1);
        let Some(set) = self.slots.get(index) else { return Err(self.interval_us) };
        loop {
            let words = set.iter().map(|slot| (slot, slot.load(Ordering::Relaxed)));
            let own = words.clone().find(|(_, word)| *word != 0 && word >> TIME_BITS == tag);
            let Some((slot, word)) = own.or_else(|| words.min_by_key(|(_, word)| word & TIME_MASK)) else {
                return Err(self.interval_us);
            };
            let arrival = if own.is_some() { (word & TIME_MASK).max(now) } else { now };
            let over = (arrival - now).saturating_sub(self.tolerance_us);
            if over > 0 {
                return Err(over);
            }
            let next = tag << TIME_BITS | (arrival + self.interval_us).min(TIME_MASK);
            if slot.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
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

/// Requests and the seconds that they are spread over.
fn rate(text: &str) -> Option<(u64, u64)> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let count = count.parse().ok().filter(|count| (1..=1_000_000 * seconds).contains(count))?;
    Some((count, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_plugin::testing::{Outcome, Request};

    fn build(config: serde_json::Value) -> Result<RateLimit, BuildError> {
        let cx = BuildContext::new("limit", "", std::path::Path::new("."));
        RateLimit::build(serde_json::from_value(config).unwrap(), &cx)
    }

    #[test]
    fn a_burst_passes_then_one_an_interval() {
        let limit = build(json!({"rate": "10/s", "burst": 3})).unwrap();
        let passed = (0..5).filter(|_| limit.admit(7, 1_000).is_ok()).count();
        assert_eq!(passed, 3);
        assert_eq!(limit.admit(7, 1_000), Err(100_000));
        assert_eq!(limit.admit(7, 101_000), Ok(()));
        assert!(limit.admit(7, 101_000).is_err());
        assert_eq!(limit.admit(8, 101_000), Ok(()), "another key of the same set has its own limit or slot");
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
    fn a_million_keys_stay_within_the_memory_that_was_asked_for() {
        let limit = build(json!({"rate": "1/m", "maxKeys": 100})).unwrap();
        (0..1_000_000u32).for_each(|key| _ = limit.admit(limit.hasher.hash_one(key), 1));
        assert_eq!(limit.slots.len() * 8, 128);
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
