//! A stream whose other side must take what is written within a time, however slowly it does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The stream. From the first write that has to wait until all is flushed it may take `limit`.
pub(crate) struct WriteLimit<S> {
    inner: S,
    limit: Duration,
    late: Option<Pin<Box<Sleep>>>,
}

// === impl WriteLimit ===

impl<S> WriteLimit<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, late: None }
    }

    /// Passes a result on; what waits is an error when it has waited for too long.
    fn check<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        let limit = self.limit;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimit<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimit<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.check(poll, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        let poll = self.check(poll, cx);
        // The other side has taken everything, or the system will see to it.
        if matches!(poll, Poll::Ready(Ok(()))) {
            self.late = None;
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.check(poll, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.check(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn whoever_takes_nothing_or_little_is_given_up() {
        for takes in [0, 1] {
            let (near, mut far) = duplex(16);
            let mut near = WriteLimit::new(near, Duration::from_millis(50));
            let reader = tokio::spawn(async move {
                let mut byte = vec![0; takes];
                loop {
                    if takes == 0 || far.read(&mut byte).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            let error = near.write_all(&[7; 4096]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            reader.abort();
        }
    }

    #[tokio::test]
    async fn the_time_is_that_of_one_answer() {
        let (near, mut far) = duplex(16);
        let mut near = WriteLimit::new(near, Duration::from_secs(60));
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        near.write_all(&[7; 64]).await.unwrap();
        near.flush().await.unwrap();
        assert!(near.late.is_none(), "the next answer has its own");
        near.shutdown().await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), 64);
    }
}
