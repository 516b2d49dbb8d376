//! From a route to an endpoint, and what the endpoint is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::protocols::Digest;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_plugin::{Headers, Hooks, Target as PluginTarget, UpstreamRequest};

use super::authorities::Authorities;
use super::context::{Context, Target};
use super::failure::{self, Lost, Refusal};
use super::fields::edit_request;
use super::forwarded::{self, Told, Which};
use super::length::content_length;
use super::lenient::Lenient;
use super::{clock, connector, peer, tunnel, windows};
use crate::capacity::Limits;
use crate::connection::address_field;
use crate::endpoint::{Hold, NoPick, Upstream};
use crate::reason::Reason;

/// Tries that do not count, at most: those lost on kept connections whose other end had not processed the request.
pub(super) const FREE_TRIES: usize = 3;

/// What TLS to endpoints is made with.
pub(super) struct Means {
    pub(super) authorities: Authorities,
    pub(super) lenient: Lenient,
    pub(super) told: Seldom,
}

/// Lets something be told once a second at most.
pub(super) struct Seldom {
    start: Instant,
    last: AtomicU64,
}

impl Seldom {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn may_tell(&self) -> bool {
        let second = self.start.elapsed().as_secs() + 1;
        self.last.fetch_max(second, Ordering::Relaxed) < second
    }
}

/// Picks the first endpoint, before anything depends on it: without one the client's connection can stay.
///
/// # Errors
/// The backend is unusable, has its share of the requests under way, or nobody is ready.
pub(super) fn prepare(upstream: Arc<Upstream>, limits: Limits, target: &mut Target) -> Result<(), Reason> {
    let config = upstream.config();
    let hold = Hold::enter(upstream, config.protocol, limits);
    let picked = match (config.is_invalid, hold.is_refused()) {
        (true, _) => Err(Reason::InvalidBackend),
        (false, true) => Err(Reason::OverShare),
        (false, false) => pick(hold.upstream(), target),
    };
    target.upstream = Some(hold);
    picked
}

/// What comes before a try.
pub(super) enum Next {
    /// An endpoint is picked, or there is none, for this reason.
    Picked(Result<(), Reason>),
    /// All known ones refused: others are to be waited for, so long at most.
    Wait(Duration),
}

/// Picks the endpoint of the next try.
pub(super) fn next(cx: &mut Context) -> Next {
    // The first endpoint was picked when the request was let through.
    if cx.upstream.tries.len() == 0 {
        return Next::Picked(Ok(()));
    }
    let picked = match upstream(&cx.upstream) {
        Some(upstream) if has_tries(cx) => pick(&upstream, &mut cx.upstream),
        _ => Err(last_outcome(&cx.upstream)),
    };
    match (picked, patience(cx)) {
        (Err(_), Some(limit)) => Next::Wait(limit),
        (picked, _) => Next::Picked(picked),
    }
}

/// Waits for other endpoints and picks one; all tries begin anew with it.
///
/// # Errors
/// None came.
pub(super) async fn wait(limit: Duration, target: &mut Target) -> Result<(), Reason> {
    let Some(upstream) = upstream(target) else { return Err(Reason::Internal) };
    target.wait_until.get_or_insert_with(|| Instant::now() + limit);
    let pick = upstream.pick_changed(&mut target.tried, limit).await.map_err(|_| last_outcome(target))?;
    target.pick = Some(pick);
    target.tries_before = target.tries.len();
    Ok(())
}

