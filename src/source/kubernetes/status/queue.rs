//! Ingresses to be looked at, each once, the one that is due first at the front.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::resources::ObjectName;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<ObjectName, Attempt>,
    order: BTreeSet<(Instant, ObjectName)>,
}

/// An entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    not_before: Instant,
    failures: u32,
}

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

// === impl Queue ===

impl Queue {
    /// Puts one in that is due now; one that waits already goes on waiting.
    pub(super) fn add(&mut self, name: &ObjectName, now: Instant) {
        if !self.entries.contains_key(name) {
            self.insert(name.clone(), Attempt { not_before: now, failures: 0 });
        }
    }

    /// Puts one back that failed; tells when it is due again.
    pub(super) fn add_failed(&mut self, name: ObjectName, attempt: Attempt, now: Instant) -> Duration {
        let failures = attempt.failures.saturating_add(1);
        let backoff = backoff(failures);
        self.insert(name, Attempt { not_before: now + backoff, failures });
        backoff
    }

    /// When the first is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// The first.
    pub(super) fn first(&self) -> Option<&ObjectName> {
        self.order.first().map(|(_, name)| name)
    }

    /// Takes the first out.
    pub(super) fn take(&mut self) -> Option<(ObjectName, Attempt)> {
        let (_, name) = self.order.pop_first()?;
        let attempt = self.entries.remove(&name)?;
        Some((name, attempt))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn insert(&mut self, name: ObjectName, attempt: Attempt) {
        if let Some(old) = self.entries.insert(name.clone(), attempt) {
            self.order.remove(&(old.not_before, name.clone()));
        }
        self.order.insert((attempt.not_before, name));
    }
}

/// How long one rests after so many failures in a row; half of it is chance.
pub(super) fn backoff(failures: u32) -> Duration {
    let steady = MIN_BACKOFF.saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF);
    steady.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_queued_once_and_comes_out_when_it_is_due() {
        let now = Instant::now();
        let [first, second] = ["a", "b"].map(|name| ObjectName::new("shop", name));
        let mut queue = Queue::default();
        queue.add(&second, now);
        queue.add(&first, now + Duration::from_secs(1));
        queue.add(&second, now + Duration::from_secs(2));
        assert_eq!((queue.len(), queue.due()), (2, Some(now)));
        let (name, attempt) = queue.take().unwrap();
        assert_eq!(name, second);
        let backoff = queue.add_failed(name, attempt, now + Duration::from_secs(3));
        assert!(backoff > Duration::ZERO);
        assert_eq!(queue.take().map(|(name, _)| name), Some(first));
        assert_eq!(queue.due(), Some(now + Duration::from_secs(3) + backoff));
    }

    #[test]
    fn a_rest_grows_with_failures_and_is_bounded() {
        assert!(backoff(1) <= Duration::from_millis(200));
        assert!((Duration::from_secs(30)..=MAX_BACKOFF).contains(&backoff(u32::MAX)));
    }
}
