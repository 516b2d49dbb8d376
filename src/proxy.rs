//! What happens to a request, in the order in which it happens.
//!
//! `begin` (guard) → `decide` (route, plugins) → `peer` (endpoint) → upstream → answer → `record`. Every hook of the
//! engine only delegates. Hooks that wait for nothing return futures of no size, which cost no allocation.
//! It must not know Kubernetes, the model or how the snapshot was compiled.

mod authorities;
mod body;
pub(crate) mod canonical;
mod clock;
mod clocked;
mod connector;
pub(crate) mod context;
mod departure;
mod engine;
mod expect;
mod failure;
mod fields;
mod finish;
mod flow_control;
#[doc(hidden)]
pub(crate) mod forwarded;
#[doc(hidden)]
pub mod guard;
mod host;
mod http10;
mod http_proxy;
mod length;
mod lenient;
mod open_end;
mod outbound;
mod pace;
mod peer;
mod ready;
pub(crate) mod redirect;
mod reply;
mod request;
mod request_id;
mod response;
mod timed_session;
mod tunnel;
mod upstream;
mod windows;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::mpsc;

use self::authorities::Authorities;
use self::context::Context;
pub use self::engine::Engine;
pub(crate) use self::flow_control::FlowControlCounts;
pub(crate) use self::outbound::Outbound;
use self::ready::{Hook, ready};
use self::request::Decision;
use self::upstream::Next;
use crate::pressure::Memory;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::pipeline::Passage;
use crate::telemetry::record::Recorder;

/// Serves requests from the snapshot of the moment.
pub struct Proxy {
    snapshot: Arc<ArcSwap<Snapshot>>,
    recorder: Arc<dyn Recorder>,
    memory: Arc<Memory>,
    means: upstream::Means,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy that reads that snapshot and records there.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, recorder: Arc<dyn Recorder>) -> Self {
        let (authorities, lenient) = (Authorities::default(), lenient::Lenient::new());
        let means = upstream::Means { authorities, lenient, told: upstream::Seldom::new() };
        Self { snapshot, recorder, memory: Arc::default(), means }
    }

    /// Refuses new requests while that memory is nearly used up.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// Waits or answers, as was decided.
    async fn carry_out(&self, decision: Decision, session: &mut Session, cx: &mut Context) -> Result<bool> {
        let decision = match decision {
            Decision::Wait(index) => request::wait(index, session, cx).await,
            other => other,
        };
        match decision {
            Decision::Reply(answer) => response::send(session, answer, cx).await.map(|()| true),
            Decision::Leave => {
                cx.reason = Some(Reason::ClientClosed);
                Err(Error::explain(ErrorType::ConnectionClosed, "the client has gone").into_down())
            }
            Decision::Forward | Decision::Wait(_) => Ok(false),
        }
    }
}

impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let passage = if self.recorder.is_timing() { Passage::timed() } else { Passage::untimed() };
        let mut cx = Context::new(self.snapshot.load_full(), passage);
        cx.refusal = self.memory.refuses_request().then_some(Reason::Overload);
        cx
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn early_request_filter<'s, 'b, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'c: 'f,
    {
        request::begin(session, cx);
        ready(Ok(()))
    }

    fn request_filter<'s, 'b, 'c, 'f>(&'s self, session: &'b mut Session, cx: &'c mut Context) -> Hook<'f, Result<bool>>
    where
        's: 'f,
        'b: 'f,
        'c: 'f,
    {
        if cx.known.owes_end {
            return Box::pin(async move {
                let decision = request::decide_at_end(session, cx).await;
                self.carry_out(decision, session, cx).await
            });
        }
        match request::decide(session, cx) {
            Decision::Forward => ready::on(),
            decision => Box::pin(self.carry_out(decision, session, cx)),
        }
    }

    fn upstream_peer<'s, 'b, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<Box<HttpPeer>>>
    where
        's: 'f,
        'b: 'f,
        'c: 'f,
    {
        match upstream::next(cx) {
            Next::Picked(picked) => Box::pin(std::future::ready(upstream::peer(picked, &self.means, session, cx))),
            Next::Wait(limit) => Box::pin(async move {
                let picked = upstream::wait(limit, &mut cx.upstream).await;
                upstream::peer(picked, &self.means, session, cx)
            }),
        }
    }

    fn connected_to_upstream<'s, 'b, 'p, 'd, 'c, 'f>(
        &'s self,
        _session: &'b mut Session,
        is_reused: bool,
        _peer: &'p HttpPeer,
        _fd: RawFd,
        digest: Option<&'d Digest>,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'p: 'f,
        'd: 'f,
        'c: 'f,
    {
        upstream::connected(is_reused, digest, cx);
        ready(Ok(()))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        cx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        upstream::not_connected(error, peer, &self.means, cx)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        cx: &mut Context,
        is_reused: bool,
    ) -> Box<Error> {
        clocked::take_off(session, cx);
        upstream::lost(session, error, is_reused, cx)
    }

    fn upstream_request_filter<'s, 'b, 'r, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        request: &'r mut RequestHeader,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'r: 'f,
        'c: 'f,
    {
        let made = upstream::request(session, request, cx);
        if made.is_ok() {
            clocked::put_on(session, cx);
        }
        ready(made)
    }

    fn custom_forwarding<'s, 'b, 'c, 'f>(
        &'s self,
        _session: &'b mut Session,
        cx: &'c mut Context,
        _to_upstream: Option<mpsc::Sender<Bytes>>,
        to_downstream: mpsc::Sender<Bytes>,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'c: 'f,
    {
        clocked::begin(to_downstream, cx);
        ready(Ok(()))
    }

    fn request_body_filter<'s, 'b, 'd, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        body: &'d mut Option<Bytes>,
        is_last: bool,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'd: 'f,
        'c: 'f,
    {
        match body::on_request(session, body, is_last, cx) {
            Ok(Some(index)) => Box::pin(body::wait_request(index, body, is_last, cx)),
            shown => ready(shown.map(|_| ())),
        }
    }

    fn upstream_response_filter<'s, 'b, 'r, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        head: &'r mut ResponseHeader,
        cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'r: 'f,
        'c: 'f,
    {
        match response::on_upstream(session, head, cx) {
            Ok(Some(asked)) => Box::pin(response::wait_upstream(asked, session, head, cx)),
            shown => ready(shown.map(|_| ())),
        }
    }

    fn response_filter<'s, 'b, 'r, 'c, 'f>(
        &'s self,
        _session: &'b mut Session,
        _head: &'r mut ResponseHeader,
        _cx: &'c mut Context,
    ) -> Hook<'f, Result<()>>
    where
        's: 'f,
        'b: 'f,
        'r: 'f,
        'c: 'f,
    {
        ready(Ok(()))
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        cx: &mut Context,
    ) -> Result<Option<Duration>> {
        body::on_response(body, is_last, cx).map(|()| None)
    }

    fn proxy_upstream_filter<'s, 'b, 'c, 'f>(
        &'s self,
        _session: &'b mut Session,
        _cx: &'c mut Context,
    ) -> Hook<'f, Result<bool>>
    where
        's: 'f,
        'b: 'f,
        'c: 'f,
    {
        ready::yes()
    }

    fn fail_to_proxy<'s, 'b, 'e, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        error: &'e Error,
        cx: &'c mut Context,
    ) -> Hook<'f, FailToProxy>
    where
        's: 'f,
        'b: 'f,
        'e: 'f,
        'c: 'f,
    {
        Box::pin(finish::fail(session, error, cx))
    }

    fn suppress_error_log(&self, session: &Session, cx: &Context, error: &Error) -> bool {
        finish::is_noise(session, error, cx)
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        // Every try stands in the access log with its outcome.
        true
    }

    fn logging<'s, 'b, 'e, 'c, 'f>(
        &'s self,
        session: &'b mut Session,
        error: Option<&'e Error>,
        cx: &'c mut Context,
    ) -> Hook<'f, ()>
    where
        's: 'f,
        'b: 'f,
        'e: 'f,
        'c: 'f,
    {
        clocked::take_off(session, cx);
        finish::record(session, error, cx, &*self.recorder);
        ready::unit()
    }
}

#[cfg(test)]
mod tests;
