//! Responses on their way to the client: upstreams' and tidegate's own.

use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tidegate_plugin::{Headers, Hooks, ResponseContext};

use super::context::{self, Context};
use super::fault::Fault;
use super::forwarded::REQUEST_ID;
use super::length::{self, Told, content_length};
use super::reply::{self, Answer};
use super::upstream;
use crate::endpoint::Hold;
use crate::reason::Reason;
use crate::snapshot::pipeline::ResponseOutcome;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Informational responses (1xx) that an endpoint may send before its response.
const MAX_INFORMATIONAL: u8 = 32;

/// What a head of an upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// One of those that come before the response.
    Informational,
    /// That of the response, when a plugin has been waited for, see [`wait`].
    Wait(Asked),
    /// That of the response, with the status that it gets.
    Final { status: StatusCode, after: After },
}

/// A plugin that must wait before a head goes on; the status that came, and the one that it gets so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    index: usize,
    came: StatusCode,
    status: StatusCode,
}

/// What follows a response on the client's connection. On HTTP/2, whose streams end by themselves, nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may come.
    Next,
    /// The end.
    End,
    /// The end at once: the client waits, and sends nothing more.
    EndAtOnce,
    /// The end, when the client, which still sends, has had time to hear the response (RFC 9112 section 9.6).
    Linger,
}

/// Makes of the head of an upstream what the client gets.
///
/// # Errors
/// An unasked 101: it would turn the connection into a tunnel that nobody wanted. Informational responses without end.
/// Lengths that differ. A plugin that failed, or gives another response, which [`super::finish::fail`] says then. The
/// reason is in the context too.
pub(crate) fn on_head(
    request: &Parts,
    status: StatusCode,
    fields: &mut dyn Headers,
    cx: &mut Context,
) -> Result<Passed, Fault> {
    passed(request, status, fields, cx).inspect_err(|fault| cx.reason = Some(fault.reason))
}

fn passed(request: &Parts, status: StatusCode, fields: &mut dyn Headers, cx: &mut Context) -> Result<Passed, Fault> {
    let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_switch && !cx.known.is_upgrade {
        return Err(Fault::new(Reason::UpstreamProtocol, "101 that nobody asked for"));
    }
    cx.upstream.head_arrived();
    if status.is_informational() && !is_switch {
        strip(fields, status);
        return count_informational(cx).map(|()| Passed::Informational);
    }
    upstream::answered(cx);
    cx.is_tunnel = is_switch;
    cx.is_empty = one_length(fields)?;
    strip(fields, status);
    let (status, outcome) = match finish_head(request, fields, status, None, cx) {
        (so_far, ResponseOutcome::Wait(index)) => {
            return Ok(Passed::Wait(Asked { index, came: status, status: so_far }));
        }
        done => done,
    };
    went_on(outcome, request, status, fields, cx)
}

/// Waits for the plugin that must wait, and asks the rest.
///
/// # Errors
/// A plugin failed, takes too long, or gives another response; the reason is in the context too.
pub(crate) async fn wait(
    asked: Asked,
    request: &Parts,
    fields: &mut dyn Headers,
    cx: &mut Context,
) -> Result<Passed, Fault> {
    let (status, outcome) = waited(asked, request, fields, None, cx).await;
    went_on(outcome, request, status, fields, cx).inspect_err(|fault| cx.reason = Some(fault.reason))
}

/// What plugins have decided about the head of an upstream's response.
fn went_on(
    outcome: ResponseOutcome,
    request: &Parts,
    status: StatusCode,
    fields: &mut dyn Headers,
    cx: &mut Context,
) -> Result<Passed, Fault> {
    if cx.route_with(Hooks::RESPONSE_BODY).is_some() && !cx.is_empty {
        // Plugins may make the body longer or shorter; it is then framed anew. Where there is none, it would end with
        // the connection only.
        fields.remove(&header::CONTENT_LENGTH);
    }
    if cx.shared.has_failed() {
        return Err(Fault::new(Reason::Internal, "a plugin failed"));
    }
    // A tunnel has no response that could be another one.
    if let (ResponseOutcome::Replace(given), false) = (outcome, cx.is_tunnel) {
        let what = "a plugin gives another response";
        let fault = Fault { reason: Reason::Plugin, status: given.reply.status, what };
        cx.instead = Some(given);
        return Err(fault);
    }
    let ends = ends_connection(request, status, fields.map(), cx);
    Ok(Passed::Final { status, after: if ends { After::End } else { After::Next } })
}

