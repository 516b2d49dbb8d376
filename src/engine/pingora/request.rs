//! A request's head on its way from Pingora to what decides about it.

use std::sync::Arc;

use http::{Version, header};
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::fields::RequestFields;
use super::{departure, http10, open_end, response};
use crate::connection::ConnectionInfo;
use crate::edge::Limits;
use crate::proxy::request::{self, Arrival, Decision, Follows};
use crate::reason::Reason;

/// Sets waits and limits, and makes the head canonical.
pub(super) fn begin(session: &mut Session, cx: &mut Exchange) {
    set_limits(session, &cx.request.snapshot.edge.limits);
    let changes = request::begin(arrival(session), &mut cx.request);
    request::apply(changes, &mut RequestFields(session.req_header_mut()), &mut cx.request);
    if session.req_header().version == Version::HTTP_10 {
        http10::begin(session);
    }
    cx.owes_end = open_end::is_owed(session);
    let follows = follows(session);
    let head_bytes = (!session.is_http2()).then(|| session.to_h1_raw().len());
    request::expect(follows, head_bytes, session.req_header(), &mut cx.request);
}

fn arrival(session: &Session) -> Arrival<'_> {
    let digest = session.digest();
    let connection = digest.and_then(ConnectionInfo::of).map(Arc::clone);
    // The engine may have to ask the system for the address.
    let peer = || session.client_addr().and_then(|address| address.as_inet()).copied();
    Arrival {
        head: session.req_header(),
        target: session.req_header().raw_path(),
        has_both_lengths: has_both_lengths(session),
        peer: if connection.is_some() { None } else { peer() },
        connection,
        is_tls: digest.is_some_and(|digest| digest.ssl_digest.is_some()),
    }
}

fn follows(session: &mut Session) -> Follows {
    match (session.is_upgrade_req(), session.is_body_empty()) {
        (true, _) => Follows::Tunnel,
        (false, true) => Follows::Nothing,
        (false, false) => Follows::Body,
    }
}

fn set_limits(session: &mut Session, limits: &Limits) {
    // The engine turns keeping off for connections that must end; that stays off.
    if session.get_keepalive().is_some() {
        // 0: the engine sets no timer. The front's guard holds the limits, and exactly.
        session.set_keepalive(Some(0));
    }
    if let (Some(limit), None) = (limits.keep_alive_requests, session.get_keepalive_reuses_remaining()) {
        session.set_keepalive_reuses_remaining(Some(limit.saturating_sub(1)));
    }
    // What comes behind a request is the next one, and waits; otherwise it would end the request under way.
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(limits.body_timeout.0));
    if session.is_http2() {
        // The guard sees a connection that takes nothing, not a stream.
        session.set_write_timeout(Some(limits.send_timeout.0));
    }
    session.set_total_drain_timeout(Some(limits.body_timeout.0));
}

/// Whether the head had a length besides chunked framing. The engine removes it before anybody sees it.
fn has_both_lengths(session: &Session) -> bool {
    if session.is_http2() || !session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        return false;
    }
    const NAME: &[u8] = b"content-length:";
    let head = session.to_h1_raw();
    head.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME)))
}

/// Decides what is done with the request.
pub(super) fn decide(session: &Session, cx: &mut Exchange) -> Decision {
    let head = session.req_header();
    match request::route(head, &mut cx.request) {
        Some(answer) => Decision::Reply(answer),
        None => request::take(head, &mut cx.request),
    }
}

/// Waits or answers, as was decided; says whether the request was answered.
///
/// # Errors
/// The client has gone.
pub(super) async fn carry_out(decision: Decision, session: &mut Session, cx: &mut Exchange) -> Result<bool> {
    let decision = match decision {
        Decision::Wait(index) => wait(index, session, cx).await,
        other => other,
    };
    match decision {
        Decision::Reply(answer) => response::send(session, answer, cx).await.map(|()| true),
        Decision::Leave => {
            cx.request.reason = Some(Reason::ClientClosed);
            Err(Error::explain(ErrorType::ConnectionClosed, "the client has gone").into_down())
        }
        Decision::Forward | Decision::Wait(_) => Ok(false),
    }
}

/// Decides, and carries out what was decided, when the client has ended its request as it said that it would.
pub(super) async fn take_at_end(session: &mut Session, cx: &mut Exchange) -> Result<bool> {
    let limit = cx.request.snapshot.edge.limits.body_timeout.0;
    let decision = match open_end::wait(session, limit).await {
        Err(Reason::ClientClosed) => Decision::Leave,
        ended => {
            match ended {
                Ok(()) => cx.request.known.has_body = !session.is_body_empty(),
                Err(reason) => cx.request.refusal = Some(reason),
            }
            decide(session, cx)
        }
    };
    carry_out(decision, session, cx).await
}

/// Waits for a plugin. A client that goes meanwhile is left.
async fn wait(index: usize, session: &mut Session, cx: &mut Exchange) -> Decision {
    // The plugin reads the head while the session is watched.
    let head = session.req_header().as_owned_parts();
    let connection = cx.request.known.connection.clone();
    request::wait(index, departure::of(session, connection.as_deref()), &head, &mut cx.request).await
}
