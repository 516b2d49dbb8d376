//! Ends the data plane without losing requests, and counts the connections that are open.
//!
//! Three steps: [`Drain::begin`] tells everybody, [`Drain::idle`] resolves when nothing is open any more, and
//! [`Drain::cut`] ends what is left when the caller's patience does. Each listener has a part of the whole, which may
//! come to its end before.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, watch};

/// The state of a graceful stop.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: watch::Sender<bool>,
    // Never marked as seen, so that a connection which starts after the begin learns of it as well.
    unseen: watch::Receiver<bool>,
    cut: watch::Sender<bool>,
    /// The same, to be seen at no cost.
    is_cut: AtomicBool,
    open: AtomicUsize,
    changed: Notify,
    /// What this is a part of.
    whole: Option<Arc<Drain>>,
    parts: Mutex<Vec<Weak<Drain>>>,
}

/// One open connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<Drain>);

// === impl Drain ===

impl Drain {
    /// Makes a drain that has not begun.
    pub(crate) fn new() -> Self {
        let (begun, unseen) = watch::channel(false);
        let (cut, is_cut) = (watch::Sender::new(false), AtomicBool::new(false));
        let (open, changed, parts) = (AtomicUsize::new(0), Notify::new(), Mutex::default());
        Self { begun, unseen, cut, is_cut, open, changed, whole: None, parts }
    }

    /// A part, which ends with the whole at the latest; its connections are counted there too.
    pub(super) fn part_of(whole: &Arc<Self>) -> Arc<Self> {
        let part = Arc::new(Self { whole: Some(Arc::clone(whole)), ..Self::new() });
        let mut parts = whole.parts();
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(&part));
        // Under the lock, so that it is told here or by whoever begins or cuts.
        if whole.has_begun() {
            part.begin();
        }
        if whole.is_cut.load(Ordering::Acquire) {
            part.cut();
        }
        drop(parts);
        part
    }

    /// Tells listeners and connections to come to an end: HTTP/2 gets GOAWAY, HTTP/1 is no longer kept alive.
    /// Use [`super::Listeners::drain`], which also stops the listeners and releases idle connections.
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
        self.parts().iter().filter_map(Weak::upgrade).for_each(|part| part.begin());
    }

    /// Whether the stop has begun.
    pub(crate) fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Resolves when the stop begins.
    pub(crate) async fn begun(&self) {
        // It cannot fail: the sender is in `self`.
        let mut watch = self.watch();
        let _ = watch.wait_for(|begun| *begun).await;
    }

    /// Resolves when no connection is open.
    pub(crate) async fn idle(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Closes whatever is still open, without regard to requests.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.cut.send_replace(true);
        self.parts().iter().filter_map(Weak::upgrade).for_each(|part| part.cut());
    }

    /// Connections open now, those of all parts included.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The signal as Pingora wants it.
    pub(crate) fn watch(&self) -> ShutdownWatch {
        self.unseen.clone()
    }

    /// Serves to the end, or until connections are cut.
    ///
    /// A connection is polled several times a request, so the signal is waited for once a task, not once a poll.
    pub(super) async fn unless_cut(&self, serving: impl Future<Output = ()>) {
        let mut serving = pin!(serving);
        let mut cut_off = pin!(self.cut_off());
        let mut waiting: Option<Waker> = None;
        poll_fn(|cx| {
            if serving.as_mut().poll(cx).is_ready() || self.is_cut.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            if waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            waiting = Some(cx.waker().clone());
            cut_off.as_mut().poll(cx)
        })
        .await;
    }

    async fn cut_off(&self) {
        let mut watch = self.cut.subscribe();
        let _ = watch.wait_for(|cut| *cut).await;
    }

    /// Counts a connection in, unless `max` are open in the whole.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Open> {
        let open = Open(self.clone());
        let before = self.open.fetch_add(1, Ordering::SeqCst);
        let before = self.whole.as_ref().map_or(before, |whole| whole.open.fetch_add(1, Ordering::SeqCst));
        (before < max).then_some(open)
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.changed.notify_waiters();
        }
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.0.leave();
        if let Some(whole) = &self.0.whole {
            whole.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_resolves_when_the_last_connection_ends() {
        let drain = Arc::new(Drain::new());
        drain.idle().await;
        let (first, second) = (drain.enter(9), drain.enter(9));
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.idle().await }
        });
        drop(first);
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert_eq!(drain.open(), 0);
    }

    #[tokio::test]
    async fn a_part_may_end_before_the_whole_and_ends_with_it() {
        let whole = Arc::new(Drain::new());
        let [first, second] = [(); 2].map(|()| Drain::part_of(&whole));
        let held = [first.enter(3), second.enter(3)];
        assert_eq!((first.open(), whole.open()), (1, 2));
        assert!(second.enter(2).is_none(), "the limit is the whole's");
        first.begin();
        assert!(first.has_begun() && !second.has_begun() && !whole.has_begun());
        whole.begin();
        assert!(second.has_begun() && Drain::part_of(&whole).has_begun());
        whole.cut();
        second.unless_cut(std::future::pending()).await;
        Drain::part_of(&whole).unless_cut(std::future::pending()).await;
        drop(held);
        whole.idle().await;
        assert_eq!((first.open(), second.open()), (0, 0));
    }

    #[test]
    fn a_connection_over_the_limit_is_not_counted() {
        let drain = Arc::new(Drain::new());
        let first = drain.enter(1);
        assert!(first.is_some());
        assert!(drain.enter(1).is_none());
        assert_eq!(drain.open(), 1);
        drop(first);
        assert!(drain.enter(1).is_some());
    }

    #[tokio::test]
    async fn a_cut_ends_whoever_is_served_before_or_after_it() {
        let drain = Arc::new(Drain::new());
        drain.unless_cut(std::future::ready(())).await;
        let serving = tokio::spawn({
            let drain = drain.clone();
            async move { drain.unless_cut(std::future::pending()).await }
        });
        tokio::task::yield_now().await;
        assert!(!serving.is_finished());
        drain.cut();
        serving.await.unwrap();
        drain.unless_cut(std::future::pending()).await;
    }

    #[tokio::test]
    async fn one_who_comes_after_the_begin_is_told_too() {
        let drain = Drain::new();
        drain.begin();
        drain.watch().changed().await.unwrap();
        drain.begun().await;
        assert!(drain.has_begun());
    }
}
