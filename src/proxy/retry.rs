//! Whether a request whose try was lost may be sent again.
//!
//! Pure. It must not know how an engine found out.

use http::Method;

use crate::reason::Reason;

/// What did not take up a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The connection, which takes no others either.
    Connection,
    /// The endpoint, which may have enough to do.
    Stream,
}

/// What is known when a request failed on a connection.
#[derive(Clone, Copy)]
pub(crate) struct Lost<'a> {
    pub(crate) method: &'a Method,
    pub(crate) reason: Reason,
    /// Whether the connection had served before.
    pub(crate) is_reused: bool,
    /// Whether anything of the answer has reached the client.
    pub(crate) is_answered: bool,
    /// Whether the request's body can be sent again.
    pub(crate) has_whole_body: bool,
    /// Whether the endpoint certainly has not processed it.
    pub(crate) refusal: Option<Refusal>,
}

/// Tries of a request that count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    pub(super) made: usize,
    pub(super) allowed: usize,
}

/// Whether the request may be sent again.
///
/// What was not processed may, whatever it is. Else RFC 9110 section 9.2.2: idempotent methods may. A kept connection
/// may have been closed before it saw the request, so those always are; a fresh one fails for a reason, so only reads
/// try once more.
pub(super) fn may_retry(lost: Lost<'_>, tries: Tries) -> bool {
    let is_read = matches!(*lost.method, Method::GET | Method::HEAD) && tries.made == 1;
    let is_harmless = match lost.reason {
        Reason::UpstreamRefused => true,
        Reason::UpstreamReset if lost.is_reused => lost.method.is_idempotent(),
        Reason::UpstreamReset => is_read,
        _ => false,
    };
    is_harmless && !lost.is_answered && lost.has_whole_body && tries.made < tries.allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_no_harm_is_sent_again() {
        let lost = Lost {
            method: &Method::GET,
            reason: Reason::UpstreamReset,
            refusal: None,
            is_reused: true,
            is_answered: false,
            has_whole_body: true,
        };
        let at = |lost, made, allowed| may_retry(lost, Tries { made, allowed });
        let first = |lost| at(lost, 1, 3);
        assert!(first(lost));
        assert!(first(Lost { method: &Method::PUT, ..lost }));
        assert!(!first(Lost { method: &Method::POST, ..lost }));
        assert!(!first(Lost { is_answered: true, ..lost }));
        assert!(!first(Lost { has_whole_body: false, ..lost }));
        assert!(!at(lost, 3, 3));
        assert!(!first(Lost { reason: Reason::UpstreamTimeout, ..lost }));
        let fresh = Lost { is_reused: false, ..lost };
        assert!(first(fresh));
        assert!(!first(Lost { method: &Method::PUT, ..fresh }));
        assert!(!at(fresh, 2, 3));
        let refused = Lost { reason: Reason::UpstreamRefused, method: &Method::POST, ..fresh };
        assert!(first(refused) && at(Lost { is_reused: true, ..refused }, 0, 1));
        assert!(!at(refused, 1, 1));
        assert!(!first(Lost { has_whole_body: false, ..refused }));
        assert!(!first(Lost { is_answered: true, ..refused }));
    }
}
