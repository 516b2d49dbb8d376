//! Looking ahead: whether a client is still there while nobody wants its bytes.
//!
//! The end of a stream is seen behind all bytes before it only, so these are read and kept, as many as there is room for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are kept at most. Behind more than these the end of a client is not seen.
const ROOM: usize = 16 * 1024;

/// Bytes at once.
const PIECE: usize = 2 * 1024;

/// Bytes that came while nobody wanted any. Takes no memory until some do.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    /// How many of them were given on.
    given: usize,
}

// === impl Ahead ===

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Ready when the client has ended its side; what comes before that is kept.
    #[inline(never)]
    pub(super) fn poll_end<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.bytes.len() < ROOM {
            let mut room = [0; PIECE];
            let mut piece = ReadBuf::new(&mut room);
            std::task::ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.bytes.extend_from_slice(piece.filled());
        }
        Poll::Pending
    }

    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= ROOM
    }

    /// Keeps bytes behind those that are kept.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives on what was kept; false: there is nothing left.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.bytes.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let piece = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(piece);
        self.given += piece.len();
        if self.given == self.bytes.len() {
            *self = Self::default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn given(ahead: &mut Ahead, at_once: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut room = vec![0; at_once];
            let mut buf = ReadBuf::new(&mut room);
            if !ahead.give(&mut buf) {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    #[tokio::test]
    async fn the_end_is_seen_behind_bytes_and_these_are_kept() {
        let (mut client, mut stream) = tokio::io::duplex(64);
        let mut ahead = Ahead::default();
        let sent: Vec<u8> = (0..5000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let sends = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
        };
        let ((), seen) = tokio::join!(sends, poll_fn(|cx| ahead.poll_end(&mut stream, cx)));
        seen.unwrap();
        assert_eq!(given(&mut ahead, 7), sent);
        assert_eq!(ahead.bytes.capacity(), 0);
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let (mut client, mut stream) = tokio::io::duplex(4 * ROOM);
        client.write_all(&vec![b'x'; 3 * ROOM]).await.unwrap();
        drop(client);
        let mut ahead = Ahead::default();
        let mut left = Vec::new();
        tokio::select! {
            biased;
            _ = poll_fn(|cx| ahead.poll_end(&mut stream, cx)) => panic!("the end is behind too much"),
            _ = stream_is_left() => {}
        }
        stream.read_to_end(&mut left).await.unwrap();
        let kept = given(&mut ahead, 4096);
        assert!((ROOM..ROOM + PIECE).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.len() + left.len(), 3 * ROOM);
    }

    async fn stream_is_left() {}
}
