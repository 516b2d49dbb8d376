//! Requests that wait for other endpoints because none of those known could be connected to.
//!
//! Pods may close their port before the API server tells that they end, so in a rollout the endpoints that are known
//! may all be the old ones for a moment. Off the way of requests that find an endpoint.
//! It must not know why an endpoint failed.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::shared::Stats;
use super::{NoPick, Pick};

/// Requests that wait at one upstream at once; more of them wait for nothing.
const MOST: u32 = 1024;
/// After a wait in vain nobody waits for so long: what is gone that long is no rollout.
const PAUSE: Duration = Duration::from_secs(5);

/// The requests that wait at one upstream.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    changed: Notify,
    count: AtomicU32,
    /// When a wait in vain ended, in milliseconds of [`clock`]; 0: none has.
    vain: AtomicU64,
}

/// A place among those that wait.
struct Place<'a> {
    waiting: &'a Waiting,
    stats: &'a Stats,
}

// === impl Waiting ===

impl Waiting {
    /// Wakes everybody: there are other endpoints.
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Picks as soon as it can be picked, at latest after `limit`.
    pub(super) async fn pick(
        &self,
        limit: Duration,
        stats: &Stats,
        mut pick: impl FnMut() -> Result<Pick, NoPick>,
    ) -> Result<Pick, NoPick> {
        let deadline = tokio::time::Instant::now() + limit;
        let Some(_place) = self.enter(stats) else { return pick() };
        loop {
            // Made before the look, so that no change falls between the two.
            let changed = self.changed.notified();
            let none = match pick() {
                Ok(pick) => {
                    stats.waits_total.fetch_add(1, Ordering::Relaxed);
                    return Ok(pick);
                }
                Err(none) => none,
            };
            if timeout_at(deadline, changed).await.is_err() {
                self.vain.store(clock(), Ordering::Relaxed);
                stats.vain_waits_total.fetch_add(1, Ordering::Relaxed);
                return Err(none);
            }
        }
    }

    fn enter<'a>(&'a self, stats: &'a Stats) -> Option<Place<'a>> {
        let vain = self.vain.load(Ordering::Relaxed);
        let is_paused = vain > 0 && Duration::from_millis(clock().saturating_sub(vain)) < PAUSE;
        if is_paused {
            return None;
        }
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        stats.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place { waiting: self, stats };
        (before < MOST).then_some(place)
    }
}

// === impl Place ===

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.count.fetch_sub(1, Ordering::Relaxed);
        self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Milliseconds since the first call, and one.
pub(super) fn clock() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