/// Says how the picked endpoint is spoken to.
///
/// # Errors
/// There is none, or none that could be verified; the reason is in the context.
pub(super) fn peer(
    picked: Result<(), Reason>,
    means: &Means,
    session: &Session,
    cx: &mut Context,
) -> Result<Box<HttpPeer>> {
    let (Some(route), Some(upstream)) = (cx.route.clone(), upstream(&cx.upstream)) else {
        return fail(cx, Reason::Internal);
    };
    if let Err(reason) = picked {
        return fail(cx, reason);
    }
    let config = upstream.config();
    let Some(address) = cx.upstream.pick.as_ref().map(crate::endpoint::Pick::address) else {
        return fail(cx, Reason::NoEndpoints);
    };
    cx.upstream.is_h2 = config.protocol.is_h2();
    cx.upstream.begin_try(address);
    let mut peer = peer::plain(address, &config, &route.policy.timeouts, cx.known.may_fill_socket);
    if cx.upstream.is_h2 {
        windows::set_upstream(&mut peer, &cx.snapshot.edge);
    } else if session.is_http2() {
        connector::set(&mut peer);
    }
    if session.is_upgrade_req() {
        tunnel::set(&mut peer);
    }
    if cx.known.has_body {
        // A client that pauses is none of the endpoint's business.
        let body_timeout = cx.snapshot.edge.limits.body_timeout.0;
        let watch = clock::watch(&route.policy.timeouts, body_timeout, session.is_http2(), cx.upstream.is_h2);
        // A client that waits for 100 is watched for what it is told.
        cx.upstream.has_clock = watch.has_clock || session.req_header().headers.contains_key(header::EXPECT);
        peer.options.read_timeout = watch.read_timeout;
    }
    if config.protocol.is_tls() {
        let host = cx.known.host(&session.req_header().headers);
        if let Err(reason) = peer::set_tls(&mut peer, &config, host, &means.authorities) {
            return fail(cx, reason);
        }
        if !peer.options.verify_cert {
            means.lenient.set(&mut peer, address, cx.upstream.is_h2);
        }
    }
    Ok(Box::new(peer))
}

fn upstream(target: &Target) -> Option<Arc<Upstream>> {
    target.upstream.as_ref().map(|hold| Arc::clone(hold.upstream()))
}

fn pick(upstream: &Arc<Upstream>, target: &mut Target) -> Result<(), Reason> {
    match upstream.pick(&mut target.tried) {
        Ok(pick) => target.pick = Some(pick),
        // The endpoint itself was never found wanting: it had closed a connection, or did not take up the request.
        Err(_) if target.is_blameless && target.pick.is_some() => {}
        Err(NoPick::Empty) if target.tries.len() == 0 => return Err(Reason::NoEndpoints),
        Err(_) => return Err(last_outcome(target)),
    }
    target.is_blameless = false;
    Ok(())
}

fn last_outcome(target: &Target) -> Reason {
    target.tries.as_slice().last().map_or(Reason::NoEndpoints, |last| last.outcome)
}

/// Whether endpoints that are known may still be tried.
fn has_tries(cx: &Context) -> bool {
    counted(cx) < allowed(cx)
}

/// Tries that count.
fn counted(cx: &Context) -> usize {
    let all = cx.upstream.tries.len().saturating_sub(cx.upstream.tries_before);
    all.saturating_sub(cx.upstream.free_tries)
}

/// Notes that the request was not taken up, which says nothing against the endpoint. A try at a kept connection that
/// was at its end does not count either, within bounds: who asks for one try asks for one that can come to something.
fn refused(refusal: Refusal, is_kept: bool, target: &mut Target) {
    target.is_blameless = true;
    if is_kept && refusal == Refusal::Connection && target.free_tries < FREE_TRIES {
        target.free_tries += 1;
    }
}

/// Tries that the route allows.
fn allowed(cx: &Context) -> usize {
    cx.route.as_ref().map_or(1, |route| usize::try_from(route.policy.tries).unwrap_or(1))
}

/// How long other endpoints may be waited for: only while nobody can be connected to, which a rollout ends.
fn patience(cx: &Context) -> Option<Duration> {
    let limit = cx.route.as_ref()?.policy.timeouts.endpoints;
    let left = cx.upstream.wait_until.map_or(limit, |until| until.saturating_duration_since(Instant::now()));
    (last_outcome(&cx.upstream) == Reason::ConnectFailed && !left.is_zero()).then_some(left)
}

fn fail<T>(cx: &mut Context, reason: Reason) -> Result<T> {
    cx.reason = Some(reason);
    Err(Error::explain(ErrorType::HTTPStatus(reason.status()), reason.as_str()).into_up())
}

/// Notes a connection's making.
pub(super) fn connected(is_reused: bool, digest: Option<&Digest>, cx: &mut Context) {
    if let (Some(valve), Some(client)) = (digest.and_then(connector::valve), &cx.known.connection) {
        cx.valve = Some(valve.hold(Arc::clone(client), cx.snapshot.edge.limits.h2_stalled.0));
    }
    if is_reused {
        return cx.upstream.reused();
    }
    let layers = digest.map(|digest| digest.timing_digest.iter().flatten());
    let took = layers.map(|layers| layers.filter_map(|layer| layer.establishment_duration).sum::<Duration>());
    cx.upstream.connected(took.filter(|took| !took.is_zero()));
}

