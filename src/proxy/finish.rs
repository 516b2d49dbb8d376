//! How a request ends: the failure's answer, and the record of it all.

use std::time::{Duration, Instant, SystemTime};

use http::{StatusCode, Version, header};
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, Session};
use tidegate_plugin::{Hooks, LogRecord, ReasonCode};

use super::context::Context;
use super::failure;
use super::reply::Answer;
use super::response;
use crate::reason::Reason;
use crate::snapshot::pipeline::{Given, Passage};
use crate::snapshot::route::Route;
use crate::telemetry::record::{PluginTime, Recorder, RequestRecord};

/// How long the connection has to write what came before a reset: nothing tells when it has.
const FLUSHED: Duration = Duration::from_millis(5);

/// Answers a request that failed, when there is still somebody to answer.
pub(super) async fn fail(session: &mut Session, error: &Error, cx: &mut Context) -> FailToProxy {
    if let Some(given) = cx.instead.take().filter(|_| !is_answered(session)) {
        return instead(session, *given, cx).await;
    }
    let reason = settle(session, error, cx);
    session.set_keepalive(None);
    if is_answered(session) && is_our_side(reason) {
        break_off(session).await;
    }
    if is_answered(session) || reason == Reason::ClientClosed {
        return FailToProxy { error_code: reason.status(), can_reuse_downstream: false };
    }
    let status = match error.etype() {
        ErrorType::HTTPStatus(status) => *status,
        _ => reason.status(),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = &session.req_header().headers;
    let mut answer = Answer::of(reason, status, headers, cx.known.request_id.as_str());
    answer.closes = true;
    // Whoever does not take it is gone; the record says what happened.
    let _ = response::send(session, answer, cx).await;
    FailToProxy { error_code: status.as_u16(), can_reuse_downstream: false }
}

/// Sends a plugin's response in place of the upstream's. On HTTP/1 the connection ends with it: the engine keeps none
/// on which it has left an upstream.
async fn instead(session: &mut Session, given: Given, cx: &mut Context) -> FailToProxy {
    let status = given.reply.status.as_u16();
    let mut answer = Answer::plugin(given, &session.req_header().headers, cx.known.request_id.as_str());
    answer.is_instead = true;
    answer.closes = true;
    // Whoever does not take it is gone.
    let _ = response::send(session, answer, cx).await;
    FailToProxy { error_code: status, can_reuse_downstream: false }
}

/// Says why the request failed; the first reason stays.
fn settle(session: &Session, error: &Error, cx: &mut Context) -> Reason {
    // Tunnels have no other end than a closed connection.
    let found = if session.was_upgraded() { Reason::Upstream } else { failure::reason(error, cx) };
    cx.reason = Some(found);
    found
}

fn is_answered(session: &Session) -> bool {
    let switched = StatusCode::SWITCHING_PROTOCOLS;
    session.response_written().is_some_and(|head| !head.status.is_informational() || head.status == switched)
}

/// Whether an answer ends early for a reason that the client has not given.
fn is_our_side(reason: Reason) -> bool {
    !matches!(reason, Reason::ClientClosed | Reason::BadRequest | Reason::BodyTimeout | Reason::BodyTooLarge)
}

/// Tells a client of HTTP/2 that its answer is not whole, and by whose fault (RFC 9113 section 7). A stream that is
/// dropped is cancelled, which is what clients say. On HTTP/1 the connection ends without the end of the body.
///
/// The test that tells when this can go: `an_answer_that_breaks_is_no_cancelled_one` passes without it once the engine
/// says so itself.
async fn break_off(session: &mut Session) {
    if session.is_http2() {
        // What came before it goes first, if the client takes it: a reset leaves it behind.
        tokio::time::sleep(FLUSHED).await;
        session.shutdown().await;
    }
}

/// Whether nobody needs to read about it in the process's log.
pub(super) fn is_noise(session: &Session, error: &Error, cx: &Context) -> bool {
    let reason = failure::reason(error, cx);
    // Failures of clients and upstreams stand in the access log and in metrics, with reason and tries.
    session.was_upgraded() || reason != Reason::Internal
}

/// Tells recorder, plugins and connection that the request is over.
pub(super) fn record(session: &Session, error: Option<&Error>, cx: &mut Context, recorder: &dyn Recorder) {
    let reason = match (cx.reason, error) {
        (Some(reason), _) => reason,
        (None, Some(error)) => failure::reason(error, cx),
        (None, None) => Reason::Upstream,
    };
    let now = Instant::now();
    if error.is_none() {
        cx.upstream.end_try(reason, now);
    }
    let status = session.response_written().map_or_else(|| reason.status(), |head| head.status.as_u16());
    let detail = error.map(|error| error.etype().as_str());
    let duration = now.saturating_duration_since(cx.started);
    let end = End { status, reason, detail, duration };
    write(session, cx, recorder, &end);
    tell_plugins(session, cx, &end);
    if let Some(connection) = &cx.known.connection {
        connection.request_done();
    }
}

/// How the request ended.
struct End<'a> {
    status: u16,
    reason: Reason,
    detail: Option<&'a str>,
    duration: Duration,
}

