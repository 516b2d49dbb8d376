//! A client's session while its request is exchanged with an endpoint: one with a body, or one of HTTP/2 without, whose
//! answer's head is awaited.
//!
//! It passes everything on to the engine's own session, and tells whose turn it is by what the engine asks of it. It is
//! put on when the endpoint's request is made, and taken off before anybody else looks at the session again.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::clock::{Bell, Clock};
use super::exchange::Exchange;
use super::timed_session::{Returned, TimedSession};
use crate::connection::Protocol;
use crate::proxy::expect::Expectation;
use crate::proxy::pace::Pace;

/// A session whose turns are timed.
struct Clocked {
    inner: ServerSession,
    watch: Watching,
    /// Whether the answer's head was not there in time.
    is_overdue: bool,
    /// Where the inner session goes at the end.
    home: Option<oneshot::Sender<Returned>>,
}

/// What is watched.
enum Watching {
    /// Turns, the pace of the client, and whether it holds its body back.
    Turns(Arc<Clock>, Pace, Expectation),
    /// That the answer's head is there by then. The guard of an HTTP/1 connection sees to that itself.
    Head(Instant),
}

/// Times the exchange that begins, where the engine and the front do not.
pub(super) fn put_on(session: &mut Session, cx: &mut Exchange) {
    if cx.timed.is_some() {
        return;
    }
    let Some((clock, watch)) = watching(session, cx) else { return };
    let (home, back) = oneshot::channel();
    cx.timed = Some(TimedSession { clock, home: back });
    let plain = take(&mut session.downstream_session);
    let clocked = Clocked { inner: plain, watch, is_overdue: false, home: Some(home) };
    *session.downstream_session = ServerSession::Custom(Box::new(clocked));
}

fn watching(session: &Session, cx: &Exchange) -> Option<(Option<Arc<Clock>>, Watching)> {
    let timeouts = &cx.request.route.as_ref()?.policy.timeouts;
    if cx.has_clock {
        let protocol = if session.is_http2() { Protocol::Http2 } else { Protocol::Http1 };
        let clock = Clock::new(timeouts);
        let pace = Pace::new(cx.request.snapshot.edge.limits.body_timeout.0, protocol);
        let expectation = Expectation::of(&session.req_header().headers);
        return Some((Some(clock.clone()), Watching::Turns(clock, pace, expectation)));
    }
    // An endpoint of HTTP/2 has one wait for its whole head, which is the engine's.
    let is_unwatched = session.is_http2() && !cx.request.upstream.is_h2;
    let due = cx.request.upstream.sent.filter(|_| is_unwatched)?.checked_add(timeouts.response_header)?;
    Some((None, Watching::Head(due.into())))
}

/// The engine is ready for the clock's messages.
pub(super) fn begin(rope: mpsc::Sender<Bytes>, cx: &Exchange) {
    if let Some(clock) = cx.timed.as_ref().and_then(|timed| timed.clock.as_ref()) {
        clock.begin(rope);
    }
}

/// The answer's head is there: nothing else is watched where only that was.
pub(super) fn head_arrived(session: &mut Session, cx: &mut Exchange) {
    if cx.timed.as_ref().is_some_and(|timed| timed.clock.is_none()) {
        take_off(session, cx);
    }
}

/// The exchange is over: gives the session back as it was.
pub(super) fn take_off(session: &mut Session, cx: &mut Exchange) {
    let Some(mut timed) = cx.timed.take() else { return };
    drop(take(&mut session.downstream_session));
    // Whatever is dropped sends its inner session.
    if let Ok(home) = timed.home.try_recv() {
        *session.downstream_session = home.session;
        cx.request.upstream.is_overdue |= home.is_overdue;
    }
}

/// Leaves what takes no memory in its place.
fn take(session: &mut ServerSession) -> ServerSession {
    mem::replace(session, ServerSession::Custom(Box::new(())))
}

// === impl Clocked ===

impl Clocked {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let Watching::Turns(clock, pace, expectation) = &mut self.watch else {
            return self.inner.read_body_or_idle(false).await;
        };
        clock.client_owes();
        let is_answered = self.inner.response_written().is_some_and(|head| !head.status.is_informational());
        let deadline = pace.deadline(is_answered, Instant::now());
        let Ok(read) = timeout_at(deadline, self.inner.read_body_or_idle(false)).await else {
            return Err(Error::explain(ErrorType::ReadTimedout, "the client owes its body").into_down());
        };
        let now = Instant::now();
        let bytes = read.as_ref().map_or(0, |read| read.as_ref().map_or(0, Bytes::len));
        clock.piece_came(now);
        pace.came(bytes, now);
        expectation.came(bytes);
        read
    }

    /// Whether the client, which held its body back, has a final answer: no body is coming.
    fn is_expectation_answered(&self) -> bool {
        matches!(&self.watch, Watching::Turns(_, _, expectation) if expectation.is_answered())
    }

    /// Waits for the client's end, while the endpoint owes its answer.
    async fn idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let idle = self.inner.read_body_or_idle(no_body_expected);
        match &self.watch {
            Watching::Turns(clock, ..) => {
                clock.answer_is_due();
                idle.await
            }
            Watching::Head(due) => match timeout_at(*due, idle).await {
                Ok(read) => read,
                Err(_) => {
                    self.is_overdue = true;
                    Err(Error::explain(ErrorType::ReadTimedout, "the endpoint owes the head of its answer").into_up())
                }
            },
        }
    }
}

impl Drop for Clocked {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let (session, is_overdue) = (take(&mut self.inner), self.is_overdue);
            // Nobody there: the request is dropped, and its session with it.
            let _ = home.send(Returned { session, is_overdue });
        }
    }
}

#[async_trait]
impl CustomSession for Clocked {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && self.is_expectation_answered() {
            return Ok(None);
        }
        if no_body_expected || self.inner.is_body_done() {
            return self.idle(no_body_expected).await;
        }
        self.read_body().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let Watching::Turns(clock, pace, expectation) = &mut self.watch else {
            return self.inner.response_duplex_vec(tasks).await;
        };
        // A client that is slow to take the answer is not slow to send.
        pace.stop(Instant::now());
        for task in &tasks {
            if let HttpTask::Header(head, _) = task {
                expectation.sends(head.status);
            }
        }
        let is_complete = self.inner.response_duplex_vec(tasks).await?;
        if is_complete {
            expectation.answered();
        }
        clock.answered(is_complete);
        pace.answered();
        Ok(is_complete)
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        match &self.watch {
            Watching::Turns(clock, ..) => Some(Box::new(Bell::new(clock.clone()))),
            Watching::Head(_) => None,
        }
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync>> {
        Some(Box::new(futures::stream::empty()))
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync>,
    ) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    // What follows is passed on as it is.

    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.inner.read_request_body().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, is_end: bool) -> Result<()> {
        self.inner.response_duplex_vec(vec![HttpTask::Header(head, is_end)]).await.map(drop)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, is_end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), is_end).await
    }

    async fn write_body(&mut self, data: Bytes, is_end: bool) -> Result<()> {
        self.inner.write_response_body(data, is_end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_response_trailers(trailers).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.inner.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        self.is_expectation_answered() || self.inner.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.inner.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {
        self.inner.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.inner.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.inner.get_retry_buffer()
    }

    fn is_upgrade_req(&self) -> bool {
        self.inner.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.inner.was_upgraded()
    }
}
