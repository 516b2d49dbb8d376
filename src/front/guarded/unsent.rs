//! Bytes that the engine has written and not sent.
//!
//! It writes an answer of known length into a buffer, and lets that go when it is full or the answer is complete: what
//! an upstream says in pieces would reach the client late. While the engine waits for more, it looks whether the client
//! is still there; then the bytes leave. An answer that is there at once is sent as before.
//!
//! The test that tells when this can go: `bytes_of_known_length_flow_at_once` passes without it once the engine flushes
//! before it waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::protocols::IO;
use tokio::io::{AsyncWrite, ReadBuf};

use super::Guarded;

impl<S: IO> Guarded<S> {
    /// Lets go of what was written. What the client does not take yet leaves with the next look.
    pub(super) fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.has_unsent {
            return Ok(());
        }
        match Pin::new(self).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The engine's look whether the client has gone while an answer is under way, one byte at a time.
    ///
    /// A byte that comes is the next request's. It is kept until that is read: the engine would look no more, and
    /// nothing would leave.
    pub(super) fn poll_probe(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            match Pin::new(&mut self.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    self.ahead.keep(buf.filled().get(before..).unwrap_or_default());
                    buf.set_filled(before);
                }
                Poll::Pending => {}
                ended => return ended,
            }
        }
        self.send_unsent(cx)?;
        Poll::Pending
    }
}
