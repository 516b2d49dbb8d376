//! How much was written.

use std::sync::atomic::{AtomicU64, Ordering};

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
    pub(super) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
