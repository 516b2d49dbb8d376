//! Requests under way at an upstream, and what follows when it would come to hold more than its part.
//!
//! It must not know endpoints: a request keeps its hold from its first try to its end, whomever it tries.

use std::ops::Deref;
use std::sync::Arc;

use super::Upstream;
use crate::capacity::{Limits, Link, Takers};
use crate::upstream::Protocol;

/// A request at an upstream. It counts as under way there until dropped, unless it was refused.
#[derive(Debug)]
pub(crate) struct Hold {
    upstream: Arc<Upstream>,
    /// `None`: refused.
    link: Option<Link>,
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
