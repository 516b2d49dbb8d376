//! Answers that a client gets before the app knows of a request: the engine's own and the guard's.
//!
//! The engine refuses what is no HTTP/1 head, and CONNECT, without asking anybody; they are seen here as they are
//! written, so that they carry our `Server`, and log and metrics tell of them like of every other answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::HeaderValue;
use tokio::io::AsyncWrite;

use super::deadline::ReadClock;
use crate::connection::{ConnectionInfo, Phase, Protocol};
use crate::reason::Reason;
use crate::telemetry::record::{Recorder, RequestRecord};

/// Dresses and records the early answer of a connection; there is one at most, since the connection ends with it.
pub(super) struct Early {
    recorder: Arc<dyn Recorder>,
    /// The value of `Server`.
    server: Option<HeaderValue>,
    /// What is sent in place of the engine's answer.
    answer: Option<Answer>,
    is_done: bool,
}

/// An answer that is being written.
struct Answer {
    bytes: Vec<u8>,
    sent: usize,
}

// === impl Early ===

impl Early {
    pub(super) fn new(recorder: Arc<dyn Recorder>, server: Option<HeaderValue>) -> Self {
        Self { recorder, server, answer: None, is_done: false }
    }

    /// Writes bytes; an answer to no request goes out as ours.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bytes: &[u8],
        info: &ConnectionInfo,
    ) -> Poll<io::Result<usize>> {
        if self.is_over(info) || (self.answer.is_none() && refusal(bytes).is_none()) {
            return Pin::new(stream).poll_write(cx, bytes);
        }
        let server = self.server.as_ref();
        let answer = self.answer.get_or_insert_with(|| Answer { bytes: with_server(bytes, server), sent: 0 });
        while let Some(rest) = answer.bytes.get(answer.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Ok(0)),
                count => answer.sent += count,
            }
        }
        self.answer = None;
        Poll::Ready(Ok(bytes.len()))
    }

    /// An answer of the front itself, with our `Server`.
    pub(super) fn dress(&self, answer: &[u8]) -> Vec<u8> {
        with_server(answer, self.server.as_ref())
    }

    /// Whether no early answer can come any more.
    fn is_over(&self, info: &ConnectionInfo) -> bool {
        self.is_done || info.protocol() == Protocol::Http2 || is_served(info.progress().phase())
    }

    /// Looks at bytes that were written; records them when they are an answer to no request.
    pub(super) fn written(&mut self, bytes: &[u8], info: &ConnectionInfo, clock: &ReadClock) {
        if self.is_over(info) {
            return;
        }
        let Some((status, reason)) = refusal(bytes) else { return };
        self.is_done = true;
        let (since, request_bytes) = clock.so_far();
        let duration = since.elapsed();
        let now = SystemTime::now();
        self.recorder.record(&RequestRecord {
            time: now.checked_sub(duration).unwrap_or(now),
            duration,
            method: "",
            scheme: if info.is_tls() { "https" } else { "http" },
            host: "",
            path: "",
            query: None,
            protocol: "HTTP/1.1",
            status,
            reason,
            route: None,
            metrics: None,
            client: info.peer.ip(),
            peer: info.socket_peer,
            listener: &info.listener,
            request_id: "",
            user_agent: None,
            referer: None,
            request_bytes,
            response_bytes: 0,
            attempts: &[],
            upstream: None,
            tls: info.tls.as_ref(),
            error: None,
            identity: None,
            answered_by: None,
            sent: None,
            plugins: &[],
        });
    }
}

impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Early").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

/// Whether this says that it was no request.
pub(super) fn is_bad_request(answer: &[u8]) -> bool {
    refusal(answer).is_some_and(|(status, _)| status == 400)
}

/// The answer with our `Server`, or none, in place of the engine's.
fn with_server(answer: &[u8], server: Option<&HeaderValue>) -> Vec<u8> {
    const NAME: &[u8] = b"server:";
    let mut out = Vec::with_capacity(answer.len() + 64);
    for (index, line) in answer.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !line.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME)) {
            out.extend_from_slice(line);
        }
        if let (0, Some(server)) = (index, server) {
            out.extend_from_slice(b"Server: ");
            out.extend_from_slice(server.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// Whether the app has a request in hand. Between two of them the head of the next may have come with the one before.
fn is_served(phase: Phase) -> bool {
    matches!(phase, Phase::Request | Phase::Body)
}

/// Status and reason of a refusal, by its status line.
fn refusal(bytes: &[u8]) -> Option<(u16, Reason)> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    let reason = match status {
        405 => Reason::BadMethod,
        408 => Reason::HeaderTimeout,
        414 => Reason::UriTooLong,
        431 => Reason::HeadersTooLarge,
        400..=499 => Reason::BadRequest,
        _ => return None,
    };
    Some((status, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_server_becomes_ours_or_none() {
        let engine = b"HTTP/1.1 400 Bad Request\r\nserver: Pingora\r\nContent-Length: 0\r\n\r\n";
        let ours = HeaderValue::from_static("edge");
        let dressed = with_server(engine, Some(&ours));
        assert_eq!(dressed, b"HTTP/1.1 400 Bad Request\r\nServer: edge\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(with_server(engine, None), b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn refusals_are_known_by_their_status_line() {
        assert_eq!(refusal(b"HTTP/1.1 400 Bad Request\r\n"), Some((400, Reason::BadRequest)));
        assert_eq!(refusal(b"HTTP/1.1 405 Method Not Allowed\r\n"), Some((405, Reason::BadMethod)));
        assert_eq!(refusal(b"HTTP/1.1 408 Request Timeout\r\n"), Some((408, Reason::HeaderTimeout)));
        assert_eq!(refusal(b"HTTP/1.1 414 URI Too Long\r\n"), Some((414, Reason::UriTooLong)));
        assert_eq!(refusal(b"HTTP/1.1 431 Request Header"), Some((431, Reason::HeadersTooLarge)));
        for other in [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 4", b"x"] {
            assert_eq!(refusal(other), None);
        }
    }
}
