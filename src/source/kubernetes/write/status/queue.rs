//! Ingresses to be looked at, each once: of each namespace the one that is due first, and the namespaces in turns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::resources::ObjectName;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<ObjectName, Attempt>,
    /// By namespace; none is empty.
    order: BTreeMap<Arc<str>, BTreeSet<(Instant, ObjectName)>>,
    /// The namespace that had the last turn.
    last: Arc<str>,
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
        self.order.values().filter_map(|waiting| Some(waiting.first()?.0)).min()
    }

    /// The one whose turn it is, if any is due.
    pub(super) fn first(&self, now: Instant) -> Option<&ObjectName> {
        let behind = self.order.range::<str, _>((Excluded(&*self.last), Unbounded));
        let namespaces = behind.chain(self.order.range::<str, _>((Unbounded, Included(&*self.last))));
        let mut firsts = namespaces.filter_map(|(_, waiting)| waiting.first());
        firsts.find(|(due, _)| *due <= now).map(|(_, name)| name)
    }

    /// Takes the one whose turn it is out.
    pub(super) fn take(&mut self, now: Instant) -> Option<(ObjectName, Attempt)> {
        let name = self.first(now)?.clone();
        let attempt = self.entries.remove(&name)?;
        self.remove(attempt, &name);
        self.last = Arc::clone(&name.namespace);
        Some((name, attempt))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn insert(&mut self, name: ObjectName, attempt: Attempt) {
        if let Some(old) = self.entries.insert(name.clone(), attempt) {
            self.remove(old, &name);
        }
        self.order.entry(Arc::clone(&name.namespace)).or_default().insert((attempt.not_before, name));
    }

    fn remove(&mut self, attempt: Attempt, name: &ObjectName) {
        let Some(waiting) = self.order.get_mut(&name.namespace) else { return };
        waiting.remove(&(attempt.not_before, name.clone()));
        if waiting.is_empty() {
            self.order.remove(&name.namespace);
        }
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
        let (name, attempt) = queue.take(now).unwrap();
        assert_eq!(name, second);
        let backoff = queue.add_failed(name, attempt, now + Duration::from_secs(3));
        assert!(backoff > Duration::ZERO);
        assert_eq!(queue.take(now), None, "the other one is not due");
        assert_eq!(queue.take(now + Duration::from_secs(1)).map(|(name, _)| name), Some(first));
        assert_eq!(queue.due(), Some(now + Duration::from_secs(3) + backoff));
    }

    #[test]
    fn namespaces_have_turns_however_many_each_has() {
        let now = Instant::now();
        let mut queue = Queue::default();
        (0..100).for_each(|index| queue.add(&ObjectName::new("many", &format!("w{index:02}")), now));
        queue.add(&ObjectName::new("few", "w"), now + Duration::from_millis(1));
        queue.add(&ObjectName::new("others", "w"), now);
        let later = now + Duration::from_secs(1);
        let turns: Vec<_> = (0..5).map(|_| queue.take(later).unwrap().0.to_string()).collect();
        assert_eq!(turns, ["few/w", "many/w00", "others/w", "many/w01", "many/w02"]);
    }

    #[test]
    fn a_rest_grows_with_failures_and_is_bounded() {
        assert!(backoff(1) <= Duration::from_millis(200));
        assert!((Duration::from_secs(30)..=MAX_BACKOFF).contains(&backoff(u32::MAX)));
    }
}
