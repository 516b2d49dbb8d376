//! Bodies on their way: counted, limited, shown to plugins.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_plugin::{BodyChunk, BodyFlow, Hooks};

use super::context::Context;
use super::upstream;
use crate::engine::pingora::flow_control::Held;
use crate::reason::Reason;
use crate::snapshot::route::Route;

/// A piece of the request's body.
pub(crate) fn on_request(session: &Session, body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    // No piece is the end too: before trailers the engine does not know yet that it is.
    let is_last = is_last || body.is_none();
    if is_last {
        if let Some(connection) = &cx.known.connection {
            connection.body_arrived();
        }
        upstream::sent(cx);
    }
    let size = body.as_ref().map_or(0, Bytes::len);
    cx.request_bytes = cx.request_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    let max = cx.route.as_ref().and_then(|route| route.policy.limits.body_bytes);
    // What follows an upgrade is no body any more.
    if max.is_some_and(|max| cx.request_bytes > max) && !session.was_upgraded() {
        return abort(cx, Reason::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE);
    }
    if let Some(route) = shown(cx, Hooks::REQUEST_BODY) {
        let flow = route.pipeline.on_request_body(&mut BodyChunk { bytes: body, is_last }, &cx.shared, &cx.passage);
        if let BodyFlow::Abort(status) = flow {
            return abort(cx, Reason::Plugin, status);
        }
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
pub(crate) fn on_response(body: &mut Option<Bytes>, is_last: bool, cx: &mut Context) -> Result<()> {
    cx.flow.iter().for_each(Held::shown);
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
