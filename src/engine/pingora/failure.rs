//! From the engine's errors to reasons.
//!
//! Pure over the error's kind and side.

use std::net::SocketAddr;

use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::connection::{ConnectionInfo, TimedOut};
use crate::proxy::context::Context;
use crate::proxy::fault::Fault;
use crate::proxy::response;
use crate::proxy::retry::Refusal;
use crate::reason::Reason;

/// What the engine says where a connection takes no more streams,
const NO_STREAM: &str = "while creating new stream";
/// where a fresh one takes none at all,
const NO_STREAM_YET: &str = "newly created connection has no free streams (server may have sent GOAWAY)";
/// and where it ends before it took the request's head.
const NOT_SENT: &str = "while sending request";

/// Names of the engine for faults of bodies: a chunk's head, what stands behind the last chunk, an end that comes early.
const BAD_CHUNK: &str = "InvalidChunk";
const BAD_TRAILERS: &str = "InvalidTrailerEnd";
const CUT_BODY: &str = "PrematureBodyEnd";
/// And for an HTTP/2 connection that answers no ping.
const NO_PING: &str = "PingTimedout";

/// Why a request failed, as far as its client goes: one that has the whole response misses nothing when it leaves.
pub(super) fn reason(session: &Session, error: &Error, cx: &Context) -> Reason {
    // Pieces are written as they come: what fails after the last one, and not because of it, is no loss.
    let is_unwritten =
        || matches!(error.etype(), ErrorType::WriteError | ErrorType::WriteTimedout | ErrorType::H2Error);
    let has_all = || {
        if cx.has_response_end && !is_unwritten() {
            return true;
        }
        let written = session.response_written();
        written.is_some_and(|head| response::is_whole(session.req_header(), head, session.body_bytes_sent()))
    };
    match found(error, cx) {
        Reason::ClientClosed if has_all() => Reason::Upstream,
        reason => reason,
    }
}

/// Why it failed: the first reason that was found, else what the engine's error says.
fn found(error: &Error, cx: &Context) -> Reason {
    let connection = cx.known.connection.as_deref();
    let missed = connection.and_then(ConnectionInfo::timed_out);
    // Whoever waited for the answer's head, the engine says that it was the client's side.
    let is_overdue = cx.upstream.is_overdue || connection.is_some_and(ConnectionInfo::is_answer_overdue);
    cx.reason.unwrap_or_else(|| match refusal(error) {
        Some(_) => Reason::UpstreamRefused,
        None if *error.esource() == ErrorSource::Upstream && certificate(error).is_some() => connecting(error),
        None if is_overdue => Reason::UpstreamTimeout,
        None if *error.esource() == ErrorSource::Downstream && is_malformed(error) => Reason::BadRequest,
        None => serving(error.etype(), error.esource(), missed),
    })
}

/// The error that ends a request for a reason that was found here.
pub(super) fn ended(reason: Reason) -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(reason.status()), reason.as_str()).into_up()
}

/// The error of what was found while an endpoint's response or a body passed.
pub(super) fn of(fault: Fault) -> Box<Error> {
    match fault.reason {
        Reason::UpstreamProtocol => Error::explain(ErrorType::InvalidHTTPHeader, fault.what).into_up(),
        Reason::UpstreamTimeout => Error::explain(ErrorType::ReadTimedout, fault.what).into_up(),
        _ => Error::explain(ErrorType::HTTPStatus(fault.status.as_u16()), fault.what),
    }
}

/// Whether a stream of HTTP/2 was ended because of what came on it, and not by its other end: a body that is not as
/// long as was told, say.
pub(super) fn is_malformed(error: &Error) -> bool {
    let found = error.root_cause().downcast_ref::<h2::Error>();
    found.is_some_and(|found| !found.is_remote() && found.reason() == Some(h2::Reason::PROTOCOL_ERROR))
}

/// Why a try at connecting failed.
pub(super) fn connecting(error: &Error) -> Reason {
    match refusal(error) {
        Some(_) => Reason::UpstreamRefused,
        None => certificate(error).unwrap_or_else(|| unconnected(error.etype())),
    }
}

/// What is wrong with an endpoint's certificate. The engine keeps only the text of what the TLS library said.
fn certificate(error: &Error) -> Option<Reason> {
    const SAID: [(&str, Reason); 8] = [
        ("expired", Reason::UpstreamCertificateExpired),
        ("not valid yet", Reason::UpstreamCertificateExpired),
        ("NotValidYet", Reason::UpstreamCertificateExpired),
        ("UnknownIssuer", Reason::UpstreamCertificateUntrusted),
        // An authority of the same name, made anew.
        ("BadSignature", Reason::UpstreamCertificateUntrusted),
        ("not valid for name", Reason::UpstreamCertificateName),
        ("not valid for any names", Reason::UpstreamCertificateName),
        ("NotValidForName", Reason::UpstreamCertificateName),
    ];
    if *error.etype() != ErrorType::TLSHandshakeFailure {
        return None;
    }
    let text = error.to_string();
    let (_, said) = text.split_once("invalid peer certificate: ")?;
    let known = SAID.into_iter().find(|(part, _)| said.to_ascii_lowercase().contains(&part.to_ascii_lowercase()));
    Some(known.map_or(Reason::UpstreamCertificateUnusable, |(_, reason)| reason))
}

