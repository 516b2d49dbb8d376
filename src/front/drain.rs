//! Ends the data plane without losing requests, and counts the connections that are open.
//!
//! Three steps: [`Drain::begin`] tells everybody, [`Drain::idle`] resolves when nothing is open any more, and
//! [`Drain::cut`] ends what is left when the caller's patience does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
        Self { begun, unseen, cut, is_cut, open: AtomicUsize::new(0), changed: Notify::new() }
    }

    /// Tells listeners and connections to come to an end: HTTP/2 gets GOAWAY, HTTP/1 is no longer kept alive.
    /// Use [`super::Listeners::drain`], which also stops the listeners and releases idle connections.
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
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
    }

    /// Connections open now, all listeners together.
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

    /// Counts a connection in, unless `max` are open.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Open> {
        let open = Open(self.clone());
        (self.open.fetch_add(1, Ordering::SeqCst) < max).then_some(open)
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
        if self.0.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_waiters();
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
