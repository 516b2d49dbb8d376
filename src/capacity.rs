//! How much there is of what all requests need, how much is taken, and how much of it one may take.
//!
//! Descriptors, client connections and requests under way are counted here, all together and by holder. The rule is
//! one sentence: *whoever holds less than its part of what it holds and what is left may take one more.* With a
//! reserve of a quarter one upstream may come to three quarters of what the others leave it, and what is left then is
//! for those that hold less. Counting is a few relaxed atomics; nothing here waits.
//! A leaf module: it must not know upstreams, listeners or who configures it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The part of the descriptors, one of so many, that traffic never gets: telemetry, admin API, watches, probes, name
/// resolution, files, and idle connections to upstreams have it.
const OWN_PART: usize = 8;
/// The part of those, one of so many, that the connections of one server that tells may have.
const SERVER_PART: usize = 4;
/// Connections that such a server may have however few descriptors there are.
const LEAST_SERVER: usize = 4;
/// The part of the descriptors, one of so many, that idle connections to upstreams may have.
const IDLE_PART: usize = 32;
/// The reserve is written in percent.
const WHOLE: usize = 100;
/// Upstreams of one namespace leave half of the reserve to the other namespaces.
const WHOLE_OF_NAMESPACE: usize = 2 * WHOLE;

/// Configured limits of capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Percent of what is free that stays for others.
    pub reserve: usize,
    /// Client connections open at once.
    pub connections: usize,
    /// Requests under way at upstreams at once.
    pub requests: usize,
}

/// Capacity shared by all requests: file descriptors, connections and active requests.
#[derive(Debug)]
pub struct Capacity {
    /// Descriptors that traffic may have.
    descriptors: usize,
    /// Descriptors that it never gets.
    own: usize,
    /// Idle connections to upstreams that may be kept.
    idle: usize,
    connections: Gauge,
    /// Requests under way that have a connection to an upstream of their own.
    alone: Gauge,
    /// Requests under way that share one with others (HTTP/2).
    shared: Gauge,
}

/// A number that every thread writes to, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Gauge(AtomicUsize);

/// Active requests of one upstream or one namespace.
#[derive(Debug, Default)]
pub struct ActiveRequests(AtomicU32);

/// How a request is connected to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// By a connection of its own.
    Alone,
    /// By one that others share.
    Shared,
}

/// The upstream of a request and its namespace, which share capacity.
#[derive(Clone, Copy, Debug)]
pub struct Takers<'a> {
    /// The upstream.
    pub upstream: &'a ActiveRequests,
    /// Its namespace; `None`: it is of nobody but whoever runs the process.
    pub namespace: Option<&'a ActiveRequests>,
}

/// An open client connection; counted until it is dropped.
#[derive(Debug)]
pub struct Connected(Arc<Capacity>);

/// Usage of a resource and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Taken now.
    pub taken: usize,
    /// All of it.
    pub limit: usize,
}

/// Whether somebody who holds `held` may take one more while so many are `left`, its own next one included.
pub(crate) fn may_take(held: usize, left: usize, reserve: usize) -> bool {
    is_below(held, left, reserve, WHOLE)
}

/// `held / (held + left) < 1 - reserve / whole`, in whole numbers.
fn is_below(held: usize, left: usize, reserve: usize, whole: usize) -> bool {
    held.saturating_mul(reserve) < left.saturating_mul(whole.saturating_sub(reserve))
}

// === impl Capacity ===

impl Default for Capacity {
    /// Of a process whose descriptors have no limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Capacity {
    /// Of a process that may open so many descriptors.
    pub fn new(descriptors: usize) -> Self {
        Self {
            descriptors: descriptors - descriptors / OWN_PART,
            own: descriptors / OWN_PART,
            idle: descriptors / IDLE_PART,
            connections: Gauge::default(),
            alone: Gauge::default(),
            shared: Gauge::default(),
        }
    }

    /// Idle connections to upstreams that may be kept.
    pub fn idle_connections(&self) -> usize {
        self.idle
    }

    /// Connections that a server which tells may have: so many as it would have, unless descriptors are few.
    pub fn server_connections(&self, wanted: usize) -> usize {
        wanted.min((self.own / SERVER_PART).max(LEAST_SERVER))
    }

    /// Client connections that may be open at once. Each may come to need another descriptor, to its upstream, so
    /// they get half of those for traffic.
    pub fn max_connections(&self, limits: Limits) -> usize {
        limits.connections.min(self.descriptors / 2)
    }

    /// Counts a client connection that was accepted.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.0.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// Counts a request in, unless an upstream or a namespace would come to hold more than its part. Who is counted in
    /// must be counted out by [`Self::leave`].
    pub fn enter(&self, takers: Takers<'_>, link: Link, limits: Limits) -> bool {
        let held = takers.upstream.add();
        let held_of_namespace = takers.namespace.map(ActiveRequests::add);
        self.gauge(link).0.fetch_add(1, Ordering::Relaxed);
        let left = self.left(link, limits);
        let may_enter = may_take(held, left, limits.reserve)
            && held_of_namespace.is_none_or(|held| is_below(held, left, limits.reserve, WHOLE_OF_NAMESPACE));
        if !may_enter {
            self.leave(takers, link);
        }
        may_enter
    }

    /// Counts a request out.
    pub fn leave(&self, takers: Takers<'_>, link: Link) {
        takers.upstream.0.fetch_sub(1, Ordering::Relaxed);
        if let Some(namespace) = takers.namespace {
            namespace.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.gauge(link).0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that may still be taken, one that was just counted in included: of descriptors, connections and
    /// requests the one of which least is left.
    fn left(&self, link: Link, limits: Limits) -> usize {
        let (connections, alone, shared) = (self.connections.get(), self.alone.get(), self.shared.get());
        let of_requests = limits.requests.saturating_add(1).saturating_sub(alone + shared);
        // The request's own client connection is open already.
        let of_connections = (self.max_connections(limits) + 1).saturating_sub(connections);
        // One for the client and one for the upstream.
        let of_descriptors = match link {
            Link::Alone => self.descriptors.saturating_sub(connections + alone) / 2 + 1,
            Link::Shared => usize::MAX,
        };
        of_requests.min(of_connections).min(of_descriptors)
    }

    /// Descriptors that traffic has and may have.
    pub fn descriptors(&self) -> Use {
        Use { taken: self.connections.get() + self.alone.get(), limit: self.descriptors }
    }

    /// Client connections that are open and may be.
    pub fn connections(&self, limits: Limits) -> Use {
        Use { taken: self.connections.get(), limit: self.max_connections(limits) }
    }

    /// Requests that are under way at upstreams and may be.
    pub fn requests(&self, limits: Limits) -> Use {
        Use { taken: self.alone.get() + self.shared.get(), limit: limits.requests }
    }

    fn gauge(&self, link: Link) -> &Gauge {
        match link {
            Link::Alone => &self.alone,
            Link::Shared => &self.shared,
        }
    }
}

// === impl Gauge, ActiveRequests ===

impl Gauge {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl ActiveRequests {
    /// Requests under way.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }

    /// Counts one in; says how many there were.
    fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) as usize
    }
}

// === impl Connected ===

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