/// Whether TLS to the endpoint could not be made.
pub(super) fn is_of_tls(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::UpstreamTls
            | R::UpstreamCertificateExpired
            | R::UpstreamCertificateUntrusted
            | R::UpstreamCertificateName
            | R::UpstreamCertificateUnusable
    )
}

/// The endpoint to which TLS without verification failed.
pub(super) fn unverified(reason: Reason, peer: &HttpPeer) -> Option<SocketAddr> {
    let is_it = peer.is_tls() && !peer.options.verify_cert && is_of_tls(reason);
    is_it.then(|| peer.address().as_inet().copied()).flatten()
}

/// Whether the endpoint has certainly not processed the request, so that it can be sent again whatever its method: it
/// said so (RFC 9113 sections 6.8 and 8.7), or its connection took no stream for it.
pub(super) fn refusal(error: &Error) -> Option<Refusal> {
    if *error.esource() != ErrorSource::Upstream {
        return None;
    }
    let context = error.context.as_ref().map(|context| context.as_str());
    let is_lost = match error.root_cause().downcast_ref::<h2::Error>() {
        Some(said) if said.is_remote() && said.is_reset() => {
            return (said.reason() == Some(h2::Reason::REFUSED_STREAM)).then_some(Refusal::Stream);
        }
        // The streams that a GOAWAY ends are those above its last one.
        Some(said) if said.is_remote() => true,
        Some(found) => context == Some(NO_STREAM) || (context == Some(NOT_SENT) && found.is_io()),
        None => context == Some(NO_STREAM_YET),
    };
    is_lost.then_some(Refusal::Connection)
}

fn unconnected(kind: &ErrorType) -> Reason {
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
        E::Custom(CUT_BODY) => Reason::UpstreamReset,
        E::Custom(BAD_CHUNK | BAD_TRAILERS) => Reason::UpstreamProtocol,
        E::Custom(NO_PING) => Reason::UpstreamTimeout,
        other => unconnected(other),
    }
}

fn downstream(kind: &ErrorType) -> Reason {
    use ErrorType as E;
    match kind {
        E::ReadTimedout => Reason::BodyTimeout,
        E::InvalidHTTPHeader | E::H1Error | E::InvalidH2 => Reason::BadRequest,
        E::Custom(BAD_CHUNK | BAD_TRAILERS) => Reason::BadRequest,
        _ => Reason::ClientClosed,
    }
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
            assert_eq!(unconnected(&kind), reason, "{kind:?}");
        }
        for (kind, source, reason) in [
            (E::ReadTimedout, ErrorSource::Upstream, Reason::UpstreamTimeout),
            (E::ReadTimedout, ErrorSource::Downstream, Reason::BodyTimeout),
            (E::ConnectionClosed, ErrorSource::Upstream, Reason::UpstreamReset),
            (E::ConnectionClosed, ErrorSource::Downstream, Reason::ClientClosed),
            (E::InvalidHTTPHeader, ErrorSource::Upstream, Reason::UpstreamProtocol),
            (E::InvalidHTTPHeader, ErrorSource::Downstream, Reason::BadRequest),
            (E::WriteTimedout, ErrorSource::Downstream, Reason::ClientClosed),
            (E::Custom(BAD_CHUNK), ErrorSource::Upstream, Reason::UpstreamProtocol),
            (E::Custom(BAD_TRAILERS), ErrorSource::Upstream, Reason::UpstreamProtocol),
            (E::Custom(CUT_BODY), ErrorSource::Upstream, Reason::UpstreamReset),
            (E::Custom(NO_PING), ErrorSource::Upstream, Reason::UpstreamTimeout),
            (E::Custom(BAD_CHUNK), ErrorSource::Downstream, Reason::BadRequest),
            (E::Custom(CUT_BODY), ErrorSource::Downstream, Reason::ClientClosed),
            (E::InternalError, ErrorSource::Internal, Reason::Internal),
        ] {
            assert_eq!(serving(&kind, &source, None), reason, "{kind:?} {source:?}");
        }
        let missed = |missed| serving(&E::ReadError, &ErrorSource::Downstream, Some(missed));
        assert_eq!(missed(TimedOut::Body), Reason::BodyTimeout);
        assert_eq!(missed(TimedOut::Write), Reason::ClientClosed);
    }

    #[test]
    fn a_connection_without_a_stream_refuses_what_it_was_to_carry() {
        let none = || Error::explain(ErrorType::H2Error, NO_STREAM_YET);
        assert_eq!(refusal(&none().into_up()), Some(Refusal::Connection));
        assert_eq!(refusal(&none().into_down()), None, "what a client did is no refusal");
        let because = |context| Error::because(ErrorType::H2Error, context, h2::Error::from(h2::Reason::CANCEL));
        assert_eq!(refusal(&because(NO_STREAM).into_up()), Some(Refusal::Connection));
        for context in [NOT_SENT, "while reading h2 header"] {
            assert_eq!(refusal(&because(context).into_up()), None, "{context}");
        }
        assert_eq!(connecting(&none().into_up()), Reason::UpstreamRefused);
    }
}
