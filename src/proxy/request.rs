//! From a request's head to what is done with it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use tidegate_plugin::{Hooks, RequestContext, RequestFacts, RouteContext};

use super::context::{Context, Known};
use super::guard::{self, Changes, Head, Rules};
use super::length::content_length;
use super::reply::Answer;
use super::request_id::RequestId;
use super::{departure, forwarded, http10, open_end, redirect, upstream};
use crate::connection::ConnectionInfo;
use crate::endpoint::Upstream;
use crate::reason::Reason;
use crate::snapshot::edge::Edge;
use crate::snapshot::pipeline::{Outcome, Routed};
use crate::snapshot::route::{Action, Forward, Route};
use crate::snapshot::router::RequestView;

/// Where HTTP-01 validation comes in, always over plain HTTP (RFC 8555 section 8.3).
const ACME: &str = "/.well-known/acme-challenge/";

/// Every socket takes this much without waiting: half of the least send buffer that Linux begins with.
const SOCKET_BYTES: usize = 8 * 1024;

/// Whether a path is where certificate authorities ask.
pub(super) fn is_acme_challenge(path: &str) -> bool {
    path.starts_with(ACME)
}

/// What is done with a request.
pub(super) enum Decision {
    /// It goes to an upstream.
    Forward,
    /// This plugin must wait first.
    Wait(usize),
    /// It gets this answer.
    Reply(Answer),
    /// Nothing: the client has gone.
    Leave,
}

/// Learns the connection's facts, sets waits and limits, and makes the head canonical.
pub(super) fn begin(session: &mut Session, cx: &mut Context) {
    let edge = Arc::clone(&cx.snapshot.edge);
    cx.known.connection = session.digest().and_then(ConnectionInfo::of).cloned();
    cx.known.peer = peer(session, &cx.known);
    set_limits(session, &edge);
    let is_trusted = edge.trusts(cx.known.peer.ip());
    cx.known.is_trusted = is_trusted;
    identify(&mut cx.known, session, &edge, is_trusted);
    match check(session, &edge, is_trusted) {
        Ok(changes) => apply(session, &mut cx.known, changes, &mut cx.refusal),
        Err(reason) => cx.refusal = Some(reason),
    }
    if session.req_header().version == Version::HTTP_10 {
        http10::begin(session);
    }
    cx.known.owes_end = open_end::is_owed(session);
    let (has_body, is_upgrade) = (!session.is_body_empty(), session.is_upgrade_req());
    cx.known.may_fill_socket |= has_body || is_upgrade;
    cx.known.has_body = has_body && !is_upgrade;
    if let Some(connection) = &cx.known.connection {
        connection.note_request_len(request_len(session, has_body || is_upgrade));
        connection.head_arrived();
        if cx.known.has_body {
            connection.body_expected();
        }
    }
}

/// Bytes of a request on HTTP/1 whose end its head tells.
fn request_len(session: &Session, has_more: bool) -> Option<u64> {
    if session.is_http2() {
        return None;
    }
    let head = session.to_h1_raw().len() as u64;
    let headers = &session.req_header().headers;
    match has_more {
        false => Some(head),
        true if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::UPGRADE) => None,
        true => Some(head.saturating_add(content_length(headers))),
    }
}

fn peer(session: &Session, known: &Known) -> SocketAddr {
    match &known.connection {
        Some(connection) => connection.peer,
        None => session.client_addr().and_then(|address| address.as_inet()).copied().unwrap_or(known.peer),
    }
}

fn set_limits(session: &mut Session, edge: &Edge) {
    // The engine turns keeping off for connections that must end; that stays off.
    if session.get_keepalive().is_some() {
        // 0: the engine sets no timer. The front's guard holds the limits, and exactly.
        session.set_keepalive(Some(0));
    }
    if let (Some(limit), None) = (edge.limits.keep_alive_requests, session.get_keepalive_reuses_remaining()) {
        session.set_keepalive_reuses_remaining(Some(limit.saturating_sub(1)));
    }
    // What comes behind a request is the next one, and waits; otherwise it would end the request under way.
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(edge.limits.body_timeout.0));
    if session.is_http2() {
        // The guard sees a connection that takes nothing, not a stream.
        session.set_write_timeout(Some(edge.limits.send_timeout.0));
    }
    session.set_total_drain_timeout(Some(edge.limits.body_timeout.0));
}

