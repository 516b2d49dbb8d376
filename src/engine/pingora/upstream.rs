//! A try at an endpoint: Pingora's peer for it, and what Pingora tells of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header;
use pingora::http::RequestHeader;
use pingora::protocols::Digest;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora::{Error, Result};
use pingora_proxy::Session;

use super::authorities::Authorities;
use super::exchange::Exchange;
use super::fields::edit_request;
use super::lenient::Lenient;
use super::{clock, connector, failure, peer, tunnel, windows};
use crate::proxy::retry::{Lost, Refusal};
pub(super) use crate::proxy::upstream::Next;
use crate::proxy::upstream::{self, Aim};
use crate::reason::Reason;

/// What TLS to endpoints is made with.
pub(super) struct Means {
    authorities: Authorities,
    lenient: Lenient,
    told: Seldom,
}

/// Lets something be told once a second at most.
struct Seldom {
    start: Instant,
    last: AtomicU64,
}

// === impl Means ===

impl Means {
    pub(super) fn new() -> Self {
        let told = Seldom { start: Instant::now(), last: AtomicU64::new(0) };
        Self { authorities: Authorities::default(), lenient: Lenient::new(), told }
    }
}

// === impl Seldom ===

impl Seldom {
    fn may_tell(&self) -> bool {
        let second = self.start.elapsed().as_secs() + 1;
        self.last.fetch_max(second, Ordering::Relaxed) < second
    }
}

/// What comes before a try.
pub(super) fn next(cx: &mut Exchange) -> Next {
    upstream::next(&mut cx.request)
}

/// Waits for other endpoints, and makes the peer of the one that is picked then.
///
/// # Errors
/// As for [`peer`].
pub(super) async fn wait(
    limit: Duration,
    means: &Means,
    session: &Session,
    cx: &mut Exchange,
) -> Result<Box<HttpPeer>> {
    let picked = upstream::wait(limit, &mut cx.request.upstream).await;
    peer(picked, means, session, cx)
}

/// Makes the peer of the picked endpoint.
///
/// # Errors
/// There is none, or none that could be verified; the reason is in the context.
pub(super) fn peer(
    picked: Result<(), Reason>,
    means: &Means,
    session: &Session,
    cx: &mut Exchange,
) -> Result<Box<HttpPeer>> {
    let aim = upstream::aim(picked, &mut cx.request).map_err(failure::ended)?;
    let mut peer = peer::plain(&aim, cx.request.known.may_fill_socket);
    if cx.request.upstream.is_h2 {
        windows::set_upstream(&mut peer, &cx.request.snapshot.edge);
    } else if session.is_http2() {
        connector::set(&mut peer);
    }
    if cx.request.known.is_upgrade {
        tunnel::set(&mut peer);
    }
    if cx.request.known.has_body {
        watch(&mut peer, &aim, session, cx);
    }
    if let Err(reason) = set_tls(&mut peer, &aim, means, session, cx) {
        cx.request.reason = Some(reason);
        return Err(failure::ended(reason));
    }
    Ok(Box::new(peer))
}

/// A client that pauses is none of the endpoint's business.
fn watch(peer: &mut HttpPeer, aim: &Aim, session: &Session, cx: &mut Exchange) {
    let body_timeout = cx.request.snapshot.edge.limits.body_timeout.0;
    let watch = clock::watch(&aim.policy.timeouts, body_timeout, session.is_http2(), cx.request.upstream.is_h2);
    // A client that waits for 100 is watched for what it is told.
    cx.has_clock = watch.has_clock || session.req_header().headers.contains_key(header::EXPECT);
    peer.options.read_timeout = watch.read_timeout;
}

fn set_tls(peer: &mut HttpPeer, aim: &Aim, means: &Means, session: &Session, cx: &Exchange) -> Result<(), Reason> {
    let Some(tls) = aim.tls(cx.request.known.host(&session.req_header().headers))? else { return Ok(()) };
    peer::set_tls(peer, &tls, &means.authorities)?;
    if !tls.is_verified {
        means.lenient.set(peer, aim.address, cx.request.upstream.is_h2);
    }
    Ok(())
}

/// Notes a connection's making.
pub(super) fn connected(is_reused: bool, digest: Option<&Digest>, cx: &mut Exchange) {
    if let (Some(flow), Some(client)) = (digest.and_then(connector::flow_control), &cx.request.known.connection) {
        cx.flow = Some(flow.hold(client.clone(), cx.request.snapshot.edge.limits.h2_response_buffer.0));
    }
    if is_reused {
        return cx.request.upstream.reused();
    }
    let layers = digest.map(|digest| digest.timing_digest.iter().flatten());
    let took = layers.map(|layers| layers.filter_map(|layer| layer.establishment_duration).sum::<Duration>());
    cx.request.upstream.connected(took.filter(|took| !took.is_zero()));
}

/// A try found no connection.
pub(super) fn not_connected(mut error: Box<Error>, peer: &HttpPeer, means: &Means, cx: &mut Exchange) -> Box<Error> {
    let reason = failure::connecting(&error);
    let mut refusal = failure::refusal(&error);
    if let Some(address) = failure::unverified(reason, peer).filter(|address| means.lenient.remember(*address)) {
        tracing::debug!(endpoint = %address, %error, "TLS by other means");
        refusal = Some(Refusal::Connection);
    } else if failure::is_of_tls(reason) && means.told.may_tell() {
        tracing::warn!(endpoint = %peer.address(), reason = reason.as_str(), %error, "TLS to an endpoint failed");
    }
    error.set_retry(upstream::not_connected(reason, refusal, &mut cx.request));
    error
}

/// A try was lost on its connection.
pub(super) fn lost(session: &Session, mut error: Box<Error>, is_reused: bool, cx: &mut Exchange) -> Box<Error> {
    let lost = Lost {
        method: &session.req_header().method,
        reason: failure::reason(session, &error, &cx.request),
        refusal: failure::refusal(&error),
        is_reused,
        is_answered: session.response_written().is_some(),
        has_whole_body: !session.retry_buffer_truncated(),
    };
    error.set_retry(upstream::lost(lost, &mut cx.request));
    error
}

/// Makes the request that the endpoint gets.
///
/// # Errors
/// A plugin failed: nothing has been sent yet, and nothing is.
pub(super) fn request(session: &Session, request: &mut RequestHeader, cx: &mut Exchange) -> Result<()> {
    let keeps_case = cx.request.snapshot.edge.headers.preserve_case;
    let edited = edit_request(request, keeps_case, |head| upstream::edit(session.req_header(), head, &mut cx.request));
    edited.map_err(failure::ended)
}
