//! The stream that the engine reads and writes, with the deadlines that the engine itself does not have.
//!
//! Pingora bounds single reads at best; this bounds a whole request head, the idle time of a kept connection, the rate
//! of a body and a response that is not read. Timers are polled only when the client makes us wait.

mod preface;
mod unsent;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{GetProxyDigest, IO, Peek, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::deadline::{ReadClock, Timer, Waits};
use super::early::{self, Early};
use super::head::Excess;
use super::linger::Linger;
use super::metrics::{ListenerMetrics, add_one};
use super::pooled_buffer::PooledBuffer;
use crate::connection::{ConnectionInfo, Phase, Protocol, TimedOut, delegate};
use preface::PREFACE;

/// What a client gets whose request head did not arrive in time (RFC 9110, section 15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";

/// What a client gets whose request head is larger than allowed (RFC 6585, section 5),
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
/// or whose request target is (RFC 9110, section 15.5.15).
const TOO_LONG: &[u8] =
    b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";

/// Bytes that are read at once for a request's head.
const FIRST: usize = 16 * 1024;

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
    /// Whether something was written that may not have left.
    has_unsent: bool,
    /// Whether the first bytes tell what is spoken.
    is_telling: bool,
    /// Bytes of what came first that the clock knows of.
    told: usize,
    /// What came first after a time in which nobody waited but us.
    first: PooledBuffer,
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
            has_unsent: false,
            is_telling: false,
            told: 0,
            first: PooledBuffer::default(),
            given: 0,
        })
    }

    /// Whether the first bytes tell what is spoken on it.
    pub(super) fn telling_protocol(mut self, is_telling: bool) -> Self {
        self.is_telling = is_telling;
        self
    }

    /// Its facts.
    pub(super) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    /// The waits of its client.
    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Ready when the client has sent something that nobody has read, or false: it has closed. Takes no memory until
    /// then. Whoever is given the stream meanwhile waits as well, but holds more.
    ///
    /// # Errors
    /// The client missed its deadline, or the connection broke.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.forget_request();
        if self.is_telling {
            return self.poll_opening(cx);
        }
        if self.given > 0 || !self.first.is_empty() || !self.ahead.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.poll_more(cx).map_ok(|count| count > 0)
    }

    /// Reads what comes first, behind what has come already; 0: the client has closed.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.first.poll_fill(&mut self.inner, FIRST, cx) {
            Poll::Pending => self.wait_for_bytes(cx).map_ok(|()| 0),
            read => read,
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

    /// Reads from the client. Whoever waits for one has nothing to say meanwhile, so what was written leaves.
    fn poll_client(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => {
                self.send_unsent(cx)?;
                self.wait_for_bytes(cx)
            }
            read => read,
        }
    }

    /// What reading gives when no byte is there: nothing yet, or the end of the client's time.
    fn wait_for_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(due) = self.info.answer_due() {
            return self.wait_for_answer(due.into(), cx);
        }
        let Some((deadline, reason)) = self.clock.deadline(&self.info, &self.waits, Instant::now) else {
            return Poll::Pending;
        };
        std::task::ready!(self.read_timer.poll(deadline, cx));
        if reason == TimedOut::Header && self.clock.has_partial_head(&self.info) {
            self.answer(REQUEST_TIMEOUT, cx);
        }
        Poll::Ready(Err(self.missed(reason)))
    }

    /// Tells the client why, if it takes so few bytes at once.
    fn answer(&mut self, answer: &[u8], cx: &mut Context<'_>) {
        let dressed = self.early.dress(answer);
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.inner).poll_write(cx, &dressed) {
            self.early.written(answer, &self.info, &self.clock);
            let _best_effort = Pin::new(&mut self.inner).poll_flush(cx);
        }
    }

    /// Refuses a request head before all of it is read.
    fn refuse_head(&mut self, excess: Excess, cx: &mut Context<'_>) -> io::Error {
        let answer = match excess {
            Excess::Target => TOO_LONG,
            Excess::Fields => TOO_LARGE,
        };
        self.answer(answer, cx);
        self.linger.shorten();
        io::Error::new(io::ErrorKind::InvalidData, "request head over its limit")
    }

    /// Reads while the head of an upstream's answer is awaited: nobody wants bytes, only the client's end.
    ///
    /// What comes is kept, because the engine would look no more after the first byte of a next request.
    fn read_for_nobody(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        // The engine's buffer is as good as any for what nearly always is nothing.
        let has_room = !self.ahead.is_full();
        if has_room && Pin::new(&mut self.inner).poll_read(cx, buf)?.is_ready() {
            let came = buf.filled().get(before..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.keep(came);
            buf.set_filled(before);
            if let Poll::Ready(ended) = self.ahead.poll_end(&mut self.inner, cx) {
                return Poll::Ready(ended);
            }
        }
        self.send_unsent(cx)?;
        self.wait_for_bytes(cx)
    }

    /// What waiting for an upstream's answer gives: nothing yet, or the end of its time.
    fn wait_for_answer(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.read_timer.poll(due, cx));
        self.info.note_overdue_answer();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no whole head of an answer")))
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
        if this.info.answer_due().is_some() {
            return this.read_for_nobody(cx, buf);
        }
        if buf.remaining() == 1 && this.info.progress().phase() == Phase::Request {
            return this.poll_probe(cx, buf);
        }
        if this.told == 0
            && let Some(excess) = this.clock.excess(&this.info, &this.waits.head_bytes)
        {
            return Poll::Ready(Err(this.refuse_head(excess, cx)));
        }
        let before = buf.filled().len();
        if !this.first.give(buf) && !this.ahead.give(buf) {
            std::task::ready!(this.poll_client(cx, buf))?;
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        this.given = this.given.saturating_add(came.len() as u64);
        let told = this.told.min(came.len());
        this.told -= told;
        this.clock.bytes_came(&this.info, came.get(told..).unwrap_or_default(), Instant::now);
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let has_too_many = this.clock.has_too_many_lines(&this.info);
        let instead = has_too_many.then_some(TOO_LARGE).filter(|_| early::is_bad_request(buf));
        let said = instead.unwrap_or(buf);
        let written = this.early.poll_write(&mut this.inner, cx, said, &this.info);
        if let Poll::Ready(Ok(_)) = written {
            this.early.written(said, &this.info, &this.clock);
        }
        let written = written.map_ok(|count| instead.map_or(count, |_| buf.len()));
        this.has_unsent = true;
        self.watch_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.has_unsent = true;
        self.watch_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.has_unsent &= flushed.is_pending();
        self.watch_write(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.linger.has_begun() {
            let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
            std::task::ready!(self.watch_write(closed, cx))?;
        }
        let this = &mut *self;
        // HTTP/2 says GOAWAY, and knows when nobody has anything to say any more.
        match this.info.protocol() {
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
        // The engine looks for the preface, which was looked for before.
        if self.info.protocol() == Protocol::Http2 && buf.len() == PREFACE.len() {
            buf.copy_from_slice(PREFACE);
        }
        Ok(true)
    }
}

delegate!([S] Guarded<S>);

impl<S> GetProxyDigest for Guarded<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}
