//! Bodies on their way: counted, limited, shown to plugins.

use bytes::Bytes;
use http::StatusCode;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_plugin::{BodyChunk, BodyFlow, Hooks};

use super::context::Context;
use crate::reason::Reason;

/// A piece of the request's body.
pub(super) fn on_request(session: &Session, body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    if is_last && let Some(connection) = &cx.known.connection {
        connection.body_arrived();
    }
    let size = body.as_ref().map_or(0, Bytes::len);
    cx.request_bytes = cx.request_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    let max = cx.route.as_ref().and_then(|route| route.policy.max_body);
    // What follows an upgrade is no body any more.
    if max.is_some_and(|max| cx.request_bytes > max) && !session.was_upgraded() {
        return abort(cx, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let Some(route) = cx.route_with(Hooks::REQUEST_BODY) else { return Ok(()) };
    match route.pipeline.on_request_body(&mut BodyChunk { bytes: body, is_last }, &cx.shared, &cx.times) {
        BodyFlow::Continue => Ok(()),
        BodyFlow::Abort(status) => abort(cx, Reason::Plugin, status),
    }
}

/// A piece of the answer's body.
pub(super) fn on_response(body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    let Some(route) = cx.route_with(Hooks::RESPONSE_BODY) else { return Ok(()) };
    match route.pipeline.on_response_body(&mut BodyChunk { bytes: body, is_last }, &cx.shared, &cx.times) {
        BodyFlow::Continue => Ok(()),
        BodyFlow::Abort(status) => abort(cx, Reason::Plugin, status),
    }
}

fn abort(cx: &mut Context, reason: Reason, status: StatusCode) -> Result<()> {
    cx.reason = Some(reason);
    Err(Error::explain(ErrorType::HTTPStatus(status.as_u16()), reason.as_str()).into_down())
}
