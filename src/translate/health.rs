//! Bounds of health checks: whoever writes one shares the probes of the process with everybody else.

use std::time::Duration;

/// Checks that come more often find out nothing sooner that matters, and cost as much as requests.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// A probe keeps its place for so long at most.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// When an endpoint is probed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// What was asked for and is not kept, each a sentence.
    pub(crate) told: Vec<String>,
}

/// The timing that was asked for, within bounds: a probe is over before the next one is due.
pub(crate) fn timing(interval: Option<Duration>, timeout: Option<Duration>) -> Timing {
    let asked = interval.unwrap_or(DEFAULT_INTERVAL);
    let interval = asked.max(MIN_INTERVAL);
    let most = interval.min(MAX_TIMEOUT);
    let mut told = Vec::new();
    if asked < MIN_INTERVAL {
        told.push(format!("an interval of {asked:?} is too short, {interval:?} is taken"));
    }
    if let Some(timeout) = timeout.filter(|timeout| *timeout > most) {
        told.push(format!("a timeout of {timeout:?} is over {most:?}, which is taken: at most the interval and 30s"));
    }
    Timing { interval, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT).min(most), told }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(interval: Option<u64>, timeout: Option<u64>) -> (u64, u64, usize) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        let Timing { interval, timeout, told } =
            timing(interval.map(Duration::from_millis), timeout.map(Duration::from_millis));
        (millis(interval), millis(timeout), told.len())
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
