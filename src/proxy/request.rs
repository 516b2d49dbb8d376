//! From a request's head to what is done with it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use tidegate_plugin::{Hooks, RequestContext, RequestFacts, RouteContext};

use super::context::{Context, Known};
use super::guard::{self, Changes, Rules};
use super::head::RequestHead;
use super::length::content_length;
use super::reply::Answer;
use super::request_id::RequestId;
use super::{forwarded, redirect, upstream};
use crate::connection::ConnectionInfo;
use crate::endpoint::Upstream;
use crate::listener::Serves;
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
pub(crate) fn is_acme_challenge(path: &str) -> bool {
    path.starts_with(ACME)
}

/// What is done with a request.
pub(crate) enum Decision {
    /// It goes to an upstream.
    Forward,
    /// This plugin must wait first.
    Wait(usize),
    /// It gets this answer.
    Reply(Answer),
    /// Nothing: the client has gone.
    Leave,
}

/// A head as it arrived, and what is known of who sent it.
pub(crate) struct Arrival<'a> {
    pub(crate) head: &'a Parts,
    /// The request target's bytes.
    pub(crate) target: &'a [u8],
    /// Whether the head had both lengths, `Content-Length` and `Transfer-Encoding`.
    pub(crate) has_both_lengths: bool,
    /// `None`: it did not come through the front.
    pub(crate) connection: Option<Arc<ConnectionInfo>>,
    /// The other end of the connection and whether it is encrypted, where the front does not say so.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) is_tls: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    Nothing,
    Body,
    /// Another protocol, if the endpoint takes it.
    Tunnel,
}

/// Learns the connection's facts and says what makes the head canonical; nothing where it is refused.
pub(crate) fn begin(arrival: Arrival<'_>, cx: &mut Context) -> Changes {
    let Context { snapshot, known, refusal, .. } = cx;
    let (edge, head) = (&*snapshot.edge, arrival.head);
    let is_tls = arrival.connection.as_ref().map_or(arrival.is_tls, |connection| connection.is_tls());
    let peer = arrival.connection.as_ref().map(|connection| connection.peer).or(arrival.peer);
    known.peer = peer.unwrap_or(known.peer);
    known.is_trusted = edge.trusts(known.peer.ip());
    let (peer, believed) = (known.peer.ip().to_canonical(), known.is_trusted.then_some(&head.headers));
    (known.scheme, known.client) = forwarded::seen(believed, peer, is_tls, edge);
    known.request_id = RequestId::of(believed);
    let checked = check(&arrival, edge, known.is_trusted);
    known.connection = arrival.connection;
    checked.unwrap_or_else(|reason| {
        *refusal = Some(reason);
        Changes::default()
    })
}

fn check(arrival: &Arrival<'_>, edge: &Edge, is_trusted: bool) -> Result<Changes, Reason> {
    let head = guard::Head {
        method: &arrival.head.method,
        uri: &arrival.head.uri,
        target: arrival.target,
        headers: &arrival.head.headers,
        version: arrival.head.version,
        has_both_lengths: arrival.has_both_lengths,
        is_trusted,
    };
    guard::check(&head, &Rules::of(edge))
}

/// Makes a head canonical.
pub(crate) fn apply(changes: Changes, head: &mut dyn RequestHead, cx: &mut Context) {
    cx.known.may_fill_socket = changes.head_bytes > SOCKET_BYTES;
    cx.known.host_len = changes.host_len;
    cx.known.port = changes.port;
    for name in &changes.drop {
        head.remove(name);
    }
    if let Some(length) = changes.length {
        head.set(header::CONTENT_LENGTH, length);
    }
    if let Some(target) = changes.target {
        head.set_target(target);
    }
    if let Some(host) = changes.host {
        head.set(header::HOST, host);
    }
}

/// Tells the connection what it has to expect. `head_bytes` is how long the head was, where the connection carries
/// nothing else meanwhile.
pub(crate) fn expect(follows: Follows, head_bytes: Option<usize>, head: &Parts, cx: &mut Context) {
    cx.known.may_fill_socket |= follows != Follows::Nothing;
    cx.known.has_body = follows == Follows::Body;
    cx.known.is_upgrade = follows == Follows::Tunnel;
    if let Some(connection) = &cx.known.connection {
        connection.note_request_len(request_len(follows, head_bytes, &head.headers));
        connection.head_arrived();
        if cx.known.has_body {
            connection.body_expected();
        }
    }
}

/// Bytes of a request whose end its head tells.
fn request_len(follows: Follows, head_bytes: Option<usize>, headers: &HeaderMap) -> Option<u64> {
    let head = head_bytes? as u64;
    match follows {
        Follows::Nothing => Some(head),
        _ if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::UPGRADE) => None,
        _ => Some(head.saturating_add(content_length(headers))),
    }
}

/// Finds the request's route. `Some`: it is answered before any plugin is asked.
pub(crate) fn route(head: &Parts, cx: &mut Context) -> Option<Answer> {
    if let Some(reason) = cx.refusal {
        return Some(refusal(reason, &head.headers, &cx.known));
    }
    if head.method == Method::OPTIONS && head.uri.path() == "*" {
        return Some(Answer::empty(Reason::DirectResponse, StatusCode::NO_CONTENT));
    }
    let facts = cx.known.facts(head);
    let route = match find(cx, &facts, &head.headers) {
        Ok(route) => Arc::clone(route),
        Err(reason) => return Some(refusal(reason, &head.headers, &cx.known)),
    };
    let is_sent_to_https =
        facts.scheme == "http" && route.https_redirect.is_due(facts.host) && !is_acme_challenge(facts.path);
    let answer = match (is_sent_to_https, facts.host.is_empty()) {
        (false, _) => None,
        (true, true) => Some(refusal(Reason::BadHost, &head.headers, &cx.known)),
        (true, false) => {
            let location = redirect::https_location(&facts);
            Some(Answer::redirect(Reason::HttpsRedirect, StatusCode::PERMANENT_REDIRECT, &location))
        }
    };
    cx.route = Some(route);
    answer
}

