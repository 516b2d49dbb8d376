//! Responses as Pingora writes them: upstreams' and tidegate's own.

use std::time::Duration;

use http::Response;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::fields::{ResponseFields, edit_response};
use super::flow_control::Held;
use super::{clocked, failure};
use crate::proxy::fault::Fault;
use crate::proxy::reply::Answer;
use crate::proxy::response::{self, After, Asked, Passed};

/// A client that still sends after the last word gets this long to hear it.
const LINGER: Duration = Duration::from_secs(1);
/// And may send this many pieces.
const LINGER_PIECES: usize = 64;

/// Room for what a response of tidegate's own has besides its own fields: length, request id, `Server`, and `Date` and
/// `Connection` by the engine.
const ROOM: usize = 7;

/// A head of an upstream. A plugin that must wait is returned, for [`wait_upstream`].
///
/// # Errors
/// It is none that may be passed on, a plugin failed, or gives another response.
pub(super) fn on_upstream(
    session: &mut Session,
    head: &mut ResponseHeader,
    cx: &mut Exchange,
) -> Result<Option<Asked>> {
    cx.flow.iter().for_each(Held::shown);
    let (keeps_case, status) = (cx.request.snapshot.edge.headers.preserve_case, head.status);
    let request = session.req_header();
    let passed = edit_response(head, keeps_case, |fields| response::on_head(request, status, fields, &mut cx.request));
    pass(passed, session, head, cx)
}

/// Waits for the plugin that must wait.
///
/// # Errors
/// As for [`on_upstream`].
pub(super) async fn wait_upstream(
    asked: Asked,
    session: &mut Session,
    head: &mut ResponseHeader,
    cx: &mut Exchange,
) -> Result<()> {
    let request = session.req_header();
    let passed = response::wait(asked, request, &mut ResponseFields(head), &mut cx.request).await;
    pass(passed, session, head, cx).map(|_| ())
}

fn pass(
    passed: Result<Passed, Fault>,
    session: &mut Session,
    head: &mut ResponseHeader,
    cx: &mut Exchange,
) -> Result<Option<Asked>> {
    let passed = passed.map_err(failure::of)?;
    if passed != Passed::Informational {
        // The endpoint is waited for no more, whoever is.
        clocked::head_arrived(session, cx);
    }
    match passed {
        Passed::Informational => Ok(None),
        Passed::Wait(asked) => Ok(Some(asked)),
        Passed::Final { status, after } => {
            if after != After::Next {
                session.set_keepalive(None);
            }
            set_status(head, status).map(|()| None)
        }
    }
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
    let head = Box::new(head(session, &mut answer, cx).await?);
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

async fn head(session: &mut Session, answer: &mut Answer, cx: &mut Exchange) -> Result<ResponseHeader> {
    let request = session.req_header();
    let room = answer.headers.len() + ROOM;
    if cx.request.snapshot.edge.headers.preserve_case {
        let mut head = ResponseHeader::build(answer.status, Some(room))?;
        let status = response::compose(answer, request, &mut ResponseFields(&mut head), &mut cx.request).await;
        set_status(&mut head, status)?;
        return Ok(head);
    }
    let mut head = Response::new(()).into_parts().0;
    head.headers.reserve(room);
    head.status = response::compose(answer, request, &mut head.headers, &mut cx.request).await;
    Ok(head.into())
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
