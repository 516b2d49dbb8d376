//! Bytes of answers that were read for one client's HTTP/2 connection and not taken by it yet, all streams together.

use std::sync::atomic::{AtomicU64, Ordering};

/// Read ahead of one answer while hardly anything waits: as much as the engine reads at once.
const AT_EASE: u64 = 64 * 1024;
/// Read ahead of one answer when it is crowded.
const CROWDED: u64 = 8 * 1024;
/// And when all waits that may. Not nothing: that the client has taken the last bytes is seen when the next ones come.
const FULL: u64 = 1024;
/// The part of what may wait, one of so many, from which on it is crowded.
const EASY_PART: u64 = 16;

/// What waits on a connection.
#[derive(Debug, Default)]
pub(crate) struct Stalled(AtomicU64);

// === impl Stalled ===

impl Stalled {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Bytes that may be read ahead of one answer, while `most` may wait on the connection.
    pub(crate) fn allowance(&self, most: u64) -> u64 {
        match self.bytes() {
            bytes if bytes >= most => FULL,
            bytes if bytes >= most / EASY_PART => CROWDED,
            _ => AT_EASE,
        }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_waits_the_less_is_read_ahead() {
        let (stalled, most) = (Stalled::default(), 1 << 20);
        assert_eq!(stalled.allowance(most), AT_EASE);
        stalled.add(most / EASY_PART);
        assert_eq!(stalled.allowance(most), CROWDED);
        stalled.add(most);
        assert_eq!(stalled.allowance(most), FULL);
        stalled.remove(most);
        assert_eq!((stalled.allowance(most), stalled.bytes()), (CROWDED, most / EASY_PART));
    }
}
