//! The stream that the engine reads and writes, with the deadlines that the engine itself does not have.
//!
//! Pingora bounds single reads at best; this bounds a whole request head, the idle time of a kept connection, the rate
//! of a body and a response that is not read. Timers are polled only when the client makes us wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::deadline::{ReadClock, Timer, Waits};
use super::early::Early;
use super::lent::Lent;
use super::linger::Linger;
use super::metrics::{ListenerMetrics, add_one};
use crate::connection::{ConnectionInfo, Protocol, TimedOut};

/// What a client gets whose request head did not arrive in time (RFC 9110, section 15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";

/// A stream whose client is held to its deadlines.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    info: Arc<ConnectionInfo>,
    digest: Arc<ProxyDigest>,
    metrics: Arc<ListenerMetrics>,
    waits: Waits,
    clock: ReadClock,
    read_timer: Timer,
    write_timer: Timer,
    /// Since when writing makes no progress.
    stalled_since: Option<Instant>,
    linger: Linger,
    early: Early,
    ahead: Ahead,
    /// What came first after a time in which nobody waited but us.
    first: Lent,
    /// Bytes that were given on, but for those of requests that are done.
    given: u64,
}

// === impl Guarded ===

impl<S: IO> Guarded<S> {
    /// Guards a stream; the facts become visible in its digest.
    ///
    /// # Errors
    /// None in practice: the digest wants a response head, whose making can fail for bad status codes only.
    pub(super) fn new(
        inner: S,
        info: Arc<ConnectionInfo>,
        metrics: Arc<ListenerMetrics>,
        waits: Waits,
        early: Early,
    ) -> pingora::Result<Self> {
        let response = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(response, Some(Box::new(info.clone()))));
        let clock = ReadClock::new(&info, Instant::now());
        let (read_timer, write_timer) = (Timer::default(), Timer::default());
        Ok(Self {
            inner,
            info,
            digest,
            metrics,
            waits,
            clock,
            read_timer,
            write_timer,
            stalled_since: None,
            linger: Linger::default(),
            early,
            ahead: Ahead::default(),
            first: Lent::default(),
            given: 0,
        })
    }

    /// What is spoken on it.
    pub(super) fn protocol(&self) -> Protocol {
        self.info.protocol
    }

    /// Ready when the client has sent something that nobody has read, or false: it has closed. Takes no memory until
    /// then. Whoever is given the stream meanwhile waits as well, but holds more.
    ///
    /// # Errors
    /// The client missed its deadline, or the connection broke.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.forget_request();
        if self.given > 0 || !self.first.is_empty() || !self.ahead.is_empty() {
            return Poll::Ready(Ok(true));
        }
        match self.first.poll_fill(&mut self.inner, cx) {
            Poll::Pending => self.wait_for_bytes(cx).map_ok(|()| false),
            read => read.map_ok(|count| count > 0),
        }
    }

    /// Leaves of what was given on what belongs to no request that is done: the beginning of the next. Where that cannot
    /// be told any more, it is taken for granted.
    fn forget_request(&mut self) {
        if self.given > 0 {
            let rest = self.info.take_request_len().and_then(|bytes| self.given.checked_sub(bytes));
            self.given = rest.unwrap_or(u64::MAX);
        }
    }

    fn poll_peek(&mut self, buf: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(there) = self.first.rest().get(..buf.len()) {
                buf.copy_from_slice(there);
                return Poll::Ready(Ok(true));
            }
            if std::task::ready!(self.first.poll_fill(&mut self.inner, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What reading gives when no byte is there: nothing yet, or the end of the client's time.
    fn wait_for_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((deadline, reason)) = self.clock.deadline(&self.info, &self.waits, Instant::now) else {
            return Poll::Pending;
        };
        std::task::ready!(self.read_timer.poll(deadline, cx));
        if reason == TimedOut::Header && self.clock.has_partial_head(&self.info) {
            self.answer_request_timeout(cx);
        }
        Poll::Ready(Err(self.missed(reason)))
    }

    /// Tells the client why, if it takes so few bytes at once.
    fn answer_request_timeout(&mut self, cx: &mut Context<'_>) {
        let answer = self.early.dress(REQUEST_TIMEOUT);
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.inner).poll_write(cx, &answer) {
            self.early.written(REQUEST_TIMEOUT, &self.info, &self.clock);
            let _best_effort = Pin::new(&mut self.inner).poll_flush(cx);
        }
    }

    /// Passes on what writing gave, unless it has stalled for too long.
    fn watch_write<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled_since = None;
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        std::task::ready!(self.write_timer.poll(since + self.waits.write, cx));
        Poll::Ready(Err(self.missed(TimedOut::Write)))
    }

    fn missed(&self, reason: TimedOut) -> io::Error {
        if self.info.timed_out().is_none() {
            self.metrics.count_timeout(reason);
            tracing::debug!(
                listener = %self.info.listener, client = %self.info.peer, reason = reason.as_str(),
                "client missed a deadline"
            );
        }
        self.info.note_timeout(reason);
        io::Error::new(io::ErrorKind::TimedOut, reason.as_str())
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        if self.clock.has_partial_head(&self.info) && self.info.timed_out().is_none() {
            add_one(&self.metrics.malformed);
        }
    }
}

impl<S: IO> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.info.is_watched() {
            // No deadline: what the client sends meanwhile is not waited for.
            return this.ahead.poll_end(&mut this.inner, cx);
        }
        let before = buf.filled().len();
        let read = match this.first.give(buf) || this.ahead.give(buf) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut this.inner).poll_read(cx, buf),
        };
        match read {
            Poll::Ready(Ok(())) => {
                let came = buf.filled().get(before..).unwrap_or_default();
                this.given = this.given.saturating_add(came.len() as u64);
                this.clock.bytes_came(&this.info, came, Instant::now);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this.wait_for_bytes(cx),
            failed => failed,
        }
    }
}

impl<S: IO> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = this.early.poll_write(&mut this.inner, cx, buf, &this.info);
        if let Poll::Ready(Ok(_)) = written {
            this.early.written(buf, &this.info, &this.clock);
        }
        self.watch_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch_write(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.linger.has_begun() {
            let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
            std::task::ready!(self.watch_write(closed, cx))?;
        }
        let this = &mut *self;
        // HTTP/2 says GOAWAY, and knows when nobody has anything to say any more.
        match this.info.protocol {
            Protocol::Http1 => this.linger.poll(&mut this.inner, cx).map(Ok),
            Protocol::Http2 => Poll::Ready(Ok(())),
        }
    }
}

#[async_trait]
impl<S: IO> Shutdown for Guarded<S> {
    async fn shutdown(&mut self) {
        // Through our own writing, so that a client that reads nothing cannot hold the connection here.
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::debug!(client = %self.info.peer, %error, "connection was not closed cleanly");
        }
    }
}

#[async_trait]
impl<S: IO> Peek for Guarded<S> {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let wait = self.waits.header;
        let peeks = std::future::poll_fn(|cx| self.poll_peek(buf, cx));
        let waited = tokio::time::timeout(wait, peeks).await;
        waited.unwrap_or_else(|_elapsed| Err(self.missed(TimedOut::Header)))
    }
}

impl<S: IO> UniqueID for Guarded<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: IO> Ssl for Guarded<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: IO> GetTimingDigest for Guarded<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl<S> GetProxyDigest for Guarded<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl<S: IO> GetSocketDigest for Guarded<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.inner.set_socket_digest(socket_digest);
    }
}
