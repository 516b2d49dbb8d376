//! What a request holds: the endpoint of its present try, and those that it tried before.
//!
//! It must not know how an endpoint is chosen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many tries are remembered without an allocation.
const INLINE: usize = 8;

/// Endpoints that a request was attempted at; they are skipped while there are others.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    inline: [u64; INLINE],
    len: usize,
    more: Vec<u64>,
    /// Which set of endpoints they are of.
    pub(super) set: u64,
}

/// An endpoint picked for one attempt. Counts as an active request until dropped.
#[derive(Debug)]
pub struct Pick {
    endpoint: Arc<EndpointState>,
}

/// Why no endpoint could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// There is none.
    Empty,
    /// All were tried already.
    Exhausted,
}

/// Counters of an endpoint of one upstream, for as long as the address stays in the set.
///
/// On a cache line of its own, since every request writes to it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct EndpointState {
    id: u64,
    address: SocketAddr,
    in_flight: AtomicU32,
}

// === impl Tried ===

impl Tried {
    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, endpoint: &EndpointState) -> bool {
        self.inline.iter().take(self.len).chain(&self.more).any(|id| *id == endpoint.id)
    }

    pub(super) fn insert(&mut self, endpoint: &EndpointState) {
        if self.contains(endpoint) {
            return;
        }
        match self.inline.get_mut(self.len) {
            Some(place) => *place = endpoint.id,
            None => self.more.push(endpoint.id),
        }
        self.len += 1;
    }
}

// === impl Pick ===

impl Pick {
    pub(super) fn new(endpoint: Arc<EndpointState>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl EndpointState ===

impl EndpointState {
    pub(super) fn new(address: SocketAddr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), address, in_flight: AtomicU32::new(0) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tried_endpoints_are_known_beyond_the_inline_room() {
        let endpoints: Vec<_> = (0..20).map(|port| EndpointState::new(([127, 0, 0, 1], port).into())).collect();
        let mut tried = Tried::default();
        for (count, endpoint) in endpoints.iter().enumerate() {
            assert!(!tried.contains(endpoint));
            tried.insert(endpoint);
            tried.insert(endpoint);
            assert_eq!(tried.len, count + 1, "each counts once");
        }
        assert!(endpoints.iter().all(|endpoint| tried.contains(endpoint)));
    }
}
