//! Requests of HTTP/2 that tell a length of zero and leave their end open.
//!
//! The engine takes the length for the end, so that the upstream would get a whole request before it turns out that
//! there is more, which makes it malformed (RFC 9113 section 8.1.1). So the end is waited for. The test that tells when
//! this can go: `a_length_of_zero_is_no_end_of_a_stream`.

use std::time::Duration;

use http::header;
use pingora_proxy::Session;

use super::failure;
use crate::proxy::length;
use crate::reason::Reason;

/// Whether the end must be waited for. The length goes: the engine then looks at the stream, and so does the upstream.
pub(super) fn is_owed(session: &mut Session) -> bool {
    if !session.is_http2() || !length::is_zero(&session.req_header().headers) {
        return false;
    }
    session.req_header_mut().remove_header(&header::CONTENT_LENGTH);
    !session.is_body_empty()
}

/// Waits for the end of the stream.
///
/// # Errors
/// There is a body after all, the client has gone, or it owes the end for too long.
pub(super) async fn wait(session: &mut Session, limit: Duration) -> Result<(), Reason> {
    let ending = async {
        loop {
            match session.read_request_body().await {
                Ok(None) => return Ok(()),
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(Some(_)) => return Err(Reason::BadRequest),
                Err(error) if failure::is_malformed(&error) => return Err(Reason::BadRequest),
                Err(_) => return Err(Reason::ClientClosed),
            }
        }
    };
    tokio::time::timeout(limit, ending).await.unwrap_or(Err(Reason::BodyTimeout))
}
