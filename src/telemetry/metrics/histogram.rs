//! A histogram of plain atomics: lock-free, without allocation, sums in whole units.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::proto;

/// Upper bounds of buckets and the scale to the base unit.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: [u64; BOUNDS],
    scale: f64,
}

/// Counts of values by bucket. What exceeds the last bound is counted in the last slot.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: &'static Buckets,
    counts: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

const BOUNDS: usize = 11;

/// 5 ms to 10 s. Sums are kept in microseconds: 58 years of 10,000 requests at once before they wrap.
pub(super) static SECONDS: Buckets = Buckets {
    bounds: [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000],
    scale: 1e6,
};

/// 250 ns to 10 s, in nanoseconds: hooks of plugins.
pub(super) static HOOKS: Buckets = Buckets {
    bounds: [
        250,
        1_000,
        4_000,
        16_000,
        64_000,
        250_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
        10_000_000_000,
    ],
    scale: 1e9,
};

/// 64 bytes to 64 MiB, each four times the one before.
pub(super) static BYTES: Buckets = Buckets {
    bounds: [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864],
    scale: 1.0,
};

// === impl Histogram ===

impl Histogram {
    pub(super) fn new(buckets: &'static Buckets) -> Self {
        Self { buckets, counts: Default::default(), sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, value: u64) {
        let slot = self.buckets.bounds.iter().position(|&bound| value <= bound).unwrap_or(BOUNDS);
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(1, Relaxed);
            self.sum.fetch_add(value, Relaxed);
        }
    }

    pub(super) fn observe_duration(&self, value: Duration) {
        self.observe(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    /// The histogram as Prometheus' own types have it; none while it is empty.
    pub(super) fn collect(&self) -> Option<proto::Histogram> {
        let sum = self.sum.load(Relaxed) as f64 / self.buckets.scale;
        let mut total = 0;
        let mut buckets = Vec::with_capacity(BOUNDS);
        for (slot, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let Some(&bound) = self.buckets.bounds.get(slot) else { continue };
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64 / self.buckets.scale);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        if total == 0 {
            return None;
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(total);
        histogram.set_sample_sum(sum);
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it() {
        let histogram = Histogram::new(&SECONDS);
        histogram.observe_duration(Duration::from_millis(5));
        histogram.observe_duration(Duration::from_micros(5_001));
        histogram.observe_duration(Duration::from_secs(11));
        let collected = histogram.collect().unwrap();
        let counts: Vec<_> = collected.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        assert_eq!(counts, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((collected.get_sample_count(), collected.get_sample_sum()), (3, 11.010_001));
        assert_eq!(collected.get_bucket()[0].upper_bound().to_string(), "0.005");
    }

    #[test]
    fn an_empty_histogram_has_no_series() {
        assert!(Histogram::new(&BYTES).collect().is_none());
    }
}
