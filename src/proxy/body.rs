//! Bodies on their way: counted, limited, shown to plugins.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tidegate_plugin::{BodyChunk, Hooks};

use super::context::{self, Context};
use super::fault::Fault;
use super::upstream;
use crate::reason::Reason;
use crate::snapshot::pipeline::BodyOutcome;
use crate::snapshot::route::Route;

/// A piece of the request's body. `is_upgraded`: the two sides speak another protocol by now, and it is none.
/// A plugin that must wait is returned, for [`wait`].
///
/// # Errors
/// The body is too large, or a plugin ends it; the reason is in the context too.
pub(crate) fn on_request(
    is_upgraded: bool,
    body: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Context,
) -> Result<Option<usize>, Fault> {
    if let Some(connection) = cx.known.connection.as_ref().filter(|_| is_last) {
        connection.body_arrived();
    }
    let size = body.as_ref().map_or(0, Bytes::len);
    cx.request_bytes = cx.request_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    let max = cx.route.as_ref().and_then(|route| route.policy.limits.body_bytes);
    if max.is_some_and(|max| cx.request_bytes > max) && !is_upgraded {
        return abort(cx, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE).map(|()| None);
    }
    let mut outcome = BodyOutcome::Continue;
    if let Some(route) = shown(&cx.route, cx.is_tunnel, Hooks::REQUEST_BODY) {
        let mut chunk = BodyChunk::new(body, is_last);
        outcome = route.pipeline.on_request_body(&mut chunk, &mut cx.shared, &cx.passage);
    }
    match outcome {
        BodyOutcome::Wait(index) => Ok(Some(index)),
        outcome => went_on(outcome, is_last, cx).map(|()| None),
    }
}

/// Waits for the plugin that must wait, and shows the piece to the rest. Nothing more is read of the client meanwhile.
///
/// # Errors
/// A plugin ends the body, or takes longer than a client may; the reason is in the context too.
pub(crate) async fn wait(index: usize, body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<(), Fault> {
    let limit = cx.snapshot.edge.limits.body_timeout.0;
    let Some(route) = &cx.route else { return went_on(BodyOutcome::Continue, is_last, cx) };
    let mut chunk = BodyChunk::new(body, is_last);
    let waiting = route.pipeline.wait_request_body(index, &mut chunk, &mut cx.shared, &cx.passage);
    match tokio::time::timeout(limit, waiting).await {
        Ok(outcome) => went_on(outcome, is_last, cx),
        Err(_) => abort(cx, Reason::WorkRefused, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// What plugins have decided about a piece.
fn went_on(outcome: BodyOutcome, is_last: bool, cx: &mut Context) -> Result<(), Fault> {
    decided(outcome, cx)?;
    if is_last {
        upstream::sent(cx);
    }
    Ok(())
}

/// A piece of the response's body.
///
/// # Errors
/// A plugin ends it; the reason is in the context too.
pub(crate) fn on_response(body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<(), Fault> {
    cx.has_response_end |= is_last;
    let route = shown(&cx.route, cx.is_tunnel, Hooks::RESPONSE_BODY).filter(|_| !cx.is_empty);
    let Some(route) = route else { return Ok(()) };
    let mut chunk = BodyChunk::new(body, is_last);
    let outcome = route.pipeline.on_response_body(&mut chunk, &mut cx.shared, &cx.passage);
    decided(outcome, cx)
}

fn decided(outcome: BodyOutcome, cx: &mut Context) -> Result<(), Fault> {
    match outcome {
        BodyOutcome::Continue => Ok(()),
        BodyOutcome::Abort(status) => abort(cx, Reason::Plugin, status),
        // Who may wait is waited for before.
        BodyOutcome::Wait(_) => abort(cx, Reason::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The route whose plugins are shown a piece. What follows an upgrade belongs to another protocol.
fn shown(route: &Option<Arc<Route>>, is_tunnel: bool, hook: Hooks) -> Option<&Arc<Route>> {
    context::with(route, hook).filter(|_| !is_tunnel)
}

fn abort(cx: &mut Context, reason: Reason, status: StatusCode) -> Result<(), Fault> {
    cx.reason = Some(reason);
    Err(Fault { reason, status, what: reason.as_str() })
}