fn write(session: &Session, cx: &Context, recorder: &dyn Recorder, end: &End<'_>) {
    let request = session.req_header();
    let facts = cx.known.facts(request);
    let End { status, reason, detail, duration } = *end;
    let logged = recorder.is_logging().then_some(request);
    let field = |name| logged.and_then(|request| request.headers.get(name)).map(http::HeaderValue::as_bytes);
    let route = cx.route.as_deref();
    let asked = cx.upstream.asked();
    let mut room = None;
    let plugins = match (logged, &cx.route) {
        (Some(_), Some(route)) => plugin_times(route, &cx.passage, room.insert([PluginTime::default(); Passage::KEPT])),
        _ => &[],
    };
    recorder.record(&RequestRecord {
        time: logged.map_or(SystemTime::UNIX_EPOCH, |_| begin(duration)),
        duration,
        method: facts.method.as_str(),
        scheme: facts.scheme,
        host: facts.host,
        path: facts.path,
        query: facts.query,
        protocol: protocol(request.version),
        status,
        reason,
        route: route.map(|route| route.facts_of(asked)),
        metrics: route.map(|route| route.metrics_of(asked)),
        client: cx.known.client,
        peer: cx.known.peer,
        listener: cx.known.connection.as_ref().map_or("", |connection| &connection.listener),
        request_id: facts.request_id,
        user_agent: field(header::USER_AGENT),
        referer: field(header::REFERER),
        request_bytes: cx.request_bytes,
        response_bytes: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
        tries: cx.upstream.tries.as_slice(),
        upstream: cx.upstream.upstream.as_ref().map(|upstream| &**upstream.id()),
        tls: facts.tls,
        error: detail,
        answered_by: answered_by(cx),
        sent: cx.upstream.sent_as.as_deref(),
        plugins,
        identity: cx.shared.identity.as_ref().map(|identity| &*identity.name),
    });
}

/// The plugin that gave the answer, and its reason.
fn answered_by(cx: &Context) -> Option<(&str, Option<ReasonCode>)> {
    let (position, reason) = cx.answered_by?;
    let instance = cx.route.as_ref()?.pipeline.instances().get(position)?;
    Some((&instance.name, reason))
}

/// What the plugins of a route took, written into `room`.
fn plugin_times<'a>(route: &'a Route, passage: &Passage, room: &'a mut [PluginTime<'a>]) -> &'a [PluginTime<'a>] {
    let instances = route.pipeline.instances();
    let count = instances.len().min(room.len());
    for ((slot, instance), took) in room.iter_mut().zip(instances).zip(passage.times()) {
        *slot = PluginTime { name: &instance.name, took };
    }
    room.get(..count).unwrap_or_default()
}

/// When a request began that ends now.
fn begin(duration: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(duration).unwrap_or(now)
}

fn tell_plugins(session: &Session, cx: &Context, end: &End<'_>) {
    if let Some(route) = cx.route_with(Hooks::LOG) {
        let facts = cx.known.facts(session.req_header());
        let mut record = LogRecord::new(facts, route.facts_of(cx.upstream.asked()), &cx.shared);
        record.status = end.status;
        record.reason = end.reason.as_str();
        record.duration = end.duration;
        route.pipeline.on_log(&record, &cx.passage);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