/// Asks the plugins of the route that was found, and does what it says.
pub(crate) fn take(head: &Parts, cx: &mut Context) -> Decision {
    let Some(route) = cx.route.clone() else { return refuse(Reason::Internal, &head.headers, &cx.known) };
    match ask_plugins(head, cx, &route) {
        Decision::Forward => act(head, cx, &route),
        other => other,
    }
}

fn find<'c>(cx: &'c Context, facts: &RequestFacts<'_>, headers: &HeaderMap) -> Result<&'c Arc<Route>, Reason> {
    let RequestFacts { host, path, query, method, .. } = *facts;
    let serves = cx.known.connection.as_ref().map_or(Serves::Common, |connection| connection.serves);
    cx.snapshot.route(serves, &RequestView { host, path, query, method, headers })
}

fn ask_plugins(head: &Parts, cx: &mut Context, route: &Route) -> Decision {
    if !route.pipeline.hooks().contains(Hooks::REQUEST) {
        return Decision::Forward;
    }
    let facts = cx.known.facts(head);
    let mut plugin_cx = RequestContext::new(facts, &head.headers, &route.facts, &mut cx.shared);
    let outcome = route.pipeline.on_request(&mut plugin_cx, &cx.passage);
    heed(outcome, &head.headers, &cx.known)
}

/// Waits for the plugin that must wait, then decides as if it had not. `gone` is when the client has gone meanwhile.
pub(crate) async fn wait(index: usize, gone: impl Future<Output = ()>, head: &Parts, cx: &mut Context) -> Decision {
    let Some(route) = cx.route.clone() else { return refuse(Reason::Internal, &head.headers, &cx.known) };
    let facts = cx.known.facts(head);
    let mut plugin_cx = RequestContext::new(facts, &head.headers, &route.facts, &mut cx.shared);
    let outcome = tokio::select! {
        biased;
        outcome = route.pipeline.wait(index, &mut plugin_cx, &cx.passage) => outcome,
        () = gone => return Decision::Leave,
    };
    match heed(outcome, &head.headers, &cx.known) {
        Decision::Forward => act(head, cx, &route),
        // The pipeline never waits twice; if it did, going on would skip a plugin.
        Decision::Wait(_) => refuse(Reason::Internal, &head.headers, &cx.known),
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

/// Where the request goes, and its place among the route's backends: where a plugin says, else by weight.
fn choose<'r>(
    head: &Parts,
    cx: &mut Context,
    route: &'r Route,
    forward: &'r Forward,
) -> Result<(usize, &'r Arc<Upstream>), Reason> {
    let Some(choices) = &route.choices else { return forward.pick().ok_or(Reason::NoEndpoints) };
    let facts = cx.known.facts(head);
    let mut plugin_cx = RouteContext::new(facts, &head.headers, &route.facts, &**choices, &mut cx.shared);
    match route.pipeline.on_route(&mut plugin_cx, &cx.passage) {
        Routed::Pass => {
            let (share, upstream) = forward.pick().ok_or(Reason::NoEndpoints)?;
            Ok((route.place_of(share).ok_or(Reason::Internal)?, upstream))
        }
        Routed::Backend(position) => choices.at(position).ok_or(Reason::Internal),
        Routed::Upstream(name) => choices.upstream(&name).ok_or(Reason::InvalidBackend),
        Routed::Failed => Err(Reason::Internal),
    }
}

fn act(head: &Parts, cx: &mut Context, route: &Route) -> Decision {
    if route.policy.limits.body_bytes.is_some_and(|max| content_length(&head.headers) > max) {
        return refuse(Reason::BodyTooLarge, &head.headers, &cx.known);
    }
    match &route.action {
        Action::Forward(forward) => {
            let prepared = choose(head, cx, route, forward).and_then(|(place, upstream)| {
                cx.upstream.backend = Some(place);
                upstream::prepare(Arc::clone(upstream), cx.snapshot.edge.capacity(), &mut cx.upstream)
            });
            match prepared {
                Ok(()) => Decision::Forward,
                Err(reason) => refuse(reason, &head.headers, &cx.known),
            }
        }
        // A client of HTTP/1.0 that named no host: there is nothing to lead it to.
        Action::Redirect(redirect) if redirect.host.is_none() && cx.known.host_len == 0 => {
            refuse(Reason::BadHost, &head.headers, &cx.known)
        }
        Action::Redirect(redirect) => {
            let location = redirect::location(redirect, &cx.known.facts(head), cx.known.port);
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
            Decision::Reply(Answer::of(*reason, status, &head.headers, id))
        }
    }
}

fn refuse(reason: Reason, headers: &HeaderMap, known: &Known) -> Decision {
    Decision::Reply(refusal(reason, headers, known))
}

fn refusal(reason: Reason, headers: &HeaderMap, known: &Known) -> Answer {
    Answer::refusal(reason, headers, known.request_id.as_str())
}
