//! Bytes of answers that were read for one client's HTTP/2 connection and not taken by it yet, all streams together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Read ahead of one answer while hardly anything waits: as much as the engine reads at once.
const AT_EASE: u64 = 64 * 1024;
/// Read ahead of one answer otherwise.
const CROWDED: u64 = 8 * 1024;
/// The part of what may wait, one of so many, from which on it is crowded.
const EASY_PART: u64 = 8;

/// What waits on a connection, and who waits for it to become less.
#[derive(Debug, Default)]
pub(crate) struct Stalled {
    bytes: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

// === impl Stalled ===

impl Stalled {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be read ahead of one answer, while `most` may wait on the connection. None when so many do; then
    /// the waker is woken when it is less.
    pub(crate) fn allowance(&self, most: u64, waker: &Waker) -> u64 {
        let allowed = self.allowed(most);
        if allowed > 0 {
            return allowed;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        // It may have become less before anybody could know of this one.
        self.allowed(most)
    }

    /// Whoever waits no longer need not be woken.
    pub(crate) fn leave(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|other| !other.will_wake(waker));
    }

    fn allowed(&self, most: u64) -> u64 {
        match self.bytes() {
            bytes if bytes >= most => 0,
            bytes if bytes >= most / EASY_PART => CROWDED,
            _ => AT_EASE,
        }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let woken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn the_more_waits_the_less_is_read_ahead() {
        let (stalled, most, waker) = (Stalled::default(), 1 << 20, Waker::from(Arc::new(Nobody)));
        let allowance = || stalled.allowance(most, &waker);
        assert_eq!(allowance(), AT_EASE);
        stalled.add(most / EASY_PART);
        assert_eq!(allowance(), CROWDED);
        stalled.add(most);
        assert_eq!(allowance(), 0);
        assert_eq!(stalled.waiting.lock().unwrap().len(), 1);
        assert_eq!(allowance(), 0);
        assert_eq!(stalled.waiting.lock().unwrap().len(), 1, "who waits is known once");
        stalled.leave(&waker);
        assert_eq!(stalled.waiting.lock().unwrap().len(), 0);
        assert_eq!(allowance(), 0);
        stalled.remove(most);
        assert_eq!((allowance(), stalled.waiting.lock().unwrap().len()), (CROWDED, 0));
    }
}
