//! How many requests an HTTP/2 connection has carried and carries, where their number is limited.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// The count of a connection whose requests are limited.
#[derive(Debug)]
pub(crate) struct Streams {
    limit: u32,
    begun: AtomicU32,
    open: AtomicU32,
    spent: Notify,
}

// === impl Streams ===

impl Streams {
    /// Counts up to a limit.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, begun: AtomicU32::new(0), open: AtomicU32::new(0), spent: Notify::new() }
    }

    /// Resolves when the last request that is allowed has come.
    pub(crate) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// Requests beyond the limit: those under way when the client was told, or of one that does not listen.
    pub(crate) fn beyond(&self) -> u32 {
        self.begun.load(Ordering::Relaxed).saturating_sub(self.limit)
    }

    /// Requests under way.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if self.begun.fetch_add(1, Ordering::Relaxed) + 1 == self.limit {
            self.spent.notify_one();
        }
    }

    pub(super) fn ended(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
