//! Answers on their way to the client: upstreams' and tidegate's own.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tidegate_plugin::{Headers, Hooks, ResponseContext};

use super::context::Context;
use super::fields::{ResponseFields, edit_response};
use super::flow_control::Held;
use super::forwarded::REQUEST_ID;
use super::http10;
use super::length::{self, Told};
use super::reply::{self, Answer};
use super::{clocked, upstream};
use crate::endpoint::Hold;
use crate::reason::Reason;
use crate::snapshot::pipeline::ResponseOutcome;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Informational answers (1xx) that an endpoint may send before its answer.
const MAX_INFORMATIONAL: u8 = 32;

/// A client that still sends after the last word gets this long to hear it.
const LINGER: Duration = Duration::from_secs(1);
/// And may send this many pieces.
const LINGER_PIECES: usize = 64;

/// A plugin that must wait before a head goes on, and the status so far.
pub(super) struct Asked {
    index: usize,
    status: StatusCode,
}

/// The head of an upstream's answer. A plugin that must wait is returned, for [`wait_upstream`].
///
/// # Errors
/// An unasked 101: it would turn the connection into a tunnel that nobody wanted. Informational answers without end.
/// A plugin that failed.
pub(super) fn on_upstream(session: &mut Session, head: &mut ResponseHeader, cx: &mut Context) -> Result<Option<Asked>> {
    let is_switch = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if is_switch && !session.is_upgrade_req() {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "101 that nobody asked for").into_up());
    }
    cx.upstream.head_arrived();
    cx.valve.iter().for_each(Held::shown);
    let keeps_case = cx.snapshot.edge.headers.preserve_case;
    let mut status = head.status;
    if status.is_informational() && !is_switch {
        edit_response(head, keeps_case, |fields| strip(fields, status));
        return count_informational(cx).map(|()| None);
    }
    upstream::answered(cx);
    clocked::head_arrived(session, cx);
    if cx.upstream.upstream.as_ref().is_some_and(Hold::is_strained) {
        // What waits for a next request is better given back: there is too little of it.
        session.set_keepalive(None);
    }
    if !is_switch {
        end_after_refused_upgrade(session);
    }
    cx.is_tunnel = is_switch;
    let length = match length::told(&head.headers) {
        Told::Badly => return Err(Error::explain(ErrorType::InvalidHTTPHeader, "lengths that differ").into_up()),
        Told::Again(length) => Some(length),
        Told::Once(length) => {
            cx.is_empty = length.as_bytes() == b"0";
            None
        }
        Told::Never => None,
    };
    let mut outcome = ResponseOutcome::Continue;
    edit_response(head, keeps_case, |fields| {
        if let Some(length) = length {
            cx.is_empty = length.as_bytes() == b"0";
            fields.set(header::CONTENT_LENGTH, length);
        }
        strip(fields, status);
        (status, outcome) = finish_head(session, fields, status, None, cx);
    });
    match outcome {
        ResponseOutcome::Wait(index) => Ok(Some(Asked { index, status })),
        outcome => went_on(outcome, session, head, status, cx).map(|()| None),
    }
}

/// Waits for the plugin that must wait, and asks the rest.
///
/// # Errors
/// A plugin failed, or gives another response.
pub(super) async fn wait_upstream(
    asked: Asked,
    session: &mut Session,
    head: &mut ResponseHeader,
    cx: &mut Context,
) -> Result<()> {
    let request = session.req_header().clone();
    let (status, outcome) = wait(asked, &request, head, None, cx).await;
    went_on(outcome, session, head, status, cx)
}

