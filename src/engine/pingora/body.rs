//! Bodies as Pingora hands them over, piece by piece.

use bytes::Bytes;
use pingora::Result;
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::failure;
use super::flow_control::Held;
use crate::proxy::body;

/// A piece of the request's body. A plugin that must wait is returned, for [`wait_request`].
pub(super) fn on_request(
    session: &Session,
    piece: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Exchange,
) -> Result<Option<usize>> {
    let shown = body::on_request(session.was_upgraded(), piece, is_last, &mut cx.request);
    if let Ok(None) = shown {
        end_once(piece, is_last);
    }
    shown.map_err(|fault| failure::of(fault).into_down())
}

/// Waits for the plugin that must wait.
pub(super) async fn wait_request(
    index: usize,
    piece: &mut Option<Bytes>,
    is_last: bool,
    cx: &mut Exchange,
) -> Result<()> {
    let passed = body::wait(index, piece, is_last, &mut cx.request).await;
    end_once(piece, is_last);
    passed.map_err(|fault| failure::of(fault).into_down())
}

/// A piece of the response's body.
pub(super) fn on_response(piece: &mut Option<Bytes>, is_last: bool, cx: &mut Exchange) -> Result<()> {
    cx.flow.iter().for_each(Held::shown);
    body::on_response(piece, is_last, &mut cx.request).map_err(|fault| failure::of(fault).into_down())
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
