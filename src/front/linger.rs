//! The time between the last word to a client and the end of its connection.
//!
//! Bytes that meet a closed connection reset it, and the client may lose the end of the answer; so what it still sends
//! is taken until it closes too, within limits (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::deadline::Timer;

/// A client gets this long to hear the last word and to close.
const LIMIT: Duration = Duration::from_secs(2);
/// And may send so much.
const BYTES: usize = 4 << 20;
/// And so much whose head was too large already.
const FEW_BYTES: usize = 128 << 10;
/// Bytes that are read at once, for nobody.
const ROOM: usize = 4096;

/// Waits for the client's end of a connection whose own end is told.
#[derive(Debug, Default)]
pub(super) struct Linger {
    is_short: bool,
    until: Option<Instant>,
    taken: usize,
    timer: Timer,
}

// === impl Linger ===

impl Linger {
    /// Whether the own end was told before.
    pub(super) fn has_begun(&self) -> bool {
        self.until.is_some()
    }

    /// Takes less than usual.
    pub(super) fn shorten(&mut self) {
        self.is_short = true;
    }

    /// Ready when the client has closed, or has had its time.
    pub(super) fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + LIMIT);
        let mut room = [0; ROOM];
        let bytes = if self.is_short { FEW_BYTES } else { BYTES };
        while self.taken < bytes {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.taken += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.poll(until, cx),
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_until_it_closes() {
        let (mut client, mut stream) = duplex(10 * ROOM);
        client.write_all(&[b'x'; 9 * ROOM]).await.unwrap();
        let mut linger = Linger::default();
        assert!(!linger.has_begun());
        assert!(poll_fn(|cx| Poll::Ready(linger.poll(&mut stream, cx))).await.is_pending());
        assert!(linger.has_begun());
        drop(client);
        poll_fn(|cx| linger.poll(&mut stream, cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_close_has_its_limits() {
        let start = Instant::now();
        let (_silent, mut stream) = duplex(ROOM);
        let mut linger = Linger::default();
        poll_fn(|cx| linger.poll(&mut stream, cx)).await;
        assert_eq!((Instant::now() - start).as_secs(), LIMIT.as_secs());
        let mut endless = tokio::io::repeat(b'x');
        let mut linger = Linger::default();
        poll_fn(|cx| linger.poll(&mut endless, cx)).await;
        assert_eq!(linger.taken, BYTES);
        let mut linger = Linger::default();
        linger.shorten();
        poll_fn(|cx| linger.poll(&mut endless, cx)).await;
        assert_eq!(linger.taken, FEW_BYTES);
    }
}