async fn wait(
    asked: Asked,
    request: &RequestHeader,
    head: &mut ResponseHeader,
    given_by: Option<usize>,
    cx: &mut Context,
) -> (StatusCode, ResponseOutcome) {
    let Some(route) = cx.route.clone() else { return (asked.status, ResponseOutcome::Continue) };
    let limit = cx.snapshot.edge.limits.body_timeout.0;
    let facts = cx.known.facts(request);
    let named = route.facts_of(cx.upstream.asked());
    let mut fields = ResponseFields(head);
    let mut plugin_cx = ResponseContext::new(facts, named, &mut cx.shared, asked.status, &mut fields);
    let waiting = route.pipeline.wait_response(asked.index, given_by, &mut plugin_cx, &cx.passage);
    match tokio::time::timeout(limit, waiting).await {
        Ok(outcome) => (plugin_cx.status, outcome),
        Err(_) => {
            plugin_cx.shared.fail();
            (asked.status, ResponseOutcome::Continue)
        }
    }
}

/// What plugins have decided about the head of an upstream's answer.
fn went_on(
    outcome: ResponseOutcome,
    session: &mut Session,
    head: &mut ResponseHeader,
    status: StatusCode,
    cx: &mut Context,
) -> Result<()> {
    if cx.route_with(Hooks::RESPONSE_BODY).is_some() && !cx.is_empty {
        // Plugins may make the body longer or shorter; the engine then frames it anew. Where there is none, it
        // would end with the connection only.
        head.remove_header(&header::CONTENT_LENGTH);
    }
    set_status(head, status)?;
    http10::end_with_answer(session, head.status, &head.headers);
    if cx.shared.has_failed() {
        cx.reason = Some(Reason::Internal);
        let status = ErrorType::HTTPStatus(Reason::Internal.status());
        return Err(Error::explain(status, "a plugin failed"));
    }
    if let ResponseOutcome::Replace(given) = outcome
        // A tunnel has no response that could be another one.
        && head.status != StatusCode::SWITCHING_PROTOCOLS
    {
        let status = ErrorType::HTTPStatus(given.reply.status.as_u16());
        cx.reason = Some(Reason::Plugin);
        cx.instead = Some(given);
        return Err(Error::explain(status, "a plugin gives another response"));
    }
    Ok(())
}

/// What a client has already said in the other protocol must not be read as its next request.
fn end_after_refused_upgrade(session: &mut Session) {
    if session.is_upgrade_req() {
        session.set_keepalive(None);
    }
}

