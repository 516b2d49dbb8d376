//! Wrong passwords, counted by the network of whoever gave them, in memory of fixed size.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{BuildError, Clock, network};

use crate::gcra::{Gcra, Limit, Rate, micros};

/// Networks remembered at once: 64 KiB, taken with the first wrong password.
const MAX_KEYS: u32 = 8192;

/// How many wrong passwords a client may give, or `off`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Failures {
    /// No limit.
    Off(Off),
    /// So many.
    Limit(FailureLimit),
}

/// `off`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Off {
    /// No limit.
    Off,
}

/// How many wrong passwords a client may give.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailureLimit {
    /// Wrong passwords in a second, minute or hour: `20/m`. Default `20/m`.
    pub rate: String,
    /// Wrong passwords that may come at once, at least 1. Default 20.
    pub burst: u32,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Counted {
    limit: Limit,
    table: OnceLock<Gcra>,
    hasher: RandomState,
    clock: Clock,
}

// === impl Failures, FailureLimit ===

impl Default for Failures {
    fn default() -> Self {
        Self::Limit(FailureLimit::default())
    }
}

impl Default for FailureLimit {
    fn default() -> Self {
        Self { rate: "20/m".to_owned(), burst: 20 }
    }
}

// === impl Counted ===

impl Counted {
    /// Starts to count; `None`: there is no limit.
    pub(super) fn start(config: &Failures, clock: Clock) -> Result<Option<Self>, BuildError> {
        let Failures::Limit(FailureLimit { rate, burst }) = config else { return Ok(None) };
        let read = Rate::parse(rate).ok_or_else(|| {
            let message = format!("`{rate}` is not a rate from 1/h to 1000000/s (try `20/m`)");
            BuildError::invalid("failures.rate", message)
        })?;
        let limit = Limit::new(read, *burst).map_err(|why| BuildError::invalid("failures.burst", why))?;
        Ok(Some(Self { limit, table: OnceLock::new(), hasher: RandomState::new(), clock }))
    }

    /// Whether this client may try another password; an error is the seconds until it may.
    pub(super) fn check(&self, client: IpAddr) -> Result<(), u64> {
        let Some(table) = self.table.get() else { return Ok(()) };
        table.check(self.key(client), micros(self.clock.now())).map_err(|wait| wait.div_ceil(1_000_000))
    }

    /// Counts a wrong password.
    pub(super) fn count(&self, client: IpAddr) {
        let table = self.table.get_or_init(|| Gcra::new(self.limit, MAX_KEYS));
        // More than the limit are those that were being checked at the same moment.
        let _ = table.admit(self.key(client), micros(self.clock.now()));
    }

    fn key(&self, client: IpAddr) -> u64 {
        self.hasher.hash_one(network(client))
    }
}
