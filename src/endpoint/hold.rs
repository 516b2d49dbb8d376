//! Requests under way at an upstream, and what follows when it would come to hold more than its part.
//!
//! It must not know endpoints: a request keeps its hold from its first try to its end, whomever it tries.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Upstream;
use super::waiting::clock;
use crate::capacity::{Limits, Link, Takers};
use crate::upstream::Protocol;

/// For so long after a refusal an upstream is under strain.
const STRAINED: Duration = Duration::from_secs(5);
const TENTH: Duration = Duration::from_millis(100);

/// A request at an upstream. It counts as under way there until dropped, unless it was refused.
#[derive(Debug)]
pub(crate) struct Hold {
    upstream: Arc<Upstream>,
    /// `None`: refused.
    link: Option<Link>,
}

/// When an upstream was last refused a request.
#[derive(Debug, Default)]
pub(super) struct Strain {
    /// In tenths of a second of [`clock`], and one; 0: never.
    at: AtomicU32,
}

// === impl Hold ===

impl Hold {
    /// Counts a request in, unless the upstream or its namespace holds its part already.
    pub(crate) fn enter(upstream: Arc<Upstream>, protocol: Protocol, limits: Limits) -> Self {
        let link = if protocol.is_h2() { Link::Shared } else { Link::Alone };
        if upstream.shared.capacity.enter(upstream.takers(), link, limits) {
            return Self { upstream, link: Some(link) };
        }
        upstream.strain.note();
        Self { upstream, link: None }
    }

    /// Whether the request was not counted in, and must not go there.
    pub(crate) fn is_refused(&self) -> bool {
        self.link.is_none()
    }

    /// Whether a request was refused not long ago: what is idle on the upstream's account is better given back.
    pub(crate) fn is_strained(&self) -> bool {
        self.upstream.strain.is_recent()
    }

    /// Where the request is.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }
}

impl Deref for Hold {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.upstream
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(link) = self.link {
            self.upstream.shared.capacity.leave(self.upstream.takers(), link);
        }
    }
}

impl Upstream {
    fn takers(&self) -> Takers<'_> {
        Takers { upstream: &self.held, namespace: self.tenant.as_ref().map(|tenant| &tenant.held) }
    }
}

/// There is one for each upstream, and the strain lasts seconds.
fn tenths() -> u32 {
    u32::try_from(clock() / 100).unwrap_or(u32::MAX).saturating_add(1)
}

// === impl Strain ===

impl Strain {
    fn note(&self) {
        self.at.store(tenths(), Ordering::Relaxed);
    }

    fn is_recent(&self) -> bool {
        // The clock is looked at only where there was strain.
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && TENTH * tenths().saturating_sub(at) < STRAINED
    }
}
