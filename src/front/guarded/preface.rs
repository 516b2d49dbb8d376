//! What a client on a plain listener speaks, told by its first bytes: HTTP/2 begins with a preface that is no request
//! of HTTP/1 (RFC 9113 sections 3.3 and 3.4).
//!
//! They come in pieces of any size, within the time that a request's head has, and the first one that differs decides.

use std::io;
use std::task::{Context, Poll, ready};

use pingora::protocols::IO;
use tokio::time::Instant;

use super::Guarded;

/// What clients of HTTP/2 begin with.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl<S: IO> Guarded<S> {
    /// Finds out what the client speaks, which the facts of the connection tell then; false: it has closed. Nothing is
    /// taken away: the bytes are read again.
    pub(super) fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let is_end = ready!(self.poll_more(cx))? == 0;
            let opening = self.first.rest();
            let came = opening.get(self.told..).unwrap_or_default();
            self.clock.bytes_came(&self.info, came, Instant::now);
            self.told = opening.len();
            if opening.starts_with(PREFACE) {
                self.info.speaks_http2();
                self.clock.speaks_http2(&self.info, opening);
            } else if !is_end && PREFACE.starts_with(opening) {
                continue;
            }
            self.is_telling = false;
            return Poll::Ready(Ok(!self.first.is_empty()));
        }
    }
}
