//! What one request carries from hook to hook: what is decided by, and what Pingora needs besides.

use super::flow_control::Held;
use super::timed_session::TimedSession;
use crate::proxy::context::Context;

/// One request in Pingora's hands.
pub(super) struct Exchange {
    pub(super) request: Context,
    /// Whether the client has said that there is no body, and not yet ended its request.
    pub(super) owes_end: bool,
    /// Whether the exchange with the endpoint has a clock of its own.
    pub(super) has_clock: bool,
    /// What watches the exchange while there is one with a body.
    pub(super) timed: Option<TimedSession>,
    /// What holds the endpoint's response back while its client does not take it.
    pub(super) flow: Option<Held>,
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn new(request: Context) -> Self {
        Self { request, owes_end: false, has_clock: false, timed: None, flow: None }
    }
}
