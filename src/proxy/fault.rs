//! Why a request goes no further, in words of no engine.

use http::StatusCode;

use crate::reason::Reason;

/// A request's end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// What the client is told, if anything still is.
    pub(crate) status: StatusCode,
    /// What happened, for the operator.
    pub(crate) what: &'static str,
}

// === impl Fault ===

impl Fault {
    /// An end with the status that goes with its reason.
    pub(crate) fn new(reason: Reason, what: &'static str) -> Self {
        let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { reason, status, what }
    }
}
