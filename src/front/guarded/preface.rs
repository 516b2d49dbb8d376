//! What a client on a plain listener speaks, told by its first bytes: HTTP/2 begins with a preface that is no request
//! of HTTP/1 (RFC 9113 sections 3.3 and 3.4).
//!
//! They come in pieces of any size, within the time that a request's head has, and the first one that differs decides.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use pingora::protocols::IO;
use tokio::io::ReadBuf;

use super::Guarded;

/// What clients of HTTP/2 begin with.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl<S: IO> Guarded<S> {
    /// Finds out what the client speaks, which the facts of the connection tell then. Nothing is taken away: the bytes
    /// are read again.
    ///
    /// # Errors
    /// The client missed its deadline, or its connection broke.
    pub(in crate::front) async fn tell_protocol(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_opening(cx)).await
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut room = [0; PREFACE.len()];
            let mut piece = ReadBuf::new(room.get_mut(self.opening.bytes().len()..).unwrap_or_default());
            ready!(self.poll_client(cx, &mut piece))?;
            self.opening.keep(piece.filled());
            let is_end = piece.filled().is_empty();
            if self.opening.bytes() == PREFACE {
                self.info.speaks_http2();
            } else if !is_end && PREFACE.starts_with(self.opening.bytes()) {
                continue;
            }
            return Poll::Ready(Ok(()));
        }
    }
}