fn identify(known: &mut Known, session: &Session, edge: &Edge, is_trusted: bool) {
    let headers = &session.req_header().headers;
    let is_tls = match &known.connection {
        Some(connection) => connection.is_tls(),
        None => session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
    };
    let (peer, believed) = (known.peer.ip().to_canonical(), is_trusted.then_some(headers));
    (known.scheme, known.client) = forwarded::seen(believed, peer, is_tls, edge);
    known.request_id = RequestId::of(believed);
}

fn check(session: &Session, edge: &Edge, is_trusted: bool) -> Result<Changes, Reason> {
    let request = session.req_header();
    let head = Head {
        method: &request.method,
        uri: &request.uri,
        target: request.raw_path(),
        headers: &request.headers,
        version: request.version,
        has_both_lengths: has_both_lengths(session),
        is_trusted,
    };
    guard::check(&head, &Rules::of(edge))
}

/// Whether the head had a length besides chunked framing. The engine removes it before anybody sees it.
fn has_both_lengths(session: &Session) -> bool {
    if session.is_http2() || !session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        return false;
    }
    const NAME: &[u8] = b"content-length:";
    let head = session.to_h1_raw();
    head.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME)))
}

fn apply(session: &mut Session, known: &mut Known, changes: Changes, refusal: &mut Option<Reason>) {
    known.may_fill_socket = changes.head_bytes > SOCKET_BYTES;
    known.host_len = changes.host_len;
    known.port = changes.port;
    let request = session.req_header_mut();
    for name in &changes.drop {
        request.remove_header(name);
    }
    if let Some(length) = changes.length
        && request.insert_header(header::CONTENT_LENGTH, length).is_err()
    {
        *refusal = Some(Reason::BadRequest);
    }
    if let Some(target) = changes.target {
        request.set_uri(target);
    }
    if let Some(host) = changes.host
        && request.insert_header(header::HOST, host).is_err()
    {
        *refusal = Some(Reason::BadHost);
    }
}

/// Decides when the client has ended its request as it said that it would.
pub(super) async fn decide_at_end(session: &mut Session, cx: &mut Context) -> Decision {
    let limit = cx.snapshot.edge.limits.body_timeout.0;
    match open_end::wait(session, limit).await {
        Ok(()) => cx.known.has_body = !session.is_body_empty(),
        Err(Reason::ClientClosed) => return Decision::Leave,
        Err(reason) => cx.refusal = Some(reason),
    }
    decide(session, cx)
}

/// Decides what is done with the request.
pub(super) fn decide(session: &mut Session, cx: &mut Context) -> Decision {
    let request = session.req_header();
    if let Some(reason) = cx.refusal {
        return refuse(reason, &request.headers, &cx.known);
    }
    if request.method == Method::OPTIONS && request.uri.path() == "*" {
        return Decision::Reply(Answer::empty(Reason::DirectResponse, StatusCode::NO_CONTENT));
    }
    let facts = cx.known.facts(request);
    let route = match find(cx, &facts, &request.headers) {
        Ok(route) => Arc::clone(route),
        Err(reason) => return refuse(reason, &request.headers, &cx.known),
    };
    if facts.scheme == "http" && route.https_redirect.is_due(facts.host) && !is_acme_challenge(facts.path) {
        if facts.host.is_empty() {
            cx.route = Some(route);
            return refuse(Reason::BadHost, &request.headers, &cx.known);
        }
        let location = redirect::https_location(&facts);
        cx.route = Some(route);
        let answer = Answer::redirect(Reason::HttpsRedirect, StatusCode::PERMANENT_REDIRECT, &location);
        return Decision::Reply(answer);
    }
    cx.route = Some(Arc::clone(&route));
    match ask_plugins(session, cx, &route) {
        Decision::Forward => act(session, cx, &route),
        other => other,
    }
}

fn find<'c>(cx: &'c Context, facts: &RequestFacts<'_>, headers: &HeaderMap) -> Result<&'c Arc<Route>, Reason> {
    let RequestFacts { host, path, query, method, .. } = *facts;
    cx.snapshot.route(&RequestView { host, path, query, method, headers })
}

fn ask_plugins(session: &Session, cx: &mut Context, route: &Route) -> Decision {
    if !route.pipeline.hooks().contains(Hooks::REQUEST) {
        return Decision::Forward;
    }
    let request = session.req_header();
    let facts = cx.known.facts(request);
    let mut plugin_cx = RequestContext::new(facts, &request.headers, &route.facts, &mut cx.shared);
    let outcome = route.pipeline.on_request(&mut plugin_cx, &cx.passage);
    heed(outcome, &request.headers, &cx.known)
}

