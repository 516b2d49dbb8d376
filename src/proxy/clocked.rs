//! A client's session while its request with a body is exchanged with an endpoint.
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
use super::context::Context;
use super::expect::Expectation;
use super::pace::Pace;
use crate::connection::Protocol;

/// A session whose turns are timed.
struct Clocked {
    inner: ServerSession,
    clock: Arc<Clock>,
    pace: Pace,
    expectation: Expectation,
    /// Where the inner session goes at the end.
    home: Option<oneshot::Sender<ServerSession>>,
}

/// What is known of a clocked session from outside.
pub(super) struct Worn {
    clock: Arc<Clock>,
    inner: oneshot::Receiver<ServerSession>,
}

/// Times the exchange that begins, where it has a clock.
pub(super) fn put_on(session: &mut Session, cx: &mut Context) {
    let Some(route) = cx.route.as_ref().filter(|_| cx.upstream.has_clock && cx.worn.is_none()) else { return };
    let protocol = if session.is_http2() { Protocol::Http2 } else { Protocol::Http1 };
    let clock = Clock::new(&route.policy.timeouts);
    let pace = Pace::new(cx.snapshot.edge.body_timeout, protocol);
    let (home, inner) = oneshot::channel();
    cx.worn = Some(Worn { clock: clock.clone(), inner });
    let expectation = Expectation::of(&session.req_header().headers);
    let plain = take(&mut session.downstream_session);
    let clocked = Clocked { inner: plain, clock, pace, expectation, home: Some(home) };
    *session.downstream_session = ServerSession::Custom(Box::new(clocked));
}

/// The engine is ready for the clock's messages.
pub(super) fn begin(rope: mpsc::Sender<Bytes>, cx: &Context) {
    if let Some(worn) = &cx.worn {
        worn.clock.begin(rope);
    }
}

/// The exchange is over: gives the session back as it was.
pub(super) fn take_off(session: &mut Session, cx: &mut Context) {
    let Some(mut worn) = cx.worn.take() else { return };
    drop(take(&mut session.downstream_session));
    // Whatever is dropped sends its inner session.
    if let Ok(inner) = worn.inner.try_recv() {
        *session.downstream_session = inner;
    }
}

/// Leaves what takes no memory in its place.
fn take(session: &mut ServerSession) -> ServerSession {
    mem::replace(session, ServerSession::Custom(Box::new(())))
}

// === impl Clocked ===

impl Clocked {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.clock.client_owes();
        let is_answered = self.inner.response_written().is_some_and(|head| !head.status.is_informational());
        let deadline = self.pace.deadline(is_answered, Instant::now());
        let Ok(read) = timeout_at(deadline, self.inner.read_body_or_idle(false)).await else {
            return Err(Error::explain(ErrorType::ReadTimedout, "the client owes its body").into_down());
        };
        let now = Instant::now();
        let bytes = read.as_ref().map_or(0, |read| read.as_ref().map_or(0, Bytes::len));
        self.clock.piece_came(now);
        self.pace.came(bytes, now);
        self.expectation.came(bytes);
        read
    }
}

impl Drop for Clocked {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Nobody there: the request is dropped, and its session with it.
            let _ = home.send(take(&mut self.inner));
        }
    }
}

#[async_trait]
impl CustomSession for Clocked {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && self.expectation.is_answered() {
            return Ok(None);
        }
        if no_body_expected || self.inner.is_body_done() {
            self.clock.answer_is_due();
            return self.inner.read_body_or_idle(no_body_expected).await;
        }
        self.read_body().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        // A client that is slow to take the answer is not slow to send.
        self.pace.stop(Instant::now());
        self.expectation.sends(&tasks);
        let is_complete = self.inner.response_duplex_vec(tasks).await?;
        if is_complete {
            self.expectation.answered();
        }
        self.clock.answered(is_complete);
        self.pace.answered();
        Ok(is_complete)
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(Bell::new(self.clock.clone())))
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
        self.expectation.is_answered() || self.inner.is_body_done()
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
