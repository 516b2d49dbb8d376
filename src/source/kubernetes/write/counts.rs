//! How much was written.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::metrics::{Emit, Sample, family};

/// Counters of writes, for metrics. Leadership has its own.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Statuses written.
    pub status_writes: AtomicU64,
    /// Attempts to write a status that failed; they are made again.
    pub status_failures: AtomicU64,
    /// Ingresses whose status is to be written.
    pub status_waiting: AtomicU64,
    /// Events written.
    pub events: AtomicU64,
    /// Events left out: too many waited, or a write failed.
    pub events_dropped: AtomicU64,
}

// === impl Counts ===

impl Counts {
    /// Tells the metrics.
    pub(crate) fn observe(&self, emit: Emit<'_>) {
        for (family, labels, count) in [
            (&family::STATUS_WRITES, &["written"] as &[&str], &self.status_writes),
            (&family::STATUS_WRITES, &["failed"], &self.status_failures),
            (&family::STATUS_QUEUE, &[], &self.status_waiting),
            (&family::EVENTS, &[], &self.events),
            (&family::EVENTS_DROPPED, &[], &self.events_dropped),
        ] {
            emit(Sample { family, labels, value: count.load(Ordering::Relaxed) as f64 });
        }
    }

    pub(super) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
