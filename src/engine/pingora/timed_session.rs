//! What a request keeps of its session while that is timed: see `clocked`.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;
use tokio::sync::oneshot;

use super::clock::Clock;

/// A session that is timed, as the request knows it.
pub(crate) struct TimedSession {
    /// `None`: only the head is watched.
    pub(crate) clock: Option<Arc<Clock>>,
    /// Where the engine's own session comes back.
    pub(crate) home: oneshot::Receiver<Returned>,
}

/// The engine's own session, given back at the end.
pub(crate) struct Returned {
    pub(crate) session: ServerSession,
    /// Whether the answer's head was not there in time.
    pub(crate) is_overdue: bool,
}
