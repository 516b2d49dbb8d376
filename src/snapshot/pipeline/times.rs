//! How long plugins took.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Instance;
use crate::telemetry::metrics::Phase;

/// How long the hooks of each plugin took for one request, in nanoseconds, in the order of the chain.
#[derive(Debug, Default)]
pub struct Times([AtomicU32; Times::KEPT]);

/// Reads the clock once between two hooks.
pub(super) struct Watch<'t> {
    times: &'t Times,
    phase: Phase,
    last: Instant,
}

// === impl Times ===

impl Times {
    /// Plugins of a chain whose time is kept for one request; a longer chain has the others in metrics only.
    pub const KEPT: usize = 8;

    /// What each plugin took so far.
    pub fn iter(&self) -> impl Iterator<Item = Duration> {
        self.0.iter().map(|nanos| Duration::from_nanos(nanos.load(Ordering::Relaxed).into()))
    }

    fn add(&self, position: usize, took: Duration) {
        if let Some(nanos) = self.0.get(position) {
            // One task at a time works on a request. Four seconds are the most that fit.
            let sum = u64::from(nanos.load(Ordering::Relaxed)) + u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            nanos.store(u32::try_from(sum).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }
}

// === impl Watch ===

impl<'t> Watch<'t> {
    pub(super) fn start(times: &'t Times, phase: Phase) -> Self {
        Self { times, phase, last: Instant::now() }
    }

    /// Notes that the plugin at this position has done its part.
    pub(super) fn done(&mut self, position: usize, instance: &Instance) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.last);
        self.last = now;
        instance.times.observe(self.phase, took);
        self.times.add(position, took);
    }
}
