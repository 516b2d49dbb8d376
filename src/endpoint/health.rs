//! What is known of each endpoint's health.
//!
//! It is kept by group, address, check, protocol and TLS policy, so that upstreams of a group which check the same
//! endpoint in the same way share one probe and one verdict. An endpoint begins healthy.
//! It must not know how endpoints are probed.

mod registry;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

pub(super) use registry::{Registry, Spec, Target};

/// Health of an endpoint under one health check.
pub(super) struct Health {
    target: Target,
    is_healthy: AtomicBool,
    /// Outcomes in a row that speak against `is_healthy`.
    streak: AtomicU32,
    last_error: Mutex<Option<String>>,
}

// === impl Health ===

impl Health {
    pub(super) fn new(target: Target, is_healthy: bool) -> Self {
        Self {
            target,
            is_healthy: AtomicBool::new(is_healthy),
            streak: AtomicU32::new(0),
            last_error: Mutex::default(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.target.address()
    }

    /// Takes the outcome of a probe in. Says whether the endpoint is now something else than before.
    pub(super) fn record(&self, outcome: Result<(), String>) -> bool {
        let is_success = outcome.is_ok();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
        if is_success == self.is_healthy() {
            self.streak.store(0, Ordering::Relaxed);
            return false;
        }
        let config = &self.target.spec().check;
        let threshold = if is_success { config.healthy_threshold } else { config.unhealthy_threshold };
        if self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1) < threshold {
            return false;
        }
        self.streak.store(0, Ordering::Relaxed);
        self.is_healthy.store(is_success, Ordering::Relaxed);
        true
    }

    /// Makes it what a test needs.
    #[cfg(test)]
    pub(super) fn force(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("target", &self.target)
            .field("is_healthy", &self.is_healthy)
            .finish_non_exhaustive()
    }
}
