//! A buffer that is borrowed while bytes wait in it, and given back when none do.
//!
//! Each thread keeps a few of them. A connection that waits for its client has none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a buffer: with fewer, bodies take more system calls.
pub(super) const ROOM: usize = 64 * 1024;

/// Buffers that a thread keeps.
const SPARE: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were read and not given on yet.
#[derive(Default)]
pub(super) struct PooledBuffer {
    bytes: Option<Box<[u8]>>,
    given: usize,
    filled: usize,
}

// === impl PooledBuffer ===

impl PooledBuffer {
    /// The bytes that wait.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.as_ref().and_then(|bytes| bytes.get(self.given..self.filled)).unwrap_or_default()
    }

    /// Whether none wait.
    pub(super) fn is_empty(&self) -> bool {
        self.given == self.filled
    }

    /// Reads as much as is there, up to so many bytes, and there is room for, behind what waits; gives how much that was. Nothing is borrowed
    /// when this waits, unless bytes wait already.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let bytes = self.bytes.get_or_insert_with(borrow);
        let Some(room) = bytes.get_mut(self.filled..).filter(|room| !room.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        let most = most.min(room.len());
        let mut piece = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
        let read = Pin::new(stream).poll_read(cx, &mut piece);
        let count = piece.filled().len();
        self.filled += count;
        if self.is_empty() {
            self.give_back();
        }
        ready!(read)?;
        Poll::Ready(Ok(count))
    }

    /// Gives on what fits; false: there is nothing.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        let rest = self.rest();
        let piece = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(piece);
        self.given += piece.len();
        if self.is_empty() {
            self.give_back();
        }
        true
    }

    /// Takes bytes back that were read before those that wait.
    pub(super) fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(self.rest());
        self.give_back();
        self.filled = bytes.len();
        self.bytes = Some(bytes.into_boxed_slice());
    }

    fn give_back(&mut self) {
        (self.given, self.filled) = (0, 0);
        let Some(bytes) = self.bytes.take().filter(|bytes| bytes.len() == ROOM) else { return };
        // A thread that ends keeps none.
        let _ = SPARES.try_with(|spares| {
            if let Ok(mut spares) = spares.try_borrow_mut()
                && spares.len() < SPARE
            {
                spares.push(bytes);
            }
        });
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl std::fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the bytes: they may be secret.
        f.debug_struct("PooledBuffer").field("waiting", &self.rest().len()).finish_non_exhaustive()
    }
}

fn borrow() -> Box<[u8]> {
    let spare = SPARES.try_with(|spares| spares.try_borrow_mut().ok()?.pop());
    spare.ok().flatten().unwrap_or_else(|| vec![0; ROOM].into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn given(buffer: &mut PooledBuffer, at_once: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut room = vec![0; at_once];
            let mut buf = ReadBuf::new(&mut room);
            if !buffer.give(&mut buf) {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    #[tokio::test]
    async fn nothing_is_borrowed_while_nothing_waits() {
        let (mut client, mut stream) = tokio::io::duplex(64);
        let mut buffer = PooledBuffer::default();
        let waits = poll_fn(|cx| Poll::Ready(buffer.poll_fill(&mut stream, ROOM, cx))).await;
        assert!(waits.is_pending() && buffer.bytes.is_none());
        client.write_all(b"abcdef").await.unwrap();
        assert_eq!(poll_fn(|cx| buffer.poll_fill(&mut stream, ROOM, cx)).await.unwrap(), 6);
        assert_eq!(given(&mut buffer, 4), b"abcdef");
        assert!(buffer.bytes.is_none());
        drop(client);
        assert_eq!(poll_fn(|cx| buffer.poll_fill(&mut stream, ROOM, cx)).await.unwrap(), 0, "the end");
        assert!(buffer.bytes.is_none());
    }

    #[tokio::test]
    async fn bytes_that_are_put_back_come_before_those_that_wait() {
        let (mut client, mut stream) = tokio::io::duplex(64);
        let mut buffer = PooledBuffer::default();
        client.write_all(b"abcdef").await.unwrap();
        poll_fn(|cx| buffer.poll_fill(&mut stream, ROOM, cx)).await.unwrap();
        let mut room = [0; 3];
        let mut buf = ReadBuf::new(&mut room);
        assert!(buffer.give(&mut buf));
        buffer.put_back(buf.filled().to_vec());
        assert_eq!(given(&mut buffer, 64), b"abcdef");
    }

    #[tokio::test]
    async fn more_is_read_behind_what_waits() {
        let (mut client, mut stream) = tokio::io::duplex(64);
        let mut buffer = PooledBuffer::default();
        for piece in [b"abc", b"def"] {
            client.write_all(piece).await.unwrap();
            assert_eq!(poll_fn(|cx| buffer.poll_fill(&mut stream, ROOM, cx)).await.unwrap(), 3);
        }
        assert_eq!(buffer.rest(), b"abcdef");
    }
}
