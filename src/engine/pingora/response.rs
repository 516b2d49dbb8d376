//! Responses as Pingora writes them: upstreams' and tidegate's own.

use std::time::Duration;

use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::fields::edit_response;
use super::flow_control::Held;
use super::{clocked, failure};
use crate::proxy::reply::Answer;
use crate::proxy::response::{self, After, Passed};

/// A client that still sends after the last word gets this long to hear it.
const LINGER: Duration = Duration::from_secs(1);
/// And may send this many pieces.
const LINGER_PIECES: usize = 64;

/// A head of an upstream.
///
/// # Errors
/// It is none that may be passed on, or a plugin failed.
pub(super) fn on_upstream(session: &mut Session, head: &mut ResponseHeader, cx: &mut Exchange) -> Result<()> {
    cx.flow.iter().for_each(Held::shown);
    let (keeps_case, status) = (cx.request.snapshot.edge.headers.preserve_case, head.status);
    let request = session.req_header();
    let passed = edit_response(head, keeps_case, |fields| response::on_head(request, status, fields, &mut cx.request));
    let Passed::Final { status, after } = passed.map_err(failure::of)? else { return Ok(()) };
    clocked::head_arrived(session, cx);
    if after != After::Next {
        session.set_keepalive(None);
    }
    set_status(head, status)
}

/// A status that is set anew loses its phrase.
fn set_status(head: &mut ResponseHeader, status: http::StatusCode) -> Result<()> {
    if head.status == status { Ok(()) } else { head.set_status(status) }
}

/// Sends a response of tidegate's own.
///
/// # Errors
/// The client is gone.
pub(super) async fn send(session: &mut Session, mut answer: Answer, cx: &mut Exchange) -> Result<()> {
    let head = Box::new(head(session, &mut answer, cx)?);
    let request = session.req_header();
    let (after, sends_body) = (response::after(&answer, request, &cx.request), answer.sends_body(&request.method));
    if after != After::Next {
        session.set_keepalive(None);
    }
    let tasks = match sends_body {
        true => vec![HttpTask::Header(head, false), HttpTask::Body(Some(answer.body), true)],
        // The end stands on the head itself: gRPC's trailers-only responses are known by it.
        false => vec![HttpTask::Header(head, true)],
    };
    session.write_response_tasks(tasks).await?;
    match after {
        After::EndAtOnce if !session.is_http2() => session.shutdown().await,
        After::Linger if !session.is_http2() => linger(session).await,
        _ => {}
    }
    Ok(())
}

fn head(session: &Session, answer: &mut Answer, cx: &mut Exchange) -> Result<ResponseHeader> {
    let keeps_case = cx.request.snapshot.edge.headers.preserve_case;
    let room = Some(answer.headers.len() + 4);
    let mut head = match keeps_case {
        true => ResponseHeader::build(answer.status, room)?,
        false => ResponseHeader::build_no_case(answer.status, room)?,
    };
    let request = session.req_header();
    let status =
        edit_response(&mut head, keeps_case, |fields| response::compose(answer, request, fields, &mut cx.request));
    set_status(&mut head, status)?;
    Ok(head)
}

/// Closing with unread bytes resets the connection, and the client may lose the response (RFC 9112 section 9.6).
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
