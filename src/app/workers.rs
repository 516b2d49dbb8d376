//! Threads for what plugins do that takes long, hashing passwords for instance, behind a bounded queue.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{panic, thread};

use tidegate_plugin::{Work, Workers};

/// Pieces of work that may wait; a password hash takes some 50 ms, and whoever waits longer has given up.
const QUEUE: usize = 256;

/// The threads. They end with the process.
pub(super) struct Pool {
    queue: SyncSender<Work>,
    counts: Arc<Counts>,
}

/// What is told about them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Pieces that wait or are worked on.
    pub(super) waiting: AtomicUsize,
    /// Pieces that were refused because too many waited.
    pub(super) refused: AtomicU64,
}

// === impl Pool ===

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// None can be started.
    pub(super) fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, work) = sync_channel(QUEUE);
        let work = Arc::new(Mutex::new(work));
        let counts = Arc::<Counts>::default();
        for _ in 0..threads.max(1) {
            let (work, counts) = (work.clone(), counts.clone());
            thread::Builder::new().name("plugin-work".into()).spawn(move || serve(&work, &counts))?;
        }
        Ok(Self { queue, counts })
    }

    /// What is told about them.
    pub(super) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

impl Workers for Pool {
    fn take(&self, work: Work) -> bool {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let refused = match self.queue.try_send(work) {
            Ok(()) => return true,
            Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => work,
        };
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        // Dropped outside of the counters: whoever awaits it is woken by that.
        drop(refused);
        false
    }
}

fn serve(work: &Mutex<Receiver<Work>>, counts: &Counts) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        // A panic ends that piece only; whoever awaits it learns that it was not done.
        let _ = panic::catch_unwind(panic::AssertUnwindSafe(next));
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_counted() {
        let pool = Pool::start(1).unwrap();
        let (release, gate) = channel::<()>();
        let (begun, begins) = channel();
        assert!(pool.take(Box::new(move || {
            begun.send(()).unwrap();
            let _ = gate.recv();
        })));
        begins.recv().unwrap();
        (0..QUEUE).for_each(|_| assert!(pool.take(Box::new(|| ()))));
        assert!(!pool.take(Box::new(|| ())));
        assert_eq!(pool.counts().refused.load(Ordering::Relaxed), 1);
        drop(release);
        let (done, is_done) = channel();
        while !pool.take(Box::new({
            let done = done.clone();
            move || done.send(()).unwrap()
        })) {
            thread::yield_now();
        }
        is_done.recv().unwrap();
    }

    #[test]
    fn a_panic_ends_one_piece_of_work_only() {
        let pool = Pool::start(1).unwrap();
        assert!(pool.take(Box::new(|| panic!("as the test wants"))));
        let (done, is_done) = channel();
        assert!(pool.take(Box::new(move || done.send(()).unwrap())));
        is_done.recv().unwrap();
    }
}
