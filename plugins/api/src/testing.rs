//! Testing a plugin without a proxy.
//!
//! A [`Request`] is made in one line and handed to a plugin's hooks; what the plugin did is a value.
//!
//! ```
//! # use bytes::Bytes;
//! # use http::StatusCode;
//! # use tidegate_plugin::testing::{Body, Request};
//! # use tidegate_plugin::*;
//! struct Shout;
//! impl Plugin for Shout {
//!     fn hooks(&self) -> Hooks {
//!         Hooks::REQUEST_BODY | Hooks::RESPONSE_BODY
//!     }
//!     fn on_request_body(&self, chunk: &mut BodyChunk<'_>, _: &Shared) -> BodyFlow {
//!         match chunk.bytes.as_ref().is_some_and(|bytes| bytes.contains(&b'!')) {
//!             true => BodyFlow::Abort(StatusCode::BAD_REQUEST),
//!             false => BodyFlow::Continue,
//!         }
//!     }
//!     fn on_response_body(&self, chunk: &mut BodyChunk<'_>, _: &Shared) -> BodyFlow {
//!         *chunk.bytes = chunk.bytes.take().map(|bytes| Bytes::from(bytes.to_ascii_uppercase()));
//!         BodyFlow::Continue
//!     }
//! }
//!
//! let request = Request::get("/");
//! assert_eq!(request.request_body(&Shout, &["calm"]), Body::Passed("calm".into()));
//! assert_eq!(request.request_body(&Shout, &["a", "b!", "c"]), Body::Aborted(StatusCode::BAD_REQUEST, "a".into()));
//! assert_eq!(request.response_body(&Shout, &["hel", "lo"]), Body::Passed("HELLO".into()));
//! ```

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    BodyChunk, BodyFlow, Flow, Identity, LogRecord, Plugin, Reply, RequestContext, RequestFacts, ResponseContext,
    RouteFacts, Shared, TlsFacts, UpstreamRequest, Verdict,
};

/// A request as the proxy would show it to a plugin.
#[derive(Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Canonical path.
    pub path: String,
    /// Host.
    pub host: String,
    /// Client.
    pub client: IpAddr,
    /// Fields.
    pub headers: HeaderMap,
    /// The matched route.
    pub route: RouteFacts,
    /// TLS facts; none: plain HTTP.
    pub tls: Option<TlsFacts>,
    /// What lives through the request.
    pub shared: Shared,
}

/// What a plugin's request hook decided, waiting included.
#[derive(Debug)]
pub enum Outcome {
    /// The request goes on.
    Continue,
    /// This answer.
    Reply(Reply),
}

/// What a body became on its way through a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it, as it went on.
    Passed(Bytes),
    /// The status it was ended with, and what had gone on before.
    Aborted(StatusCode, Bytes),
}

// === impl Request ===

impl Request {
    /// A GET of this path, from 127.0.0.1 to `localhost`.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            host: "localhost".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            headers: HeaderMap::new(),
            route: RouteFacts::default(),
            tls: None,
            shared: Shared::default(),
        }
    }

    /// Sets the host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Sets the client's address.
    ///
    /// # Panics
    /// When the text is no address.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that gives no address is wrong, and should say so")]
    pub fn from(mut self, client: &str) -> Self {
        self.client = client.parse().expect("an IP address");
        self
    }

    /// Adds a field.
    ///
    /// # Panics
    /// When name or value are not HTTP.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that gives no HTTP field is wrong, and should say so")]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = name.parse::<HeaderName>().expect("a field name");
        self.headers.append(name, value.parse::<HeaderValue>().expect("a field value"));
        self
    }

    /// Says who the client is, as an authenticating plugin would.
    #[must_use]
    pub fn identity(mut self, name: &str) -> Self {
        self.shared.identity = Some(Identity { name: name.into(), source: "test".into() });
        self
    }

    /// Runs the request hook, and waits when the plugin asks to.
    pub fn run(&mut self, plugin: &dyn Plugin) -> Outcome {
        let facts = facts(&self.method, &self.host, &self.path, self.client, self.tls.as_ref());
        let mut cx = RequestContext::new(facts, &self.headers, &self.route, &mut self.shared);
        match plugin.on_request(&mut cx) {
            Flow::Continue => Outcome::Continue,
            Flow::Reply(reply) => Outcome::Reply(reply),
            Flow::Wait => match block_on(plugin.wait(&mut cx)) {
                Verdict::Continue => Outcome::Continue,
                Verdict::Reply(reply) => Outcome::Reply(reply),
            },
        }
    }

    /// The fields that the upstream would get.
    pub fn upstream_headers(&self, plugin: &dyn Plugin) -> HeaderMap {
        let mut headers = self.headers.clone();
        let facts = facts(&self.method, &self.host, &self.path, self.client, self.tls.as_ref());
        plugin.on_upstream_request(&mut UpstreamRequest::new(facts, &self.route, &mut headers), &self.shared);
        headers
    }

    /// Status and fields that the client would get for this answer.
    pub fn response(&self, plugin: &dyn Plugin, status: StatusCode, headers: HeaderMap) -> (StatusCode, HeaderMap) {
        let mut headers = headers;
        let facts = facts(&self.method, &self.host, &self.path, self.client, self.tls.as_ref());
        let mut cx = ResponseContext::new(facts, &self.route, &self.shared, status, &mut headers);
        plugin.on_response(&mut cx);
        (cx.status, headers)
    }

    /// A request body in these pieces, the last of which is marked so, as the upstream would get it.
    pub fn request_body(&self, plugin: &dyn Plugin, pieces: &[&str]) -> Body {
        body(pieces, |chunk| plugin.on_request_body(chunk, &self.shared))
    }

    /// The body of an answer in these pieces, as the client would get it.
    pub fn response_body(&self, plugin: &dyn Plugin, pieces: &[&str]) -> Body {
        body(pieces, |chunk| plugin.on_response_body(chunk, &self.shared))
    }

    /// Tells a plugin that the request ended so, after a millisecond.
    pub fn log(&self, plugin: &dyn Plugin, status: u16, reason: &'static str) {
        let facts = facts(&self.method, &self.host, &self.path, self.client, self.tls.as_ref());
        let (route, shared, duration) = (&self.route, &self.shared, Duration::from_millis(1));
        plugin.on_log(&LogRecord { facts, route, shared, status, reason, duration });
    }
}

// === private functions ===

fn body(pieces: &[&str], mut hook: impl FnMut(&mut BodyChunk<'_>) -> BodyFlow) -> Body {
    let mut passed = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut bytes = Some(Bytes::copy_from_slice(piece.as_bytes()));
        let flow = hook(&mut BodyChunk { bytes: &mut bytes, is_last: index + 1 == pieces.len() });
        if let BodyFlow::Abort(status) = flow {
            return Body::Aborted(status, passed.into());
        }
        passed.extend(bytes.unwrap_or_default());
    }
    Body::Passed(passed.into())
}

fn facts<'a>(
    method: &'a Method,
    host: &'a str,
    path: &'a str,
    client: IpAddr,
    tls: Option<&'a TlsFacts>,
) -> RequestFacts<'a> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    RequestFacts { method, scheme, host, path, query: None, client, request_id: "test-request", tls }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(mut future: crate::BoxFuture<'_, T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match Future::poll(future.as_mut(), &mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
