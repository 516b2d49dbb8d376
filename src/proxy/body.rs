//! Bodies on their way: counted, limited, shown to plugins.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tidegate_plugin::{BodyChunk, BodyFlow, Hooks};

use super::context::Context;
use super::fault::Fault;
use super::upstream;
use crate::reason::Reason;
use crate::snapshot::route::Route;

/// A piece of the request's body. `is_upgraded`: the two sides speak another protocol by now, and it is none.
///
/// # Errors
/// The body is too large, or a plugin ends it; the reason is in the context too.
pub(crate) fn on_request(
    is_upgraded: bool,
    body: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Context,
) -> Result<(), Fault> {
    if is_last {
        if let Some(connection) = &cx.known.connection {
            connection.body_arrived();
        }
        upstream::sent(cx);
    }
    let size = body.as_ref().map_or(0, Bytes::len);
    cx.request_bytes = cx.request_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    let max = cx.route.as_ref().and_then(|route| route.policy.limits.body_bytes);
    if max.is_some_and(|max| cx.request_bytes > max) && !is_upgraded {
        return abort(cx, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let Some(route) = shown(cx, Hooks::REQUEST_BODY) else { return Ok(()) };
    match route.pipeline.on_request_body(&mut BodyChunk { bytes: body, is_last }, &cx.shared, &cx.passage) {
        BodyFlow::Continue => Ok(()),
        BodyFlow::Abort(status) => abort(cx, Reason::Plugin, status),
    }
}

/// A piece of the response's body.
///
/// # Errors
/// A plugin ends it; the reason is in the context too.
pub(crate) fn on_response(body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<(), Fault> {
    cx.has_response_end |= is_last;
    let Some(route) = shown(cx, Hooks::RESPONSE_BODY).filter(|_| !cx.is_empty) else { return Ok(()) };
    match route.pipeline.on_response_body(&mut BodyChunk { bytes: body, is_last }, &cx.shared, &cx.passage) {
        BodyFlow::Continue => Ok(()),
        BodyFlow::Abort(status) => abort(cx, Reason::Plugin, status),
    }
}

/// The route whose plugins are shown a piece. What follows an upgrade belongs to another protocol.
fn shown(cx: &Context, hook: Hooks) -> Option<&Arc<Route>> {
    cx.route_with(hook).filter(|_| !cx.is_tunnel)
}

fn abort(cx: &mut Context, reason: Reason, status: StatusCode) -> Result<(), Fault> {
    cx.reason = Some(reason);
    Err(Fault { reason, status, what: reason.as_str() })
}
