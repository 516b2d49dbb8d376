//! Active health checks, and their bounds: whoever writes one shares the probes of the process with everybody else.

use std::sync::Arc;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Duration;

/// Checks that come more often find out nothing sooner that matters, and cost as much as requests.
const MIN_INTERVAL: time::Duration = time::Duration::from_millis(100);
/// A probe keeps its place for so long at most.
const MAX_TIMEOUT: time::Duration = time::Duration::from_secs(30);
const DEFAULT_TIMEOUT: time::Duration = time::Duration::from_secs(1);

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// HTTP probe; without it a TCP connection is opened.
    pub http: Option<HttpProbe>,
    /// Time between two probes of an endpoint; at least 100ms. Default 10s.
    pub interval: Duration,
    /// Timeout of a probe; at most the interval, and 30s. Default 1s.
    pub timeout: Option<Duration>,
    /// Successes in a row after which an endpoint is healthy. Default 1.
    pub healthy_threshold: u32,
    /// Failures in a row after which an endpoint is unhealthy. Default 2.
    pub unhealthy_threshold: u32,
}

/// An HTTP probe: a GET request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpProbe {
    /// Path and query.
    pub path: Arc<str>,
    /// `Host` header. Default: the endpoint's address.
    #[serde(default)]
    pub host: Option<Arc<str>>,
    /// Status codes that count as success. Default: 200 to 399.
    #[serde(default)]
    pub statuses: Vec<u16>,
}

// === impl HealthCheck ===

impl Default for HealthCheck {
    fn default() -> Self {
        let interval = Duration(time::Duration::from_secs(10));
        Self { http: None, interval, timeout: None, healthy_threshold: 1, unhealthy_threshold: 2 }
    }
}

impl HealthCheck {
    /// How long one probe may take.
    pub fn timeout(&self) -> time::Duration {
        self.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0)
    }

    /// The same within bounds: a probe is over before the next one is due. Says what is not kept, each a sentence.
    pub fn bounded(self) -> (Self, Vec<String>) {
        let asked = self.interval.0;
        let interval = asked.max(MIN_INTERVAL);
        let most = interval.min(MAX_TIMEOUT);
        let mut told = Vec::new();
        if asked < MIN_INTERVAL {
            told.push(format!("an interval of {asked:?} is too short, {interval:?} is used"));
        }
        if let Some(Duration(timeout)) = self.timeout.filter(|timeout| timeout.0 > most) {
            told.push(format!("a timeout of {timeout:?} is too long, {most:?} is used: at most the interval and 30s"));
        }
        let timeout = Some(Duration(self.timeout().min(most)));
        (Self { interval: Duration(interval), timeout, ..self }, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(interval: Option<u64>, timeout: Option<u64>) -> (u128, u128, usize) {
        let millis = |millis| Duration(time::Duration::from_millis(millis));
        let asked = HealthCheck { timeout: timeout.map(millis), ..HealthCheck::default() };
        let interval = interval.map_or(asked.interval, millis);
        let (check, told) = HealthCheck { interval, ..asked }.bounded();
        (check.interval.0.as_millis(), check.timeout().as_millis(), told.len())
    }

    #[test]
    fn a_probe_is_over_before_the_next_one_is_due() {
        assert_eq!(of(None, None), (10_000, 1000, 0));
        assert_eq!(of(Some(500), None), (500, 500, 0), "nobody asked for longer");
        assert_eq!(of(Some(5000), Some(2000)), (5000, 2000, 0));
        assert_eq!(of(Some(5000), Some(6000)), (5000, 5000, 1));
        assert_eq!(of(Some(120_000), Some(60_000)), (120_000, 30_000, 1));
        assert_eq!(of(Some(1), Some(3_600_000)), (100, 100, 2));
    }
}
