//! Bodies on their way: counted, limited, shown to plugins.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_plugin::{BodyChunk, Hooks};

use super::context::Context;
use super::flow_control::Held;
use super::upstream;
use crate::reason::Reason;
use crate::snapshot::pipeline::BodyOutcome;
use crate::snapshot::route::Route;

/// A piece of the request's body. A plugin that must wait is returned, for [`wait_request`].
pub(super) fn on_request(
    session: &Session,
    body: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Context,
) -> Result<Option<usize>> {
    // No piece is the end too: before trailers the engine does not know yet that it is.
    let is_last = is_last || body.is_none();
    if let Some(connection) = cx.known.connection.as_ref().filter(|_| is_last) {
        connection.body_arrived();
    }
    let size = body.as_ref().map_or(0, Bytes::len);
    cx.request_bytes = cx.request_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    let max = cx.route.as_ref().and_then(|route| route.policy.limits.body_bytes);
    // What follows an upgrade is no body any more.
    if max.is_some_and(|max| cx.request_bytes > max) && !session.was_upgraded() {
        return abort(cx, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE).map(|()| None);
    }
    let mut outcome = BodyOutcome::Continue;
    if let Some(route) = shown(&cx.route, cx.is_tunnel, Hooks::REQUEST_BODY) {
        let mut chunk = BodyChunk::new(body, is_last);
        outcome = route.pipeline.on_request_body(&mut chunk, &mut cx.shared, &cx.passage);
    }
    match outcome {
        BodyOutcome::Wait(index) => Ok(Some(index)),
        outcome => went_on(outcome, body, is_last, cx).map(|()| None),
    }
}

/// Waits for the plugin that must wait, and shows the piece to the rest. Nothing more is read of the client meanwhile.
pub(super) async fn wait_request(
    index: usize,
    body: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Context,
) -> Result<()> {
    let is_last = is_last || body.is_none();
    let limit = cx.snapshot.edge.limits.body_timeout.0;
    let mut chunk = BodyChunk::new(body, is_last);
    let outcome = match &cx.route {
        Some(route) => {
            let waiting = route.pipeline.wait_request_body(index, &mut chunk, &mut cx.shared, &cx.passage);
            tokio::time::timeout(limit, waiting).await
        }
        None => Ok(BodyOutcome::Continue),
    };
    match outcome {
        Ok(outcome) => went_on(outcome, body, is_last, cx),
        Err(_) => abort(cx, Reason::WorkRefused, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// What plugins have decided about a piece.
fn went_on(outcome: BodyOutcome, body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    match outcome {
        BodyOutcome::Continue => {}
        BodyOutcome::Abort(status) => return abort(cx, Reason::Plugin, status),
        BodyOutcome::Wait(_) => return abort(cx, Reason::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
    if is_last {
        upstream::sent(cx);
    }
    end_once(body, is_last);
    Ok(())
}

/// Lets a body end where it ends, and once.
///
/// The engine writes an empty piece as a chunk, which is the last one, and then the last one; what it writes too much
/// is the begin of another request on a connection that others use next. And it takes no piece for the end.
fn end_once(body: &mut Option<Bytes>, is_last: bool) {
    if body.as_ref().is_none_or(Bytes::is_empty) {
        *body = (!is_last).then(Bytes::new);
    }
}

/// A piece of the answer's body.
pub(super) fn on_response(body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    cx.valve.iter().for_each(Held::shown);
    let route = shown(&cx.route, cx.is_tunnel, Hooks::RESPONSE_BODY).filter(|_| !cx.is_empty);
    let Some(route) = route else { return Ok(()) };
    match route.pipeline.on_response_body(&mut BodyChunk::new(body, is_last), &mut cx.shared, &cx.passage) {
        BodyOutcome::Continue => Ok(()),
        BodyOutcome::Abort(status) => abort(cx, Reason::Plugin, status),
        BodyOutcome::Wait(_) => abort(cx, Reason::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The route whose plugins are shown a piece. What follows an upgrade belongs to another protocol.
fn shown(route: &Option<Arc<Route>>, is_tunnel: bool, hook: Hooks) -> Option<&Arc<Route>> {
    route.as_ref().filter(|route| !is_tunnel && route.pipeline.hooks().contains(hook))
}

fn abort(cx: &mut Context, reason: Reason, status: StatusCode) -> Result<()> {
    cx.reason = Some(reason);
    Err(Error::explain(ErrorType::HTTPStatus(status.as_u16()), reason.as_str()).into_down())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_with_its_last_piece_and_with_no_other() {
        let piece = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        for (given, is_last, made) in [
            (piece("a"), false, piece("a")),
            (piece("a"), true, piece("a")),
            (piece(""), true, None),
            (None, true, None),
            (piece(""), false, piece("")),
            (None, false, piece("")),
        ] {
            let mut body = given.clone();
            end_once(&mut body, is_last);
            assert_eq!(body, made, "{given:?}, last: {is_last}");
        }
    }
}
