//! Work that takes long, beside the threads that serve.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Runs what would hold up other requests: hashing a password, say. Made by the proxy, see
/// [`crate::BuildContext::blocking`].
#[derive(Clone)]
pub struct Blocking(Arc<dyn Workers>);

/// Threads that take work; implemented by the proxy.
pub trait Workers: Send + Sync {
    /// Takes a piece of work, or refuses it because too much waits already.
    fn take(&self, work: Work) -> bool;
}

/// A piece of work.
pub type Work = Box<dyn FnOnce() + Send>;

/// Too much waits already, or the work panicked: a plugin that guards something must then refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was not done")]
pub struct NotDone;

/// A thread for each piece of work: for tests.
struct Threads;

/// Where a result is awaited.
struct Slot<T> {
    result: Option<Result<T, NotDone>>,
    waker: Option<Waker>,
}

struct Waiting<T>(Arc<Mutex<Slot<T>>>);

/// Says that the work was not done unless it is told otherwise.
struct Promise<T>(Arc<Mutex<Slot<T>>>);

// === impl Blocking ===

impl Blocking {
    /// Work goes to these.
    pub fn new(workers: Arc<dyn Workers>) -> Self {
        Self(workers)
    }

    /// Does the work elsewhere and waits for its result.
    ///
    /// # Errors
    /// Too much waits already, or the work panicked.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, NotDone>> + Send + 'static {
        let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
        let promise = Promise(slot.clone());
        // A refused piece of work is dropped, and its promise with it.
        self.0.take(Box::new(move || {
            let result = work();
            promise.keep(Ok(result));
        }));
        Waiting(slot)
    }
}

impl Default for Blocking {
    /// A thread for each piece of work, without limit: for tests.
    fn default() -> Self {
        Self(Arc::new(Threads))
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

impl Workers for Threads {
    fn take(&self, work: Work) -> bool {
        std::thread::Builder::new().spawn(work).is_ok()
    }
}

// === impl Promise ===

impl<T> Promise<T> {
    fn keep(&self, result: Result<T, NotDone>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.result.get_or_insert(result);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.keep(Err(NotDone));
    }
}

impl<T> Future for Waiting<T> {
    type Output = Result<T, NotDone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    struct Refuses;

    impl Workers for Refuses {
        fn take(&self, _: Work) -> bool {
            false
        }
    }

    #[test]
    fn a_result_comes_back() {
        assert_eq!(block_on(Box::pin(Blocking::default().run(|| 6 * 7))), Ok(42));
    }

    #[test]
    fn refused_work_and_work_that_panics_are_not_done() {
        assert_eq!(block_on(Box::pin(Blocking::new(Arc::new(Refuses)).run(|| ()))), Err(NotDone));
        let panics = || -> u8 { panic!("as the test wants") };
        assert_eq!(block_on(Box::pin(Blocking::default().run(panics))), Err(NotDone));
    }
}