/// Sees to it that a length is told once; gives whether it is zero.
fn one_length(fields: &mut dyn Headers) -> Result<bool, Fault> {
    let length = match length::told(fields.map()) {
        Told::Badly => return Err(Fault::new(Reason::UpstreamProtocol, "lengths that differ")),
        Told::Never => return Ok(false),
        Told::Once(length) => return Ok(length.as_bytes() == b"0"),
        Told::Again(length) => length,
    };
    let is_zero = length.as_bytes() == b"0";
    fields.set(header::CONTENT_LENGTH, length);
    Ok(is_zero)
}

/// Whether no other request is taken on the client's connection after an upstream's response.
fn ends_connection(request: &Parts, status: StatusCode, fields: &HeaderMap, cx: &Context) -> bool {
    // What waits for a next request is better given back where there is too little of it.
    let is_strained = cx.upstream.upstream.as_ref().is_some_and(Hold::is_strained);
    // What a client has already said in the other protocol must not be read as its next request.
    let is_refused_upgrade = cx.known.is_upgrade && status != StatusCode::SWITCHING_PROTOCOLS;
    is_strained || is_refused_upgrade || ends_with_connection(request, status, fields)
}

/// Whether a body ends with its connection: its length is not told, and clients of HTTP/1.0 know no chunks.
fn ends_with_connection(request: &Parts, status: StatusCode, fields: &HeaderMap) -> bool {
    request.version == Version::HTTP_10
        && request.method != Method::HEAD
        && reply::has_body(status)
        && !fields.contains_key(header::CONTENT_LENGTH)
}

/// Whether a client that was sent this head, and so many bytes of a body, has the whole response: it misses nothing
/// when it goes, whatever the endpoint has still to say (RFC 9112 section 6.3).
pub(crate) fn is_whole(request: &Parts, head: &http::response::Parts, sent: usize) -> bool {
    if head.status.is_informational() {
        return false;
    }
    let has_body = request.method != Method::HEAD && reply::has_body(head.status);
    let is_told = matches!(length::told(&head.headers), Told::Once(_));
    !has_body || (is_told && content_length(&head.headers) <= u64::try_from(sent).unwrap_or(u64::MAX))
}

/// Each one is read in time, so only their number and the time of all of them tell that no response is coming.
fn count_informational(cx: &mut Context) -> Result<(), Fault> {
    if cx.upstream.answer_due.is_some_and(|due| due <= Instant::now()) {
        cx.upstream.is_overdue = true;
        return Err(Fault::new(Reason::UpstreamTimeout, "informational responses and no other"));
    }
    cx.upstream.informational = cx.upstream.informational.saturating_add(1);
    match cx.upstream.informational > MAX_INFORMATIONAL {
        true => Err(Fault::new(Reason::UpstreamProtocol, "too many informational responses")),
        false => Ok(()),
    }
}

/// Removes what clients must not get with such a status.
fn strip(fields: &mut dyn Headers, status: StatusCode) {
    strip_hop_by_hop(fields, status == StatusCode::SWITCHING_PROTOCOLS);
    // RFC 9110 section 8.6, RFC 9112 section 6.1: these end with their head, and clients may trip over a length.
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        fields.remove(&header::CONTENT_LENGTH);
        fields.remove(&header::TRANSFER_ENCODING);
    }
}

