//! What a request keeps of its session while that is timed: see `clocked`.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;
use tokio::sync::oneshot;

use super::clock::Clock;

/// A session that is timed, as the request knows it.
pub(super) struct TimedSession {
    /// `None`: only the head is watched.
    pub(super) clock: Option<Arc<Clock>>,
    /// Where the engine's own session comes back.
    pub(super) home: oneshot::Receiver<Returned>,
}

/// The engine's own session, given back at the end.
pub(super) struct Returned {
    pub(super) session: ServerSession,
    /// Whether the answer's head was not there in time.
    pub(super) is_overdue: bool,
}
