//! A token bucket: so many at once, so many a second after that.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full.
    full_at: Instant,
}

// === impl Pace ===

impl Pace {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: burst.max(1), full_at: Instant::now() }
    }

    /// Takes a token, or says from when on there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now) + self.interval;
        let limit = now + self.interval * self.burst;
        if full_at > limit {
            return Err(now + (full_at - limit));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Waits for a token and takes it.
    pub(crate) async fn wait(&mut self) {
        while let Err(later) = self.take(Instant::now()) {
            tokio::time::sleep_until(later).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_so_many_a_second() {
        let mut pace = Pace::new(10, 3);
        let start = Instant::now();
        for _ in 0..3 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            pace.wait().await;
        }
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_millis(1100), "{:?}", start.elapsed());
    }
}
