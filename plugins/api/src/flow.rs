//! How a hook says what happens next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::Reply;

/// A future that borrows plugin and context.
pub type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// What happens after [`crate::Plugin::on_request`].
#[derive(Debug)]
#[non_exhaustive]
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
#[non_exhaustive]
pub enum Verdict {
    /// The next plugin, then the upstream.
    Continue,
    /// This answer, and nothing after it.
    Reply(Reply),
}

/// What happens after [`crate::Plugin::on_response`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ResponseFlow {
    /// The next plugin, then the client.
    Continue,
    /// [`crate::Plugin::wait_response`] decides.
    Wait,
    /// This response in place of the one that was to be sent.
    Replace(Reply),
}

/// What happens after [`crate::Plugin::wait_response`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ResponseVerdict {
    /// The next plugin, then the client.
    Continue,
    /// This response in place of the one that was to be sent.
    Replace(Reply),
}

/// Where [`crate::Plugin::on_route`] sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Where the next plugin says, else to one of the route's backends by weight.
    #[default]
    Pass,
    /// To this backend of the route, by its position in [`crate::RouteContext::backends`]; one with weight 0 too.
    Backend(usize),
    /// To this upstream of the conf; one of those that [`crate::Plugin::upstreams`] names.
    Upstream(Arc<str>),
}

/// A piece of a body on its way. `None`: nothing now, but maybe the end.
#[derive(Debug)]
#[non_exhaustive]
pub struct BodyChunk<'a> {
    /// The bytes; may be replaced or taken.
    pub bytes: &'a mut Option<Bytes>,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// What happens after a body hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFlow {
    /// The piece goes on.
    Continue,
    /// [`crate::Plugin::wait_request_body`] decides about the piece; nothing more is read of the client meanwhile. Of a
    /// response's body it is an error: its hook cannot wait.
    Wait,
    /// The message is ended as broken; before a head was sent the client gets this status.
    Abort(StatusCode),
}

/// What happens after [`crate::Plugin::wait_request_body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyVerdict {
    /// The piece goes on.
    Continue,
    /// The message is ended as broken; before a head was sent the client gets this status.
    Abort(StatusCode),
}

// === impl Flow, BodyChunk ===

impl Flow {
    /// Answers with a status and its text.
    pub fn reply(status: StatusCode) -> Self {
        Self::Reply(Reply::new(status))
    }
}

impl<'a> BodyChunk<'a> {
    /// A piece, and whether it is the last one.
    pub fn new(bytes: &'a mut Option<Bytes>, is_last: bool) -> Self {
        Self { bytes, is_last }
    }
}
