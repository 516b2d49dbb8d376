//! Which hooks a plugin wants, and where it stands.

use std::ops::BitOr;

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks(u8);

/// Which hooks a plugin has written. Made by [`crate::plugin`], which reads them; there is no other way, so that none
/// that was written can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Written(pub(crate) Hooks);

/// Where a plugin stands. Plugins of an earlier stage run first; within a stage the order of the configuration holds.
///
/// On a route with authentication, a plugin before it may end a request only by a refusal (4xx, 5xx), a redirect
/// (301, 302, 303, 307, 308), or an empty 200 or 204 to a CORS preflight: nothing skips authentication by answering
/// early with content. Any other answer becomes 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Looks only: tracing, counting. First, so that it sees refused requests too.
    Observe,
    /// Decides by address, method, origin or rate who may come in; costs nothing, so it comes before passwords are
    /// checked, and limits how many may be tried.
    Access,
    /// Finds out who the client is.
    Authenticate,
    /// Limits how much of it, by identity: so it comes after authentication.
    Limit,
    /// Changes the request or the answer.
    Transform,
    /// Chooses where the request goes.
    Route,
}

// === impl Hooks ===

impl Hooks {
    /// No hook.
    pub const NONE: Self = Self(0);
    /// [`crate::Plugin::on_request`] (and `wait`).
    pub const REQUEST: Self = Self(1);
    /// [`crate::Plugin::on_upstream_request`].
    pub const UPSTREAM_REQUEST: Self = Self(1 << 1);
    /// [`crate::Plugin::on_request_body`] (and `wait_request_body`).
    pub const REQUEST_BODY: Self = Self(1 << 2);
    /// [`crate::Plugin::on_response`] (and `wait_response`).
    pub const RESPONSE: Self = Self(1 << 3);
    /// [`crate::Plugin::on_response_body`].
    pub const RESPONSE_BODY: Self = Self(1 << 4);
    /// [`crate::Plugin::on_log`].
    pub const LOG: Self = Self(1 << 5);
    /// [`crate::Plugin::on_route`].
    pub const ROUTE: Self = Self(1 << 6);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The hooks of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Hooks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

// === impl Written, Stage ===

impl Written {
    /// For what [`crate::plugin`] writes only.
    #[doc(hidden)]
    pub const fn read(hooks: Hooks) -> Self {
        Self(hooks)
    }
}

impl Stage {
    /// Every stage, the first one first.
    pub const ALL: &'static [Self] =
        &[Self::Observe, Self::Access, Self::Authenticate, Self::Limit, Self::Transform, Self::Route];

    /// The stage of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|stage| stage.as_str() == name)
    }

    /// Name in docs and in `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Access => "access",
            Self::Authenticate => "authenticate",
            Self::Limit => "limit",
            Self::Transform => "transform",
            Self::Route => "route",
        }
    }
}