/// The whole request is sent: the head of the answer is awaited from now on.
pub(super) fn sent(cx: &mut Context) {
    let target = &mut cx.upstream;
    if target.is_answered || target.answer_due.is_some() {
        return;
    }
    let Some(route) = &cx.route else { return };
    // Without a body it was sent when the connection was there, so that nobody need look at the clock.
    let since = target.sent.filter(|_| !cx.known.has_body).unwrap_or_else(Instant::now);
    target.answer_due = since.checked_add(route.policy.timeouts.head);
    if let (Some(due), Some(connection)) = (target.answer_due, &cx.known.connection) {
        connection.answer_expected(due);
    }
}

/// The head of the answer is there.
pub(super) fn answered(cx: &mut Context) {
    cx.upstream.is_answered = true;
    if let Some(connection) = &cx.known.connection {
        connection.answer_arrived();
    }
}

/// A try found no connection: the next endpoint may be better, and nothing was sent.
pub(super) fn not_connected(mut error: Box<Error>, peer: &HttpPeer, means: &Means, cx: &mut Context) -> Box<Error> {
    let reason = failure::connecting(&error);
    cx.upstream.end_try(reason, Instant::now());
    if let Some(address) = failure::unverified(reason, peer).filter(|address| means.lenient.remember(*address)) {
        tracing::debug!(endpoint = %address, %error, "TLS by other means");
        refused(Refusal::Connection, true, &mut cx.upstream);
    } else if failure::is_of_tls(reason) && means.told.may_tell() {
        tracing::warn!(endpoint = %peer.address(), reason = reason.as_str(), %error, "TLS to an endpoint failed");
    }
    if let Some(refusal) = failure::refusal(&error) {
        // Kept or fresh is not said; a fresh one takes no stream only when GOAWAY is its first word.
        refused(refusal, true, &mut cx.upstream);
    }
    error.set_retry(has_tries(cx) || patience(cx).is_some());
    error
}

/// A try was lost on its connection.
pub(super) fn lost(session: &Session, mut error: Box<Error>, is_reused: bool, cx: &mut Context) -> Box<Error> {
    let reason = failure::reason(&error, cx);
    if let Some(connection) = &cx.known.connection {
        connection.answer_arrived();
    }
    cx.upstream.end_try(reason, Instant::now());
    cx.upstream.is_blameless = is_reused;
    if let Some(refusal) = failure::refusal(&error) {
        refused(refusal, is_reused, &mut cx.upstream);
    }
    // What a plugin has made of a harmless method may do harm twice.
    let sent = cx.upstream.sent_as.as_ref().and_then(|sent| sent.method.as_ref());
    let method = sent.filter(|method| !method.is_idempotent()).unwrap_or(&session.req_header().method);
    let may_retry = failure::may_retry(Lost {
        method,
        reason,
        is_reused,
        is_answered: session.response_written().is_some(),
        has_whole_body: !session.retry_buffer_truncated(),
        tries: (counted(cx), allowed(cx)),
    });
    error.set_retry(may_retry);
    if may_retry {
        // The body is sent, and counted, again.
        cx.request_bytes = 0;
    }
    error
}

/// Makes the request that the endpoint gets.
///
/// # Errors
/// A plugin failed: nothing has been sent yet, and nothing is.
pub(super) fn request(session: &Session, request: &mut RequestHeader, cx: &mut Context) -> Result<()> {
    if session.is_http2() && !cx.upstream.is_h2 {
        join_cookies(request)?;
    }
    if cx.known.host_len == 0 {
        name_host(request, cx)?;
    }
    let mut target = None;
    edit_request(request, cx.snapshot.edge.headers.preserve_case, |fields| target = edit(session, fields, cx));
    if cx.shared.has_failed() {
        return fail(cx, Reason::Internal);
    }
    cx.upstream.sent_as = None;
    if let Some(target) = target.filter(|target| *target != PluginTarget::default())
        && let Err(reason) = set_target(request, target, cx)
    {
        return fail(cx, reason);
    }
    if !cx.known.has_body && !cx.upstream.is_h2 && expects_body(&request.method) {
        tell_empty(request)?;
    }
    Ok(())
}