/// Waits for the plugin that must wait, then decides as if it had not. A client that goes meanwhile is left.
pub(super) async fn wait(index: usize, session: &mut Session, cx: &mut Context) -> Decision {
    let Some(route) = cx.route.clone() else { return Decision::Forward };
    // The plugin reads the head while the session is watched.
    let request = session.req_header().clone();
    let facts = cx.known.facts(&request);
    let mut plugin_cx = RequestContext::new(facts, &request.headers, &route.facts, &mut cx.shared);
    let outcome = tokio::select! {
        biased;
        outcome = route.pipeline.wait(index, &mut plugin_cx, &cx.passage) => outcome,
        () = departure::of(session, cx.known.connection.as_deref()) => return Decision::Leave,
    };
    match heed(outcome, &request.headers, &cx.known) {
        Decision::Forward => act(session, cx, &route),
        // The pipeline never waits twice; if it did, going on would skip a plugin.
        Decision::Wait(_) => refuse(Reason::Internal, &session.req_header().headers, &cx.known),
        reply => reply,
    }
}

fn heed(outcome: Outcome, headers: &HeaderMap, known: &Known) -> Decision {
    match outcome {
        Outcome::Continue => Decision::Forward,
        Outcome::Wait(index) => Decision::Wait(index),
        Outcome::Reply(given) => Decision::Reply(Answer::plugin(given, headers, known.request_id.as_str())),
    }
}

/// Where the request goes: where a plugin says, else by weight.
fn choose(
    request: &RequestHeader,
    cx: &mut Context,
    route: &Route,
    forward: &Forward,
) -> Result<Arc<Upstream>, Reason> {
    let Some(choices) = &route.choices else { return forward.pick().cloned().ok_or(Reason::NoEndpoints) };
    let facts = cx.known.facts(request);
    let mut plugin_cx = RouteContext::new(facts, &request.headers, &route.facts, &**choices, &mut cx.shared);
    match route.pipeline.on_route(&mut plugin_cx, &cx.passage) {
        Routed::Pass => forward.pick().cloned().ok_or(Reason::NoEndpoints),
        Routed::Backend(position) => {
            choices.backends.get(position).map(|it| Arc::clone(&it.upstream)).ok_or(Reason::Internal)
        }
        Routed::Upstream(name) => choices.upstream(&name).cloned().ok_or(Reason::InvalidBackend),
        Routed::Failed => Err(Reason::Internal),
    }
}

fn act(session: &Session, cx: &mut Context, route: &Route) -> Decision {
    let request = session.req_header();
    if route.policy.limits.body_bytes.is_some_and(|max| content_length(&request.headers) > max) {
        return refuse(Reason::BodyTooLarge, &request.headers, &cx.known);
    }
    match &route.action {
        Action::Forward(forward) => {
            let upstream = choose(request, cx, route, forward);
            let limits = cx.snapshot.edge.capacity();
            match upstream.and_then(|upstream| upstream::prepare(upstream, limits, &mut cx.upstream)) {
                Ok(()) => Decision::Forward,
                Err(reason) => refuse(reason, &request.headers, &cx.known),
            }
        }
        // A client of HTTP/1.0 that named no host: there is nothing to lead it to.
        Action::Redirect(redirect) if redirect.host.is_none() && cx.known.host_len == 0 => {
            refuse(Reason::BadHost, &request.headers, &cx.known)
        }
        Action::Redirect(redirect) => {
            let location = redirect::location(redirect, &cx.known.facts(request), cx.known.port);
            Decision::Reply(Answer::redirect(Reason::Redirect, redirect.status, &location))
        }
        Action::Respond(respond) => {
            let mut answer = Answer::empty(Reason::DirectResponse, respond.status);
            answer.headers.insert(header::CONTENT_TYPE, respond.content_type.clone());
            answer.body = respond.body.clone();
            Decision::Reply(answer)
        }
        Action::Refuse(reason) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let id = cx.known.request_id.as_str();
            Decision::Reply(Answer::of(*reason, status, &request.headers, id))
        }
    }
}

fn refuse(reason: Reason, headers: &HeaderMap, known: &Known) -> Decision {
    Decision::Reply(Answer::refusal(reason, headers, known.request_id.as_str()))
}
