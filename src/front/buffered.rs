//! A socket's stream that holds memory only while it is busy.
//!
//! The engine's own stream has a buffer of 64 KiB from its first moment on. This one reads into whatever the caller has,
//! and borrows a buffer where that was filled to the end, so that there is likely more; small writes are gathered until
//! a flush, in a buffer that comes with the first of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{GetProxyDigest, IO, Peek, Shutdown};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::pooled_buffer::{PooledBuffer, ROOM};
use crate::connection::delegate;

/// Bytes that are gathered before they are written: about what one packet carries.
const GATHERED: usize = 1460;

/// A stream without buffers of its own, and what is buffered of it for the moment.
#[derive(Debug)]
pub(super) struct BufferedStream<S: IO> {
    inner: S,
    read: PooledBuffer,
    /// Whether the last read took all that there was room for.
    is_hungry: bool,
    write: Vec<u8>,
    /// Bytes of it that are written.
    written: usize,
}

// === impl BufferedStream ===

impl<S: IO> BufferedStream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, read: PooledBuffer::default(), is_hungry: false, write: Vec::new(), written: 0 }
    }

    /// Resolves when the client has sent something; false: it has closed.
    pub(super) async fn has_bytes(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            if !self.read.is_empty() {
                return Poll::Ready(Ok(true));
            }
            self.read.poll_fill(&mut self.inner, ROOM, cx).map_ok(|count| count > 0)
        })
        .await
    }

    /// Takes back what was read last, to be read again.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>) {
        self.read.put_back(bytes);
    }

    /// Writes what is gathered.
    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.write.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.write.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes room for so many bytes more; false: they are too many to be gathered.
    fn poll_room(&mut self, count: usize, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.write.len() + count > GATHERED {
            ready!(self.poll_write_gathered(cx))?;
        }
        Poll::Ready(Ok(count < GATHERED))
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.write.capacity() == 0 {
            self.write.reserve_exact(GATHERED);
        }
        self.write.extend_from_slice(bytes);
    }
}

impl<S: IO> Drop for BufferedStream<S> {
    fn drop(&mut self) {
        if !self.write.is_empty() {
            // Nobody waits any more: what the socket takes at once goes.
            let _best_effort = self.poll_write_gathered(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<S: IO> AsyncRead for BufferedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read.give(buf) {
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining();
        if this.is_hungry && room < ROOM {
            this.is_hungry = ready!(this.read.poll_fill(&mut this.inner, ROOM, cx))? >= room;
            this.read.give(buf);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.is_hungry = buf.remaining() == 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for BufferedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_room(buf.len(), cx))? {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        self.gather(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = bufs.iter().fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        if !ready!(self.poll_room(count, cx))? {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        }
        bufs.iter().for_each(|buf| self.gather(buf));
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: IO> Shutdown for BufferedStream<S> {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(%error, "connection was not closed cleanly");
        }
    }
}

#[async_trait]
impl<S: IO> Peek for BufferedStream<S> {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.read_exact(buf).await?;
        self.put_back(buf.to_vec());
        Ok(true)
    }
}

delegate!([S] BufferedStream<S>);

impl<S: IO> GetProxyDigest for BufferedStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

#[cfg(test)]
mod tests;
