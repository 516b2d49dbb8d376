//! How a request ends: what is done about one that failed, and the record of it all.

use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{StatusCode, Version, header};
use tidegate_plugin::{Hooks, LogRecord, ReasonCode};

use super::context::Context;
use super::reply::Answer;
use crate::reason::Reason;
use crate::snapshot::pipeline::Passage;
use crate::snapshot::route::Route;
use crate::telemetry::record::{PluginTime, Recorder, RequestRecord};

/// What is done about a request that failed. Its connection ends in any case.
pub(crate) enum Failing {
    /// Its response, which has begun, is broken off, and by no fault of the client's.
    BreakOff,
    /// Nothing: nobody is there to hear, or whoever is has heard enough.
    Leave,
    /// This is the response.
    Answer(Answer),
}

/// How an exchange ended, as an engine saw it.
pub(crate) struct Ended<'a> {
    /// The status that was sent.
    pub(crate) status: Option<StatusCode>,
    /// Bytes of bodies that were sent to the client.
    pub(crate) response_bytes: usize,
    /// Why it failed, and the engine's word for that.
    pub(crate) failure: Option<(Reason, &'a str)>,
}

/// Says what is done about a request that failed for this reason, which goes with this status. `is_answered`: the
/// response has begun.
pub(crate) fn fail(
    reason: Reason,
    status: StatusCode,
    is_answered: bool,
    request: &Parts,
    cx: &mut Context,
) -> Failing {
    cx.reason = Some(reason);
    if let Some(given) = cx.instead.take().filter(|_| !is_answered) {
        let answer = Answer::plugin(*given, &request.headers, cx.known.request_id.as_str());
        return Failing::Answer(Answer { is_instead: true, closes: true, ..answer });
    }
    match (is_answered, reason) {
        (true, _) if is_our_side(reason) => Failing::BreakOff,
        (true, _) | (_, Reason::ClientClosed) => Failing::Leave,
        (false, _) => {
            let answer = Answer::of(reason, status, &request.headers, cx.known.request_id.as_str());
            Failing::Answer(Answer { closes: true, ..answer })
        }
    }
}

/// Whether a response ends early, and for a reason that the client has not given.
fn is_our_side(reason: Reason) -> bool {
    use Reason as R;
    !matches!(reason, R::Upstream | R::ClientClosed | R::BadRequest | R::BodyTimeout | R::BodyTooLarge)
}

/// Tells recorder, plugins and connection that the request is over.
pub(crate) fn record(request: &Parts, ended: &Ended<'_>, cx: &mut Context, recorder: &dyn Recorder) {
    let failure = ended.failure;
    let reason = cx.reason.or(failure.map(|(reason, _)| reason)).unwrap_or(Reason::Upstream);
    let now = Instant::now();
    if failure.is_none() {
        cx.upstream.end_try(reason, now);
    }
    let end = End {
        status: ended.status.map_or_else(|| reason.status(), |status| status.as_u16()),
        reason,
        detail: failure.map(|(_, detail)| detail),
        duration: now.saturating_duration_since(cx.started),
        response_bytes: u64::try_from(ended.response_bytes).unwrap_or(u64::MAX),
    };
    write(request, cx, recorder, &end);
    tell_plugins(request, cx, &end);
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
    response_bytes: u64,
}

fn write(request: &Parts, cx: &Context, recorder: &dyn Recorder, end: &End<'_>) {
    let facts = cx.known.facts(request);
    let End { status, reason, detail, duration, response_bytes } = *end;
    let logged = recorder.is_logging().then_some(request);
    let field = |name| logged.and_then(|request| request.headers.get(name)).map(http::HeaderValue::as_bytes);
    let route = cx.route.as_deref();
    let backend = cx.upstream.backend;
    let connection = cx.known.connection.as_deref();
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
        route: route.map(|route| route.facts_of(backend)),
        metrics: route.map(|route| route.metrics_of(backend)),
        client: cx.known.client,
        peer: connection.map_or(cx.known.peer, |connection| connection.socket_peer),
        listener: connection.map_or("", |connection| &connection.listener),
        request_id: facts.request_id,
        user_agent: field(header::USER_AGENT),
        referer: field(header::REFERER),
        request_bytes: cx.request_bytes,
        response_bytes,
        attempts: cx.upstream.tries.as_slice(),
        upstream: cx.upstream.upstream.as_ref().map(|upstream| &**upstream.id()),
        tls: facts.tls,
        error: detail,
        answered_by: answered_by(cx),
        sent: cx.upstream.sent_as.as_deref(),
        plugins,
        identity: cx.shared.identity.as_ref().map(|identity| &*identity.name),
    });
}

/// The plugin that gave the response, and its reason.
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

fn tell_plugins(request: &Parts, cx: &Context, end: &End<'_>) {
    if let Some(route) = cx.route_with(Hooks::LOG) {
        let facts = cx.known.facts(request);
        let mut record = LogRecord::new(facts, route.facts_of(cx.upstream.backend), &cx.shared);
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
