//! Answers that a client gets before the app knows of a request: the engine's own and the guard's.
//!
//! The engine refuses what is no HTTP/1 head, and CONNECT, without asking anybody; they are seen here as they are
//! written, so that log and metrics tell of them like of every other answer.

use std::sync::Arc;
use std::time::SystemTime;

use super::deadline::ReadClock;
use crate::connection::{ConnectionInfo, Phase, Protocol};
use crate::reason::Reason;
use crate::telemetry::record::{Recorder, RequestRecord};

/// Records the early answer of a connection; there is one at most, since the connection ends with it.
pub(super) struct Early {
    recorder: Arc<dyn Recorder>,
    is_done: bool,
}

// === impl Early ===

impl Early {
    pub(super) fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder, is_done: false }
    }

    /// Looks at bytes that were written; records them when they are an answer to no request.
    pub(super) fn written(&mut self, bytes: &[u8], info: &ConnectionInfo, clock: &ReadClock) {
        if self.is_done || info.protocol == Protocol::Http2 || is_served(info.progress().phase()) {
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
            peer: info.peer,
            listener: &info.listener,
            request_id: "",
            user_agent: None,
            referer: None,
            request_bytes,
            response_bytes: 0,
            tries: &[],
            upstream: None,
            tls: info.tls.as_ref(),
            error: None,
            identity: None,
            plugins: &[],
        });
    }
}

impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Early").field("is_done", &self.is_done).finish_non_exhaustive()
    }
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
        400..=499 => Reason::BadRequest,
        _ => return None,
    };
    Some((status, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_by_their_status_line() {
        assert_eq!(refusal(b"HTTP/1.1 400 Bad Request\r\n"), Some((400, Reason::BadRequest)));
        assert_eq!(refusal(b"HTTP/1.1 405 Method Not Allowed\r\n"), Some((405, Reason::BadMethod)));
        assert_eq!(refusal(b"HTTP/1.1 408 Request Timeout\r\n"), Some((408, Reason::HeaderTimeout)));
        for other in [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 4", b"x"] {
            assert_eq!(refusal(other), None);
        }
    }
}
