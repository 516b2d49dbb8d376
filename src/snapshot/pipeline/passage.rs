//! What a chain notes of one request on its way through: how long each plugin took, and whose part has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Instance;
use crate::telemetry::metrics::Phase;

/// One request's way through a chain. One task at a time works on a request; atomics are for shared borrows only.
#[derive(Debug)]
pub struct Passage {
    is_timed: bool,
    nanos: [AtomicU64; Passage::KEPT],
    /// A bit for each plugin, by position, that would have ended a body.
    ended: AtomicU64,
}

/// Reads the clock once between two hooks, and never when nobody wants to know.
pub(super) struct Watch<'p> {
    passage: &'p Passage,
    phase: Phase,
    last: Option<Instant>,
}

// === impl Passage ===

impl Passage {
    /// Plugins of a chain whose time is kept for one request; a longer chain has the others in metrics only.
    pub const KEPT: usize = 8;

    /// A passage whose times somebody reads.
    pub fn timed() -> Self {
        Self { is_timed: true, ..Self::untimed() }
    }

    /// A passage without a look at the clock.
    pub fn untimed() -> Self {
        Self { is_timed: false, nanos: [const { AtomicU64::new(0) }; Self::KEPT], ended: AtomicU64::new(0) }
    }

    /// What each plugin took so far, in the order of the chain.
    pub fn times(&self) -> impl Iterator<Item = Duration> {
        self.nanos.iter().map(|nanos| Duration::from_nanos(nanos.load(Ordering::Relaxed)))
    }

    /// Whether the plugin at this position would have ended the request by its body.
    pub(super) fn has_ended(&self, position: usize) -> bool {
        self.ended.load(Ordering::Relaxed) & bit(position) != 0
    }

    pub(super) fn end(&self, position: usize) {
        self.ended.fetch_or(bit(position), Ordering::Relaxed);
    }

    pub(super) fn add(&self, position: usize, took: Duration) {
        if let Some(nanos) = self.nanos.get(position) {
            nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

// === impl Watch ===

impl<'p> Watch<'p> {
    pub(super) fn start(passage: &'p Passage, phase: Phase) -> Self {
        Self { passage, phase, last: passage.is_timed.then(Instant::now) }
    }

    /// Notes that the plugin at this position has done its part.
    pub(super) fn done(&mut self, position: usize, instance: &Instance) {
        let Some(last) = self.last else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(last);
        self.last = Some(now);
        instance.times.observe(self.phase, took);
        self.passage.add(position, took);
    }
}

// === private functions ===

/// None for what lies beyond the room: such a plugin is asked, and counted, for each piece.
fn bit(position: usize) -> u64 {
    u32::try_from(position).ok().and_then(|position| 1_u64.checked_shl(position)).unwrap_or(0)
}