/// Removes what was meant for tidegate alone (RFC 9110 section 7.6.1). `Transfer-Encoding` stays: engines read it.
fn strip_hop_by_hop(fields: &mut dyn Headers, is_switch: bool) {
    // Most answers have none of them, and one look is cheaper than five removals.
    if !fields.map().keys().any(is_hop_by_hop) {
        return;
    }
    for name in nominated(fields.map()) {
        fields.remove(&name);
    }
    fields.remove(&KEEP_ALIVE);
    fields.remove(&PROXY_CONNECTION);
    fields.remove(&header::TE);
    if !is_switch {
        fields.remove(&header::CONNECTION);
        fields.remove(&header::UPGRADE);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 5] = [header::CONNECTION, header::TE, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION];
    NAMES.contains(name)
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
    names.filter(|name| !is_kept(name) && headers.contains_key(name)).collect()
}

/// Framing, and what decides over `Connection` itself.
fn is_kept(name: &HeaderName) -> bool {
    const KEPT: &[HeaderName] = &[
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::SET_COOKIE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    KEPT.contains(name)
}

/// `Server`, and what plugins make of the head: the status is returned, and what they decide. `given_by`: the plugin
/// whose response it is in place of another one.
fn finish_head(
    request: &Parts,
    fields: &mut dyn Headers,
    status: StatusCode,
    given_by: Option<usize>,
    cx: &mut Context,
) -> (StatusCode, ResponseOutcome) {
    if let Some(server) = &cx.snapshot.edge.server_header
        && !fields.map().contains_key(header::SERVER)
    {
        fields.set(header::SERVER, server.clone());
    }
    // A plugin that has failed once is not given the response that says so.
    let route = context::with(&cx.route, Hooks::RESPONSE).filter(|_| !cx.shared.has_failed());
    let Some(route) = route else { return (status, ResponseOutcome::Continue) };
    let facts = cx.known.facts(request);
    let named = route.facts_of(cx.upstream.backend);
    let mut plugin_cx = ResponseContext::new(facts, named, &mut cx.shared, status, fields);
    let outcome = route.pipeline.on_response(given_by, &mut plugin_cx, &cx.passage);
    (allowed(status, plugin_cx.status), outcome)
}

/// Waits for the plugin that must wait, and asks the rest. One that takes longer than a client may has failed.
async fn waited(
    asked: Asked,
    request: &Parts,
    fields: &mut dyn Headers,
    given_by: Option<usize>,
    cx: &mut Context,
) -> (StatusCode, ResponseOutcome) {
    let Asked { index, came, status } = asked;
    let Some(route) = cx.route.as_ref() else { return (status, ResponseOutcome::Continue) };
    let limit = cx.snapshot.edge.limits.body_timeout.0;
    let facts = cx.known.facts(request);
    let named = route.facts_of(cx.upstream.backend);
    let mut plugin_cx = ResponseContext::new(facts, named, &mut cx.shared, status, fields);
    let waiting = route.pipeline.wait_response(index, given_by, &mut plugin_cx, &cx.passage);
    match tokio::time::timeout(limit, waiting).await {
        Ok(outcome) => (allowed(came, plugin_cx.status), outcome),
        Err(_) => {
            cx.shared.fail();
            (status, ResponseOutcome::Continue)
        }
    }
}

/// The status that a plugin wants, as far as it may: a body, or none, stays one, as the framing is made already.
fn allowed(came: StatusCode, wanted: StatusCode) -> StatusCode {
    if reply::has_body(came) && reply::has_body(wanted) { wanted } else { came }
}

/// Writes the head of a response of tidegate's own into one that has no fields yet; gives its status. Where a plugin
/// fails on it, it becomes the response that says so; where one gives another, that one.
pub(crate) async fn compose(
    answer: &mut Answer,
    request: &Parts,
    fields: &mut dyn Headers,
    cx: &mut Context,
) -> StatusCode {
    let had_failed = cx.shared.has_failed();
    let (mut status, outcome) = write(answer, request, fields, cx).await;
    if let Some(other) = other(answer, outcome, cx.shared.has_failed() && !had_failed, request, cx) {
        *answer = other;
        while let Some(name) = fields.map().keys().next().cloned() {
            fields.remove(&name);
        }
        (status, _) = write(answer, request, fields, cx).await;
    }
    cx.answered_by = answer.by;
    cx.reason = cx.reason.or(Some(answer.reason));
    status
}

/// The response in place of one of tidegate's own: that of a plugin, or the one that says that a plugin has failed.
fn other(
    answer: &Answer,
    outcome: ResponseOutcome,
    has_failed: bool,
    request: &Parts,
    cx: &mut Context,
) -> Option<Answer> {
    let id = cx.known.request_id.as_str();
    match outcome {
        _ if has_failed => {
            cx.reason = Some(Reason::Internal);
            Some(Answer::refusal(Reason::Internal, &request.headers, id))
        }
        ResponseOutcome::Replace(given) => {
            cx.reason = cx.reason.or(Some(answer.reason));
            let other = Answer::plugin(*given, &request.headers, id);
            Some(Answer { closes: answer.closes, is_instead: true, ..other })
        }
        _ => None,
    }
}

async fn write(
    answer: &Answer,
    request: &Parts,
    fields: &mut dyn Headers,
    cx: &mut Context,
) -> (StatusCode, ResponseOutcome) {
    for (name, value) in &answer.headers {
        fields.append(name.clone(), value.clone());
    }
    if reply::has_body(answer.status) {
        fields.set(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    // It was a field's value, or is made of digits.
    if let Ok(id) = HeaderValue::from_str(cx.known.request_id.as_str()) {
        fields.set(REQUEST_ID, id);
    }
    let given_by = answer.by.filter(|_| answer.is_instead).map(|(position, _)| position);
    let came = answer.status;
    match finish_head(request, fields, came, given_by, cx) {
        (status, ResponseOutcome::Wait(index)) => {
            waited(Asked { index, came, status }, request, fields, given_by, cx).await
        }
        done => done,
    }
}

/// What follows a response of tidegate's own.
pub(crate) fn after(answer: &Answer, request: &Parts, cx: &Context) -> After {
    let expects = request.headers.contains_key(header::EXPECT);
    // A client that waits for 100 may send its body or not: only the connection's end is clear to both.
    let is_unclear = expects && (cx.known.has_body || cx.known.is_upgrade);
    match (answer.closes || is_unclear, expects) {
        // What comes all the same is taken by the front.
        (true, true) => After::EndAtOnce,
        (true, false) => After::Linger,
        (false, _) if cx.known.is_upgrade => After::End,
        (false, _) => After::Next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_a_body_have_no_length() {
        for (status, expected) in [(100, 0), (101, 0), (103, 0), (204, 0), (200, 2), (205, 2), (304, 2)] {
            let mut fields = HeaderMap::new();
            fields.append(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
            fields.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            strip(&mut fields, StatusCode::from_u16(status).unwrap());
            assert_eq!(fields.len(), expected, "{status}");
        }
    }

    #[test]
    fn a_response_is_whole_where_its_length_says_so() {
        for (method, status, length, sent, expected) in [
            (Method::GET, 200, Some("5"), 5, true),
            (Method::GET, 200, Some("5"), 4, false),
            (Method::GET, 200, Some("0"), 0, true),
            (Method::GET, 200, None, 5, false),
            (Method::HEAD, 200, Some("5"), 0, true),
            (Method::GET, 204, None, 0, true),
            (Method::GET, 304, Some("5"), 0, true),
            (Method::GET, 101, None, 0, false),
            (Method::HEAD, 103, None, 0, false),
        ] {
            let request = http::Request::builder().method(method.clone()).body(()).unwrap().into_parts().0;
            let mut head = http::Response::builder().status(status);
            head = length.into_iter().fold(head, |head, length| head.header(header::CONTENT_LENGTH, length));
            let head = head.body(()).unwrap().into_parts().0;
            assert_eq!(is_whole(&request, &head, sent), expected, "{method} {status} {length:?} {sent}");
        }
    }

    #[test]
    fn hop_by_hop_fields_of_answers_end_here() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-foo, content-length"),
            ("x-foo", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("upgrade", "h2c"),
            ("content-length", "5"),
            ("x-bar", "1"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut fields, false);
        let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-bar"]);
    }
}
