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
//!
//! The other hooks, with a request that has more to it than a path:
//!
//! ```
//! # use std::sync::atomic::{AtomicU32, Ordering};
//! # use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
//! # use tidegate_plugin::testing::Request;
//! # use tidegate_plugin::*;
//! const TENANT: HeaderName = HeaderName::from_static("x-tenant");
//!
//! /// Tells the upstream the tenant, hides errors of searches, and counts what was written.
//! #[derive(Default)]
//! struct Tenant(AtomicU32);
//! impl Plugin for Tenant {
//!     fn hooks(&self) -> Hooks {
//!         Hooks::UPSTREAM_REQUEST | Hooks::RESPONSE | Hooks::LOG
//!     }
//!     fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, shared: &Shared) {
//!         match shared.identity.as_ref().and_then(|identity| HeaderValue::from_str(&identity.name).ok()) {
//!             Some(name) => head.headers.set(TENANT, name),
//!             None => head.headers.remove(&TENANT),
//!         }
//!     }
//!     fn on_response(&self, cx: &mut ResponseContext<'_>) {
//!         if cx.status.is_server_error() && cx.facts().query.is_some() {
//!             cx.status = StatusCode::NOT_FOUND;
//!             cx.headers.remove(&header::SERVER);
//!         }
//!     }
//!     fn on_log(&self, record: &LogRecord<'_>) {
//!         if record.facts.method == Method::PUT && record.status < 300 {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let forged = Request::get("/").header("x-tenant", "forged");
//! assert!(!forged.upstream_headers(&Tenant::default()).contains_key(TENANT));
//! assert_eq!(forged.identity("ann").upstream_headers(&Tenant::default())[TENANT], "ann");
//!
//! let answer = HeaderMap::from_iter([(header::SERVER, HeaderValue::from_static("old"))]);
//! let search = Request::get("/").query("q=1");
//! let (status, headers) = search.response(&Tenant::default(), StatusCode::BAD_GATEWAY, answer);
//! assert_eq!((status, headers.len()), (StatusCode::NOT_FOUND, 0));
//!
//! let tenant = Tenant::default();
//! Request::get("/").method(Method::PUT).log(&tenant, 201, "upstream");
//! assert_eq!(tenant.0.into_inner(), 1);
//! ```

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    BodyChunk, BodyFlow, Clock, Flow, Identity, LogRecord, Plugin, Reply, RequestContext, RequestFacts,
    ResponseContext, RouteFacts, Shared, TlsFacts, UpstreamRequest, Verdict,
};

/// A request as the proxy would show it to a plugin.
#[derive(Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Canonical path.
    pub path: String,
    /// Query, without `?`.
    pub query: Option<String>,
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

/// A clock that stands still until it is told to go on. It begins at 2026-01-01T00:00:00Z.
///
/// ```
/// # use std::time::Duration;
/// let manual = tidegate_plugin::testing::ManualClock::default();
/// let clock = manual.clock();
/// manual.advance(Duration::from_secs(3));
/// assert_eq!(clock.now(), Duration::from_secs(3));
/// assert_eq!(clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_767_225_603);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    elapsed_us: Arc<AtomicU64>,
}

// === impl Request ===

impl Request {
    /// A GET of this path, from 127.0.0.1 to `localhost`.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            query: None,
            host: "localhost".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            headers: HeaderMap::new(),
            route: RouteFacts::default(),
            tls: None,
            shared: Shared::default(),
        }
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the query, without `?`.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        self.query = Some(query.to_owned());
        self
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

    /// Says in which namespace the matched route is.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.route.namespace = namespace.into();
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
        self.with_context(|cx| match plugin.on_request(cx) {
            Flow::Continue => Outcome::Continue,
            Flow::Reply(reply) => Outcome::Reply(reply),
            Flow::Wait => match block_on(plugin.wait(cx)) {
                Verdict::Continue => Outcome::Continue,
                Verdict::Reply(reply) => Outcome::Reply(reply),
            },
        })
    }

    /// Gives this request as the request hooks see it.
    pub fn with_context<T>(&mut self, look: impl FnOnce(&mut RequestContext<'_>) -> T) -> T {
        let mut shared = std::mem::take(&mut self.shared);
        let seen = look(&mut RequestContext::new(self.facts(), &self.headers, &self.route, &mut shared));
        self.shared = shared;
        seen
    }

    /// The fields that the upstream would get.
    pub fn upstream_headers(&self, plugin: &dyn Plugin) -> HeaderMap {
        let mut headers = self.headers.clone();
        let facts = self.facts();
        plugin.on_upstream_request(&mut UpstreamRequest::new(facts, &self.route, &mut headers), &self.shared);
        headers
    }

    /// Status and fields that the client would get for this answer.
    pub fn response(&self, plugin: &dyn Plugin, status: StatusCode, headers: HeaderMap) -> (StatusCode, HeaderMap) {
        let mut headers = headers;
        let facts = self.facts();
        let mut cx = ResponseContext::new(facts, &self.route, &self.shared, status, &mut headers);
        plugin.on_response(&mut cx);
        (cx.status, headers)
    }

    /// A request body in these pieces, the last of which is marked so, as the upstream would get it.
    pub fn request_body(&self, plugin: &dyn Plugin, pieces: &[impl AsRef<[u8]>]) -> Body {
        body(pieces, |chunk| plugin.on_request_body(chunk, &self.shared))
    }

    /// The body of an answer in these pieces, as the client would get it.
    pub fn response_body(&self, plugin: &dyn Plugin, pieces: &[impl AsRef<[u8]>]) -> Body {
        body(pieces, |chunk| plugin.on_response_body(chunk, &self.shared))
    }

    /// Tells a plugin that the request ended so, after a millisecond.
    pub fn log(&self, plugin: &dyn Plugin, status: u16, reason: &'static str) {
        let facts = self.facts();
        let (route, shared, duration) = (&self.route, &self.shared, Duration::from_millis(1));
        plugin.on_log(&LogRecord { facts, route, shared, status, reason, duration });
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            scheme: if self.tls.is_some() { "https" } else { "http" },
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            client: self.client,
            request_id: "test-request",
            tls: self.tls.as_ref(),
        }
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// What plugins see, for [`crate::BuildContext::with_clock`].
    pub fn clock(&self) -> Clock {
        Clock::manual(Arc::clone(&self.elapsed_us), SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    }

    /// Lets time go on.
    pub fn advance(&self, time: Duration) {
        self.elapsed_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

// === private functions ===

fn body(pieces: &[impl AsRef<[u8]>], mut hook: impl FnMut(&mut BodyChunk<'_>) -> BodyFlow) -> Body {
    let mut passed = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut bytes = Some(Bytes::copy_from_slice(piece.as_ref()));
        let flow = hook(&mut BodyChunk { bytes: &mut bytes, is_last: index + 1 == pieces.len() });
        if let BodyFlow::Abort(status) = flow {
            return Body::Aborted(status, passed.into());
        }
        passed.extend(bytes.unwrap_or_default());
    }
    Body::Passed(passed.into())
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
