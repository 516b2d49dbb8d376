//! The time, which tests can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Tells the time. Tests advance it by hand, see [`crate::testing::ManualClock`].
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    /// Microseconds since the clock was made, and the time of day then.
    Manual(Arc<AtomicU64>, SystemTime),
}

// === impl Clock ===

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    pub(crate) fn manual(elapsed_us: Arc<AtomicU64>, start: SystemTime) -> Self {
        Self(Source::Manual(elapsed_us, start))
    }

    /// Time since the clock was made; never goes back.
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(elapsed_us, _) => Duration::from_micros(elapsed_us.load(Ordering::Relaxed)),
        }
    }

    /// The time of day; may go back when somebody sets it.
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System(_) => SystemTime::now(),
            Source::Manual(_, start) => *start + self.now(),
        }
    }
}
