//! How a hook says what happens next.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A future that borrows plugin and context.
pub type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// What happens after [`crate::Plugin::on_request`].
#[derive(Debug)]
pub enum Flow {
    /// The next plugin, then the upstream.
    Continue,
    /// [`crate::Plugin::wait`] decides.
    Wait,
    /// This answer, and nothing after it.
    Reply(Reply),
}

/// What happens after [`crate::Plugin::wait`].
#[derive(Debug)]
pub enum Verdict {
    /// The next plugin, then the upstream.
    Continue,
    /// This answer, and nothing after it.
    Reply(Reply),
}

/// An answer of a plugin's own. An empty body becomes the status text.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Fields besides `Content-Length`, `Date` and the defaults.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Why, where the status does not say it; stands as the reason code in log and metrics.
    pub cause: Option<Cause>,
}

/// Why a plugin answers, where the status does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client has given too many wrong passwords: `too_many_failures`.
    Failures,
    /// Work that the answer depends on would have waited too long: `work_refused`.
    Overload,
}

/// A piece of a body on its way. `None`: nothing now, but maybe the end.
#[derive(Debug)]
pub struct BodyChunk<'a> {
    /// The bytes; may be replaced or taken.
    pub bytes: &'a mut Option<Bytes>,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// What happens after a body hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFlow {
    /// The piece goes on.
    Continue,
    /// The message is ended as broken; before a head was sent the client gets this status.
    Abort(StatusCode),
}

// === impl Flow, Reply ===

impl Flow {
    /// Answers with a status and its text.
    pub fn reply(status: StatusCode) -> Self {
        Self::Reply(Reply::new(status))
    }
}

impl Reply {
    /// A status and its text.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), cause: None }
    }

    /// Sets a field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}
