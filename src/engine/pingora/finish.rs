//! How a request ends, as Pingora tells it.

use std::time::Duration;

use http::StatusCode;
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, Session};

use super::exchange::Exchange;
use super::{failure, response};
use crate::proxy::finish::{self, Ended, Failing};
use crate::reason::Reason;
use crate::telemetry::record::Recorder;

/// How long the connection has to write what came before a reset: nothing tells when it has.
const FLUSHED: Duration = Duration::from_millis(5);

/// Answers a request that failed, when there is still somebody to answer.
pub(super) async fn fail(session: &mut Session, error: &Error, cx: &mut Exchange) -> FailToProxy {
    // Tunnels have no other end than a closed connection.
    let reason = if session.was_upgraded() { Reason::Upstream } else { failure::reason(session, error, &cx.request) };
    let status = match error.etype() {
        ErrorType::HTTPStatus(status) => *status,
        _ => reason.status(),
    };
    session.set_keepalive(None);
    let told = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match finish::fail(reason, told, is_answered(session), session.req_header(), &mut cx.request) {
        Failing::BreakOff => break_off(session).await,
        Failing::Leave => {}
        // Whoever does not take it is gone; the record says what happened.
        Failing::Answer(answer) => drop(response::send(session, answer, cx).await),
    }
    FailToProxy { error_code: status, can_reuse_downstream: false }
}

fn is_answered(session: &Session) -> bool {
    let switched = StatusCode::SWITCHING_PROTOCOLS;
    session.response_written().is_some_and(|head| !head.status.is_informational() || head.status == switched)
}

/// Tells a client of HTTP/2 that its answer is not whole, and by whose fault (RFC 9113 section 7). A stream that is
/// dropped is cancelled, which is what clients say. On HTTP/1 the connection ends without the end of the body.
///
/// The test that tells when this can go: `an_answer_that_breaks_is_no_cancelled_one` passes without it once the engine
/// says so itself.
async fn break_off(session: &mut Session) {
    if session.is_http2() {
        // What came before it goes first, if the client takes it: a reset leaves it behind.
        tokio::time::sleep(FLUSHED).await;
        session.shutdown().await;
    }
}

/// Whether nobody needs to read about it in the process's log.
pub(super) fn is_noise(session: &Session, error: &Error, cx: &Exchange) -> bool {
    let reason = failure::reason(session, error, &cx.request);
    // Failures of clients and upstreams stand in the access log and in metrics, with reason and tries.
    session.was_upgraded() || reason != Reason::Internal
}

/// Tells recorder, plugins and connection that the request is over.
pub(super) fn record(session: &Session, error: Option<&Error>, cx: &mut Exchange, recorder: &dyn Recorder) {
    let failed = error.map(|error| (failure::reason(session, error, &cx.request), error.etype().as_str()));
    let ended = Ended {
        status: session.response_written().map(|head| head.status),
        response_bytes: session.body_bytes_sent(),
        failure: failed.filter(|(reason, _)| *reason != Reason::Upstream || session.was_upgraded()),
    };
    finish::record(session.req_header(), &ended, &mut cx.request, recorder);
}
