//! Pingora's hooks, in the order in which a request comes to them. Each only delegates.
//!
//! What happens to a request is decided in `proxy`; the rooms beside this file take it from Pingora's types and back,
//! write and wait. Hooks that wait for nothing return futures of no size, which cost no allocation.

mod authorities;
mod body;
mod clock;
mod clocked;
mod connector;
mod departure;
mod exchange;
mod failure;
mod fields;
mod finish;
mod flow_control;
mod http10;
mod http_proxy;
mod lenient;
mod open_end;
mod outbound;
mod peer;
mod ready;
mod request;
mod response;
mod server;
mod timed_session;
mod tunnel;
mod upstream;
mod windows;

use std::os::fd::RawFd;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::mpsc;

use self::exchange::Exchange;
pub(crate) use self::flow_control::FlowControlCounts;
pub(crate) use self::outbound::Outbound;
use self::ready::{Hook, hook, ready};
pub use self::server::Engine;
use self::upstream::{Means, Next};
use crate::proxy::Proxy;
use crate::proxy::request::Decision;

/// The proxy as Pingora calls it.
struct PingoraHooks {
    proxy: Proxy,
    means: Means,
}

// === impl PingoraHooks ===

impl PingoraHooks {
    fn new(proxy: Proxy) -> Self {
        Self { proxy, means: Means::new() }
    }
}

impl ProxyHttp for PingoraHooks {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.proxy.begin())
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    hook! { fn early_request_filter(&self, session: &mut Session, cx: &mut Exchange) -> Result<()> {
        request::begin(session, cx);
        ready(Ok(()))
    }}

    hook! { fn request_filter(&self, session: &mut Session, cx: &mut Exchange) -> Result<bool> {
        if cx.owes_end {
            return Box::pin(request::take_at_end(session, cx));
        }
        match request::decide(session, cx) {
            Decision::Forward => ready::on(),
            decision => Box::pin(request::carry_out(decision, session, cx)),
        }
    }}

    hook! { fn proxy_upstream_filter(&self, _session: &mut Session, _cx: &mut Exchange) -> Result<bool> {
        ready::yes()
    }}

    hook! { fn upstream_peer(&self, session: &mut Session, cx: &mut Exchange) -> Result<Box<HttpPeer>> {
        match upstream::next(cx) {
            Next::Picked(picked) => Box::pin(std::future::ready(upstream::peer(picked, &self.means, session, cx))),
            Next::Wait(limit) => Box::pin(upstream::wait(limit, &self.means, session, cx)),
        }
    }}

    fn fail_to_connect(&self, _: &mut Session, peer: &HttpPeer, cx: &mut Exchange, error: Box<Error>) -> Box<Error> {
        upstream::not_connected(error, peer, &self.means, cx)
    }

    hook! { fn connected_to_upstream(
        &self, _session: &mut Session, is_reused: bool, _peer: &HttpPeer, _fd: RawFd, digest: Option<&Digest>,
        cx: &mut Exchange
    ) -> Result<()> {
        upstream::connected(is_reused, digest, cx);
        ready(Ok(()))
    }}

    hook! { fn upstream_request_filter(
        &self, session: &mut Session, request: &mut RequestHeader, cx: &mut Exchange
    ) -> Result<()> {
        let made = upstream::request(session, request, cx);
        if made.is_ok() {
            clocked::put_on(session, cx);
        }
        ready(made)
    }}

    hook! { fn custom_forwarding(
        &self, _session: &mut Session, cx: &mut Exchange, _to_upstream: Option<mpsc::Sender<Bytes>>,
        to_client: mpsc::Sender<Bytes>
    ) -> Result<()> {
        clocked::begin(to_client, cx);
        ready(Ok(()))
    }}

    hook! { fn request_body_filter(
        &self, session: &mut Session, body: &mut Option<Bytes>, is_last: bool, cx: &mut Exchange
    ) -> Result<()> {
        // No piece is the end too: before trailers the engine does not know yet that it is.
        let is_last = is_last || body.is_none();
        match body::on_request(session, body, is_last, cx) {
            Ok(Some(index)) => Box::pin(body::wait_request(index, body, is_last, cx)),
            shown => ready(shown.map(|_| ())),
        }
    }}

    hook! { fn upstream_response_filter(
        &self, session: &mut Session, head: &mut ResponseHeader, cx: &mut Exchange
    ) -> Result<()> {
        match response::on_upstream(session, head, cx) {
            Ok(Some(asked)) => Box::pin(response::wait_upstream(asked, session, head, cx)),
            passed => ready(passed.map(|_| ())),
        }
    }}

    hook! { fn response_filter(
        &self, _session: &mut Session, _head: &mut ResponseHeader, _cx: &mut Exchange
    ) -> Result<()> {
        ready(Ok(()))
    }}

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        cx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        body::on_response(body, is_last, cx).map(|()| None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        cx: &mut Exchange,
        is_reused: bool,
    ) -> Box<Error> {
        clocked::take_off(session, cx);
        upstream::lost(session, error, is_reused, cx)
    }

    hook! { fn fail_to_proxy(&self, session: &mut Session, error: &Error, cx: &mut Exchange) -> FailToProxy {
        Box::pin(finish::fail(session, error, cx))
    }}

    fn suppress_error_log(&self, session: &Session, cx: &Exchange, error: &Error) -> bool {
        finish::is_noise(session, error, cx)
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Exchange, _: &Error, _: ProxyWarnLogContext) -> bool {
        // Every try stands in the access log with its outcome.
        true
    }

    hook! { fn logging(&self, session: &mut Session, error: Option<&Error>, cx: &mut Exchange) -> () {
        clocked::take_off(session, cx);
        finish::record(session, error, cx, self.proxy.recorder());
        ready::unit()
    }}
}

#[cfg(test)]
mod tests;