/// Each one is read in time, so only their number and the time of all of them tell that no answer is coming.
fn count_informational(cx: &mut Context) -> Result<()> {
    if cx.upstream.answer_due.is_some_and(|due| due <= Instant::now()) {
        cx.upstream.is_overdue = true;
        return Err(Error::explain(ErrorType::ReadTimedout, "informational answers and no other").into_up());
    }
    cx.upstream.informational = cx.upstream.informational.saturating_add(1);
    match cx.upstream.informational > MAX_INFORMATIONAL {
        true => Err(Error::explain(ErrorType::InvalidHTTPHeader, "too many informational answers").into_up()),
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

/// Removes what was meant for tidegate alone (RFC 9110 section 7.6.1). `Transfer-Encoding` stays: the engine reads it.
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

/// Takes a plugin's status, where both leave the framing as it is: a body, or none, stays one.
fn set_status(head: &mut ResponseHeader, status: StatusCode) -> Result<()> {
    let keeps_framing = reply::has_body(status) && reply::has_body(head.status);
    match status != head.status && keeps_framing {
        true => head.set_status(status),
        false => Ok(()),
    }
}

/// `Server`, and what plugins make of the head: the status is returned, and what they decide.
fn finish_head(
    session: &Session,
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
    // A plugin that has failed once is not given the answer that says so.
    let has_failed = cx.shared.has_failed();
    if let Some(route) = cx.route.as_ref().filter(|it| it.pipeline.hooks().contains(Hooks::RESPONSE) && !has_failed) {
        let facts = cx.known.facts(session.req_header());
        let named = route.facts_of(cx.upstream.asked());
        let mut plugin_cx = ResponseContext::new(facts, named, &mut cx.shared, status, fields);
        let outcome = route.pipeline.on_response(given_by, &mut plugin_cx, &cx.passage);
        return (plugin_cx.status, outcome);
    }
    (status, ResponseOutcome::Continue)
}

/// Sends an answer of tidegate's own.
///
/// # Errors
/// The client is gone.
pub(super) async fn send(session: &mut Session, answer: Answer, cx: &mut Context) -> Result<()> {
    let (answer, made) = make(session, answer, cx).await?;
    cx.answered_by = answer.by;
    cx.reason = cx.reason.or(Some(answer.reason));
    let expects = session.req_header().headers.contains_key(header::EXPECT);
    let mut closes = answer.closes;
    // A client that waits for 100 may send its body or not: only the connection's end is clear to both.
    closes |= expects && !session.is_body_empty();
    if closes {
        session.set_keepalive(None);
    }
    end_after_refused_upgrade(session);
    let head = Box::new(made);
    let is_head = session.req_header().method == Method::HEAD;
    let is_silent = is_head || answer.body.is_empty() || !reply::has_body(answer.status);
    let tasks = match is_silent {
        // The end stands on the head itself: gRPC's trailers-only answers are known by it.
        true => vec![HttpTask::Header(head, true)],
        false => vec![HttpTask::Header(head, false), HttpTask::Body(Some(answer.body), true)],
    };
    session.write_response_tasks(tasks).await?;
    match closes && !session.is_http2() {
        // Who waits for 100 sends nothing more, and is told the end at once; the front takes what comes all the same.
        true if expects => session.shutdown().await,
        true => linger(session).await,
        false => {}
    }
    Ok(())
}

/// The answer that is sent, with its head: that of a plugin which gives another one, or of one that fails.
async fn make(session: &mut Session, answer: Answer, cx: &mut Context) -> Result<(Answer, ResponseHeader)> {
    let had_failed = cx.shared.has_failed();
    let (made, outcome) = head(session, &answer, cx).await?;
    let headers = &session.req_header().headers;
    let other = match outcome {
        _ if cx.shared.has_failed() && !had_failed => {
            cx.reason = Some(Reason::Internal);
            Answer::refusal(Reason::Internal, headers, cx.known.request_id.as_str())
        }
        ResponseOutcome::Replace(given) => {
            cx.reason = cx.reason.or(Some(answer.reason));
            let other = Answer::plugin(*given, headers, cx.known.request_id.as_str());
            Answer { closes: answer.closes, is_instead: true, ..other }
        }
        _ => return Ok((answer, made)),
    };
    let (made, _) = head(session, &other, cx).await?;
    Ok((other, made))
}

async fn head(session: &mut Session, answer: &Answer, cx: &mut Context) -> Result<(ResponseHeader, ResponseOutcome)> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 4))?;
    for (name, value) in &answer.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    if reply::has_body(answer.status) {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()))?;
    }
    head.insert_header(REQUEST_ID, cx.known.request_id.as_str())?;
    let (mut status, mut outcome) = (answer.status, ResponseOutcome::Continue);
    let given_by = answer.by.filter(|_| answer.is_instead).map(|(position, _)| position);
    edit_response(&mut head, cx.snapshot.edge.headers.preserve_case, |fields| {
        (status, outcome) = finish_head(session, fields, status, given_by, cx);
    });
    if let ResponseOutcome::Wait(index) = outcome {
        let request = session.req_header().clone();
        (status, outcome) = wait(Asked { index, status }, &request, &mut head, given_by, cx).await;
    }
    set_status(&mut head, status)?;
    Ok((head, outcome))
}

/// Closing with unread bytes resets the connection, and the client may lose the answer (RFC 9112 section 9.6).
async fn linger(session: &mut Session) {
    let drain = async {
        for _ in 0..LINGER_PIECES {
            if !matches!(session.read_request_body().await, Ok(Some(_))) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
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
