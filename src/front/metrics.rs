//! Counts of the front: connections by listener and state, and why connections ended early.
//!
//! Plain atomics, read by whoever shows them; it must not know how they are shown.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::HandshakeFailure;
use super::socket::BindFault;
use crate::connection::TimedOut;

/// Listeners that are gone and whose counts are kept, so that one that comes back goes on counting.
const MAX_GONE: usize = 64;

/// Counts of all listeners since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct FrontMetrics {
    listeners: Mutex<Vec<Arc<ListenerMetrics>>>,
}

/// Counts of one listener. Gauges go up and down, all else only up.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    /// Name of the listener.
    pub name: Arc<str>,
    /// Whether the configuration wants it.
    pub is_wanted: AtomicBool,
    /// Whether it accepts.
    pub is_up: AtomicBool,
    /// Connections in their TLS handshake now.
    pub handshaking: AtomicU64,
    /// Connections that speak HTTP now.
    pub active: AtomicU64,
    /// Connections accepted, those refused included.
    pub accepted: AtomicU64,
    /// Connections closed at once, because too many were open.
    pub refused: AtomicU64,
    /// Connections closed at once, because their source had too many open.
    pub refused_source: AtomicU64,
    /// Connections closed at once, because memory was nearly used up.
    pub refused_memory: AtomicU64,
    /// HTTP/1 connections that ended after bytes of a request came, but before its head was understood.
    pub malformed: AtomicU64,
    /// Connections whose task panicked.
    pub panicked: AtomicU64,
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
    timeouts: [AtomicU64; TimedOut::ALL.len()],
    bind_faults: [AtomicU64; BindFault::ALL.len()],
}

/// The counts of one listener at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerCounts {
    pub listener: Arc<str>,
    /// Whether it accepts; `None`: nobody wants it any more.
    pub is_up: Option<bool>,
    pub handshaking: u64,
    pub active: u64,
    pub accepted: u64,
    pub refused: u64,
    pub refused_source: u64,
    pub refused_memory: u64,
    pub malformed: u64,
    pub panicked: u64,
    pub handshake_failures: [(HandshakeFailure, u64); HandshakeFailure::ALL.len()],
    pub timeouts: [(TimedOut, u64); TimedOut::ALL.len()],
    pub bind_faults: [(BindFault, u64); BindFault::ALL.len()],
}

/// Counts one more for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted<'m>(&'m AtomicU64);

// === impl FrontMetrics ===

impl FrontMetrics {
    /// The counts of all listeners, and of the last ones that are gone, in order of their first start.
    pub(crate) fn snapshot(&self) -> Vec<ListenerCounts> {
        self.lock().iter().map(|listener| listener.counts()).collect()
    }

    /// The counts of a listener; one that comes back goes on counting.
    pub(super) fn listener(&self, name: &Arc<str>) -> Arc<ListenerMetrics> {
        let mut listeners = self.lock();
        if let Some(known) = listeners.iter().find(|listener| listener.name == *name) {
            return known.clone();
        }
        let new = Arc::new(ListenerMetrics::new(name.clone()));
        listeners.push(new.clone());
        forget_gone(&mut listeners);
        new
    }

    /// Notes which listeners are wanted; of the others nobody asks whether they accept.
    pub(super) fn only_wanted(&self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.lock().iter().for_each(|it| it.is_wanted.store(is_wanted(&it.name), Ordering::Relaxed));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ListenerMetrics>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names may be new ones for ever: of those that nobody wants and nobody counts for, the oldest are forgotten.
fn forget_gone(listeners: &mut Vec<Arc<ListenerMetrics>>) {
    let is_gone = |it: &Arc<ListenerMetrics>| !it.is_wanted.load(Ordering::Relaxed) && Arc::strong_count(it) == 1;
    let mut excess = listeners.iter().filter(|it| is_gone(it)).count().saturating_sub(MAX_GONE);
    listeners.retain(|it| {
        let is_forgotten = excess > 0 && is_gone(it);
        excess -= usize::from(is_forgotten);
        !is_forgotten
    });
}

// === impl ListenerMetrics ===

impl ListenerMetrics {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            is_wanted: AtomicBool::new(false),
            is_up: AtomicBool::new(false),
            handshaking: AtomicU64::new(0),
            active: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_source: AtomicU64::new(0),
            refused_memory: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            handshake_failures: Default::default(),
            timeouts: Default::default(),
            bind_faults: Default::default(),
        }
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> ListenerCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let pair = |slots: &[AtomicU64], index: usize| slots.get(index).map_or(0, read);
        ListenerCounts {
            listener: self.name.clone(),
            is_up: self.is_wanted.load(Ordering::Relaxed).then(|| self.is_up.load(Ordering::Relaxed)),
            handshaking: read(&self.handshaking),
            active: read(&self.active),
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            refused_source: read(&self.refused_source),
            refused_memory: read(&self.refused_memory),
            malformed: read(&self.malformed),
            panicked: read(&self.panicked),
            handshake_failures: HandshakeFailure::ALL
                .map(|reason| (reason, pair(&self.handshake_failures, reason as usize))),
            timeouts: TimedOut::ALL.map(|reason| (reason, pair(&self.timeouts, reason as usize))),
            bind_faults: BindFault::ALL.map(|reason| (reason, pair(&self.bind_faults, reason as usize))),
        }
    }

    pub(super) fn count_handshake_failure(&self, reason: HandshakeFailure) {
        self.handshake_failures.get(reason as usize).map(add_one);
    }

    pub(super) fn count_bind_fault(&self, reason: BindFault) {
        self.bind_faults.get(reason as usize).map(add_one);
    }

    pub(super) fn count_timeout(&self, reason: TimedOut) {
        self.timeouts.get(reason as usize).map(add_one);
    }
}

// === impl Counted ===

impl<'m> Counted<'m> {
    pub(super) fn in_gauge(gauge: &'m AtomicU64) -> Self {
        add_one(gauge);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_comes_back_goes_on_counting() {
        let metrics = FrontMetrics::default();
        add_one(&metrics.listener(&"http".into()).accepted);
        add_one(&metrics.listener(&"http".into()).accepted);
        let counts = metrics.snapshot();
        assert_eq!(counts.len(), 1);
        assert_eq!(counts[0].accepted, 2);
    }

    #[test]
    fn counts_of_those_that_are_gone_are_kept_up_to_a_bound() {
        let metrics = FrontMetrics::default();
        let stays = metrics.listener(&"stays".into());
        (0..1000).for_each(|name| add_one(&metrics.listener(&format!("{name}").into()).accepted));
        let counts = metrics.snapshot();
        assert_eq!((counts.len(), counts.last().unwrap().accepted), (MAX_GONE + 2, 1));
        assert_eq!(&counts[0].listener, &stays.name);
    }

    #[test]
    fn each_reason_has_its_own_count() {
        let listener = ListenerMetrics::new("https".into());
        for (times, reason) in HandshakeFailure::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| listener.count_handshake_failure(reason));
        }
        for (times, reason) in TimedOut::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| listener.count_timeout(reason));
        }
        let counts = listener.counts();
        assert!(counts.handshake_failures.iter().zip(1..).all(|((_, count), times)| *count == times));
        assert!(counts.timeouts.iter().zip(1..).all(|((_, count), times)| *count == times));
    }

    #[test]
    fn a_gauge_falls_when_the_connection_ends() {
        let gauge = AtomicU64::new(0);
        let counted = Counted::in_gauge(&gauge);
        assert_eq!(gauge.load(Ordering::Relaxed), 1);
        drop(counted);
        assert_eq!(gauge.load(Ordering::Relaxed), 0);
    }
}
