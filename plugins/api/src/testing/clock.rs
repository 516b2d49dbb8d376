//! A clock for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::Clock;

/// A clock that stands still until it is told to go on. It begins at 2026-01-01T00:00:00Z.
///
/// ```
/// # use std::time::Duration;
/// let manual = tidegate_plugin::testing::ManualClock::default();
/// let clock = manual.clock();
/// manual.advance(Duration::from_secs(3));
/// assert_eq!(clock.now(), Duration::from_secs(3));
/// assert_eq!(clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_767_225_603);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    elapsed_us: Arc<AtomicU64>,
}

// === impl ManualClock ===

impl ManualClock {
    /// What plugins see, for [`crate::BuildContext::with_clock`].
    pub fn clock(&self) -> Clock {
        Clock::manual(Arc::clone(&self.elapsed_us), SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    }

    /// Lets time go on.
    pub fn advance(&self, time: Duration) {
        self.elapsed_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
