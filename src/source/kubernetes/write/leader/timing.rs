//! The spans of an election, all made of one, so that no configuration breaks what they promise each other.

use std::time::Duration;

/// The spans of an election.
///
/// A third of the duration goes by between renewals, two thirds until a holder stops believing in itself. The last
/// third belongs to nobody: what the holder sent before it stopped lands in it, and clocks may run apart in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    duration: Duration,
}

/// A Lease tells whole seconds, and one at least.
const MIN_SECONDS: u64 = 1;
/// Longer Leases only keep everybody away after a fault.
const MAX_SECONDS: u64 = 3600;

// === impl Timing ===

impl Timing {
    /// The spans for a Lease of this duration: whole seconds, between a second and an hour.
    pub(crate) fn new(duration: Duration) -> Self {
        Self { duration: Duration::from_secs(duration.as_secs().clamp(MIN_SECONDS, MAX_SECONDS)) }
    }

    /// How long a Lease that nobody renews keeps others away.
    pub(crate) fn duration(self) -> Duration {
        self.duration
    }

    /// How often the holder renews, and others look.
    pub(crate) fn renew(self) -> Duration {
        self.duration / 3
    }

    /// How long after its last renewal a holder stops believing in itself.
    pub(crate) fn give_up(self) -> Duration {
        self.duration * 2 / 3
    }

    /// How long one attempt may take: a holder wants a second one before it gives up.
    pub(super) fn patience(self) -> Duration {
        self.renew() / 2
    }

    /// Until the next attempt after one that failed.
    pub(super) fn retry(self) -> Duration {
        self.renew() / 4
    }

    /// How long a foreign holder is believed. One with longer spans than ours has a right to them, within reason.
    pub(super) fn respect(self, written: Option<Duration>) -> Duration {
        written.unwrap_or_default().min(Duration::from_secs(MAX_SECONDS)).max(self.duration)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(Duration::from_secs(15))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_configured_a_holder_gives_up_a_quarter_before_others_take_over(ms in any::<u64>()) {
            let timing = Timing::new(Duration::from_millis(ms));
            prop_assert!(timing.give_up() <= timing.duration() * 3 / 4);
            // A lost attempt, the pause after it, and the next one fit into what is left after a renewal.
            prop_assert!(timing.renew() + timing.patience() + timing.retry() <= timing.give_up());
            prop_assert_eq!(timing.duration().subsec_nanos(), 0, "it is written in whole seconds");
        }
    }

    #[test]
    fn a_foreign_lease_is_respected_for_its_own_span_but_not_for_ever() {
        let timing = Timing::default();
        assert_eq!(timing.respect(None), Duration::from_secs(15));
        assert_eq!(timing.respect(Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert_eq!(timing.respect(Some(Duration::MAX)), Duration::from_secs(3600));
    }
}
