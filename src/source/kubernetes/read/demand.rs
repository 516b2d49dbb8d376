//! Which Secrets are wanted: the one thing that goes against the flow, and it is names only.
//!
//! Only translation knows which Secrets routes refer to, and only those may be fetched. Whoever translates tells a
//! [`Demand`]; the source fetches what is wanted and answers in its batches with the number of the last demand that
//! is settled. What was not heeded yet is gathered here, so that nothing grows beyond the number of Secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::resources::ObjectName;

/// Receiver of the names of Secrets that are needed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<Pending>,
    told: Notify,
}

/// Demands that were not heeded yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Whether each of these is wanted now.
    pub(super) changes: BTreeMap<ObjectName, bool>,
    /// The number of the last demand.
    pub(super) number: u64,
}

// === impl Demand ===

impl Demand {
    /// Says of Secrets whether they are wanted, and returns the number to wait for.
    pub fn tell(&self, changes: impl IntoIterator<Item = (ObjectName, bool)>) -> u64 {
        let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.changes.extend(changes);
        pending.number += 1;
        self.0.told.notify_one();
        pending.number
    }

    /// Waits for demands. Nothing is lost when it is dropped.
    pub(super) async fn next(&self) -> Pending {
        loop {
            let told = self.0.told.notified();
            if let Some(pending) = self.take() {
                return pending;
            }
            told.await;
        }
    }

    fn take(&self) -> Option<Pending> {
        let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.changes.is_empty() {
            return None;
        }
        Some(Pending { changes: std::mem::take(&mut pending.changes), number: pending.number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_that_were_not_heeded_are_one() {
        let demand = Demand::default();
        let name = |name: &str| ObjectName::new("a", name);
        assert_eq!(demand.tell([(name("x"), true), (name("y"), true)]), 1);
        assert_eq!(demand.tell([(name("x"), false)]), 2);
        let pending = demand.next().await;
        assert_eq!(pending.number, 2);
        assert_eq!(pending.changes, BTreeMap::from([(name("x"), false), (name("y"), true)]));
        let later = demand.clone();
        let waiting = tokio::spawn(async move { later.next().await });
        demand.tell([(name("z"), true)]);
        assert_eq!(waiting.await.unwrap().number, 3);
    }
}