/// Asks for what plugins want asked for. They have checked it; what is no target all the same is our fault.
fn set_target(request: &mut RequestHeader, target: PluginTarget, cx: &mut Context) -> std::result::Result<(), Reason> {
    // A target of HTTP/2 has the host that came, too.
    if target.path.is_some() || target.query.is_some() || target.host.is_some() {
        let path = target.path.as_deref().unwrap_or(request.uri.path());
        let query = target.query.as_ref().map_or(request.uri.query(), Option::as_deref);
        let uri = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        request.set_uri(uri.parse().map_err(|_| Reason::Internal)?);
    }
    if let Some(method) = &target.method {
        request.set_method(method.clone());
    }
    if let Some(host) = &target.host {
        request.insert_header(header::HOST, &**host).map_err(|_| Reason::Internal)?;
    }
    cx.upstream.sent_as = Some(Box::new(target));
    Ok(())
}

/// What the endpoint is told about the client, then what plugins make of it: what they want asked for is returned.
fn edit(session: &Session, fields: &mut dyn Headers, cx: &Context) -> Option<PluginTarget> {
    let mut target = None;
    let headers = &session.req_header().headers;
    forwarded::write(fields, &told(headers.get(header::HOST), cx), Which::of(&cx.snapshot.edge));
    if let Some(route) = cx.route_with(Hooks::UPSTREAM_REQUEST) {
        let facts = cx.known.facts(session.req_header());
        let mut head = UpstreamRequest::new(facts, route.facts_of(cx.upstream.asked()), fields);
        route.pipeline.on_upstream_request(&mut head, &cx.shared, &cx.passage);
        target = head.into_target().ok();
    }
    forwarded::write_loop(fields, headers, &cx.snapshot.edge.loop_id);
    if cx.route_with(Hooks::REQUEST_BODY).is_some() && content_length(headers) > 0 {
        leave_length_open(fields, cx.upstream.is_h2);
    }
    target
}

/// Plugins may make a body longer or shorter than the client said. HTTP/2 frames it anyway.
fn leave_length_open(fields: &mut dyn Headers, is_h2: bool) {
    fields.remove(&header::CONTENT_LENGTH);
    if !is_h2 {
        fields.set(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn told<'a>(authority: Option<&'a HeaderValue>, cx: &'a Context) -> Told<'a> {
    let peer = cx.known.peer.ip().to_canonical();
    Told {
        peer,
        client: cx.known.client,
        is_trusted: cx.known.is_trusted,
        peer_field: match &cx.known.connection {
            Some(connection) => connection.peer_field.clone(),
            None => address_field(peer),
        },
        scheme: cx.known.scheme,
        authority,
        port: cx.known.port,
        request_id: cx.known.request_id.as_str(),
    }
}

/// A client of HTTP/1.0 may leave out whom it asks; endpoints that are asked in a newer version must be told something,
/// and hear their own address from probes too (RFC 9112 section 3.2).
fn name_host(request: &mut RequestHeader, cx: &Context) -> Result<()> {
    match &cx.upstream.pick {
        Some(pick) if !request.headers.contains_key(header::HOST) => {
            request.insert_header(header::HOST, pick.address().to_string())
        }
        _ => Ok(()),
    }
}

/// Whether servers wait for a body of such requests, or refuse those that do not say that there is none.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Says that there is no body (RFC 9110 section 8.6).
fn tell_empty(request: &mut RequestHeader) -> Result<()> {
    if request.headers.contains_key(header::CONTENT_LENGTH) || request.headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    request.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))
}

/// HTTP/2 may split cookies over several fields; HTTP/1 has one (RFC 9113 section 8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let mut fields = request.headers.get_all(header::COOKIE).iter();
    if fields.nth(1).is_none() {
        return Ok(());
    }
    let values: Vec<&[u8]> = request.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = values.join(&b"; "[..]);
    request.insert_header(header::COOKIE, joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_cookies_are_joined() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for cookie in ["a=1", "b=2", "c=3"] {
            request.append_header(header::COOKIE, cookie).unwrap();
        }
        join_cookies(&mut request).unwrap();
        let cookies: Vec<_> = request.headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
