//! From the engine's errors to reasons.
//!
//! Pure over the error's kind and side.

use http::Method;
use pingora::{Error, ErrorSource, ErrorType};

use super::context::Context;
use crate::connection::TimedOut;
use crate::reason::Reason;

/// Why a request failed: the first reason that was found, else what the engine's error says.
pub(super) fn reason(error: &Error, cx: &Context) -> Reason {
    let missed = cx.known.connection.as_ref().and_then(|connection| connection.timed_out());
    cx.reason.unwrap_or_else(|| serving(error.etype(), error.esource(), missed))
}

/// Why a try at connecting failed.
pub(super) fn connecting(kind: &ErrorType) -> Reason {
    use ErrorType as E;
    match kind {
        E::ConnectTimedout | E::TLSHandshakeTimedout => Reason::ConnectTimeout,
        E::TLSHandshakeFailure | E::InvalidCert | E::HandshakeError | E::TLSWantX509Lookup => Reason::UpstreamTls,
        _ => Reason::ConnectFailed,
    }
}

/// Why a request failed after it had a connection, or without one.
fn serving(kind: &ErrorType, source: &ErrorSource, missed: Option<TimedOut>) -> Reason {
    match source {
        ErrorSource::Upstream => upstream(kind),
        // The front's deadlines come to the engine as plain read errors.
        ErrorSource::Downstream if missed == Some(TimedOut::Body) => Reason::BodyTimeout,
        ErrorSource::Downstream => downstream(kind),
        ErrorSource::Internal | ErrorSource::Unset => Reason::Internal,
    }
}

fn upstream(kind: &ErrorType) -> Reason {
    use ErrorType as E;
    match kind {
        E::ReadTimedout | E::WriteTimedout => Reason::UpstreamTimeout,
        E::InvalidHTTPHeader | E::H1Error | E::InvalidH2 | E::H2Downgrade => Reason::UpstreamProtocol,
        E::ReadError | E::WriteError | E::ConnectionClosed | E::H2Error => Reason::UpstreamReset,
        other => connecting(other),
    }
}

fn downstream(kind: &ErrorType) -> Reason {
    use ErrorType as E;
    match kind {
        E::ReadTimedout => Reason::BodyTimeout,
        E::InvalidHTTPHeader | E::H1Error | E::InvalidH2 => Reason::BadRequest,
        _ => Reason::ClientClosed,
    }
}

/// What is known when a request failed on a connection.
#[derive(Clone, Copy)]
pub(super) struct Lost<'a> {
    pub(super) method: &'a Method,
    pub(super) reason: Reason,
    /// Whether the connection had served before.
    pub(super) is_reused: bool,
    /// Whether anything of the answer has reached the client.
    pub(super) is_answered: bool,
    /// Whether the request's body can be sent again.
    pub(super) has_whole_body: bool,
    /// Tries made, and allowed.
    pub(super) tries: (usize, usize),
}

/// Whether the request may be sent again.
///
/// RFC 9110 section 9.2.2: idempotent methods may. A kept connection may have been closed before it saw the
/// request, so those always are; a fresh one fails for a reason, so only reads try once more.
pub(super) fn may_retry(lost: Lost<'_>) -> bool {
    let is_lost = matches!(lost.reason, Reason::UpstreamReset);
    let is_read = matches!(*lost.method, Method::GET | Method::HEAD) && lost.tries.0 == 1;
    is_lost
        && !lost.is_answered
        && lost.has_whole_body
        && lost.tries.0 < lost.tries.1
        && if lost.is_reused { lost.method.is_idempotent() } else { is_read }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_reasons() {
        use ErrorType as E;
        for (kind, reason) in [
            (E::ConnectRefused, Reason::ConnectFailed),
            (E::ConnectNoRoute, Reason::ConnectFailed),
            (E::ConnectTimedout, Reason::ConnectTimeout),
            (E::TLSHandshakeFailure, Reason::UpstreamTls),
            (E::InvalidCert, Reason::UpstreamTls),
        ] {
            assert_eq!(connecting(&kind), reason, "{kind:?}");
        }
        for (kind, source, reason) in [
            (E::ReadTimedout, ErrorSource::Upstream, Reason::UpstreamTimeout),
            (E::ReadTimedout, ErrorSource::Downstream, Reason::BodyTimeout),
            (E::ConnectionClosed, ErrorSource::Upstream, Reason::UpstreamReset),
            (E::ConnectionClosed, ErrorSource::Downstream, Reason::ClientClosed),
            (E::InvalidHTTPHeader, ErrorSource::Upstream, Reason::UpstreamProtocol),
            (E::InvalidHTTPHeader, ErrorSource::Downstream, Reason::BadRequest),
            (E::WriteTimedout, ErrorSource::Downstream, Reason::ClientClosed),
            (E::InternalError, ErrorSource::Internal, Reason::Internal),
        ] {
            assert_eq!(serving(&kind, &source, None), reason, "{kind:?} {source:?}");
        }
        let missed = |missed| serving(&E::ReadError, &ErrorSource::Downstream, Some(missed));
        assert_eq!(missed(TimedOut::Body), Reason::BodyTimeout);
        assert_eq!(missed(TimedOut::Write), Reason::ClientClosed);
    }

    #[test]
    fn only_what_does_no_harm_is_sent_again() {
        let lost = Lost {
            method: &Method::GET,
            reason: Reason::UpstreamReset,
            is_reused: true,
            is_answered: false,
            has_whole_body: true,
            tries: (1, 3),
        };
        assert!(may_retry(lost));
        assert!(may_retry(Lost { method: &Method::PUT, ..lost }));
        assert!(!may_retry(Lost { method: &Method::POST, ..lost }));
        assert!(!may_retry(Lost { is_answered: true, ..lost }));
        assert!(!may_retry(Lost { has_whole_body: false, ..lost }));
        assert!(!may_retry(Lost { tries: (3, 3), ..lost }));
        assert!(!may_retry(Lost { reason: Reason::UpstreamTimeout, ..lost }));
        assert!(may_retry(Lost { is_reused: false, ..lost }));
        assert!(!may_retry(Lost { is_reused: false, method: &Method::PUT, ..lost }));
        assert!(!may_retry(Lost { is_reused: false, tries: (2, 3), ..lost }));
    }
}
