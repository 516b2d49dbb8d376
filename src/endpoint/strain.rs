//! When an upstream was last refused a request because it holds its part.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::waiting::clock;

/// For so long after a refusal an upstream is under strain.
const STRAINED: Duration = Duration::from_secs(5);
const TENTH: Duration = Duration::from_millis(100);

/// When an upstream was last refused a request.
#[derive(Debug, Default)]
pub(super) struct Strain {
    /// In tenths of a second of [`clock`], and one; 0: never.
    at: AtomicU32,
}

/// There is one for each upstream, and the strain lasts seconds.
fn tenths() -> u32 {
    u32::try_from(clock() / 100).unwrap_or(u32::MAX).saturating_add(1)
}

// === impl Strain ===

impl Strain {
    pub(super) fn note(&self) {
        self.at.store(tenths(), Ordering::Relaxed);
    }

    pub(super) fn is_recent(&self) -> bool {
        // The clock is looked at only where there was strain.
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && TENTH * tenths().saturating_sub(at) < STRAINED
    }
}
