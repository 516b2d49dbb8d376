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
//! #[plugin]
//! impl Plugin for Shout {
//!     fn on_request_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
//!         match chunk.bytes.as_ref().is_some_and(|bytes| bytes.contains(&b'!')) {
//!             true => BodyFlow::Abort(StatusCode::BAD_REQUEST),
//!             false => BodyFlow::Continue,
//!         }
//!     }
//!     fn on_response_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
//!         *chunk.bytes = chunk.bytes.take().map(|bytes| Bytes::from(bytes.to_ascii_uppercase()));
//!         BodyFlow::Continue
//!     }
//! }
//!
//! let mut request = Request::get("/");
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
//! # use tidegate_plugin::testing::{Answer, Request};
//! # use tidegate_plugin::*;
//! const TENANT: HeaderName = HeaderName::from_static("x-tenant");
//!
//! /// Tells the upstream the tenant, hides errors of searches, and counts what was written.
//! #[derive(Default)]
//! struct Tenant(AtomicU32);
//! #[plugin]
//! impl Plugin for Tenant {
//!     fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, shared: &Shared) {
//!         match shared.identity.as_ref().and_then(|identity| HeaderValue::from_str(&identity.name).ok()) {
//!             Some(name) => head.headers.set(TENANT, name),
//!             None => head.headers.remove(&TENANT),
//!         }
//!     }
//!     fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
//!         if cx.status.is_server_error() && cx.facts().query.is_some() {
//!             cx.status = StatusCode::NOT_FOUND;
//!             cx.headers.remove(&header::SERVER);
//!         }
//!         ResponseFlow::Continue
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
//! let mut search = Request::get("/").query("q=1");
//! let Answer::Passed(status, headers) = search.response(&Tenant::default(), StatusCode::BAD_GATEWAY, answer) else {
//!     panic!("another answer");
//! };
//! assert_eq!((status, headers.len()), (StatusCode::NOT_FOUND, 0));
//!
//! let tenant = Tenant::default();
//! Request::get("/").method(Method::PUT).log(&tenant, 201, "upstream");
//! assert_eq!(tenant.0.into_inner(), 1);
//! ```
//!
//! What is sent to another place or by another name than it came:
//!
//! ```
//! # use tidegate_plugin::testing::Request;
//! # use tidegate_plugin::*;
//! /// Sends those who try things out to a backend of their own, without its name in the path.
//! struct Canary;
//! #[plugin]
//! impl Plugin for Canary {
//!     fn on_route(&self, cx: &mut RouteContext<'_>) -> Choice {
//!         let canary = cx.backends().position(|backend| backend.name == "canary");
//!         canary.filter(|_| cx.path.starts_with("/try/")).map_or(Choice::Pass, Choice::Backend)
//!     }
//!     fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
//!         if let Some(rest) = head.path().strip_prefix("/try") {
//!             let _refused_if_bad = head.set_path(rest.to_owned());
//!         }
//!     }
//! }
//!
//! let mut request = Request::get("/try/a").backend("main", 1).backend("canary", 0);
//! assert_eq!(request.choice(&Canary), Choice::Backend(1));
//! assert_eq!(request.upstream(&Canary).unwrap().path.as_deref(), Some("/a"));
//! assert_eq!(Request::get("/try").upstream(&Canary), Err(TargetError::Path));
//! ```

mod client;
mod clock;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use client::client;
pub use clock::ManualClock;

use crate::{
    BackendFacts, Backends, BodyChunk, BodyFlow, BodyVerdict, Choice, Flow, Hooks, Identity, LogRecord, Plugin, Reply,
    RequestContext, RequestFacts, ResponseContext, ResponseFlow, ResponseVerdict, RouteContext, RouteFacts, Shared,
    Target, TargetError, TlsFacts, UpstreamRequest, Verdict,
};

/// A request as the proxy would show it to a plugin. Only hooks are called that the proxy would call.
#[derive(Debug)]
#[non_exhaustive]
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
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whom it announced.
    pub announced: Option<SocketAddr>,
    /// Fields.
    pub headers: HeaderMap,
    /// The matched route.
    pub route: RouteFacts,
    /// Its backends, with their shares.
    pub backends: Vec<(String, u32)>,
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

/// What a response became on its way through a plugin, waiting included.
#[derive(Debug)]
pub enum Answer {
    /// The response, with this status and these fields.
    Passed(StatusCode, HeaderMap),
    /// Another one in its place.
    Replaced(Reply),
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
            query: None,
            host: "localhost".to_owned(),
            client: IpAddr::from([127, 0, 0, 1]),
            peer: SocketAddr::from(([127, 0, 0, 1], 4711)),
            announced: None,
            headers: HeaderMap::new(),
            route: RouteFacts::default(),
            backends: Vec::new(),
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

    /// Sets the TLS facts; the request is one over https then.
    #[must_use]
    pub fn tls(mut self, facts: TlsFacts) -> Self {
        self.tls = Some(facts);
        self
    }

    /// Adds a backend to the route, with its share.
    #[must_use]
    pub fn backend(mut self, name: &str, weight: u32) -> Self {
        self.backends.push((name.to_owned(), weight));
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
        self.shared.identity = Some(Identity::new(name, "test"));
        self
    }

    /// Runs the request hook, and waits when the plugin asks to.
    pub fn run(&mut self, plugin: &dyn Plugin) -> Outcome {
        if !plugin.hooks().contains(Hooks::REQUEST) {
            return Outcome::Continue;
        }
        self.with_context(|cx| match plugin.on_request(cx) {
            Flow::Continue => Outcome::Continue,
            Flow::Reply(reply) => Outcome::Reply(reply),
            Flow::Wait => match block_on(plugin.wait(cx)) {
                Verdict::Continue => Outcome::Continue,
                Verdict::Reply(reply) => Outcome::Reply(reply),
            },
        })
    }

    /// Where the routing hook sends it.
    pub fn choice(&mut self, plugin: &dyn Plugin) -> Choice {
        if !plugin.hooks().contains(Hooks::ROUTE) {
            return Choice::Pass;
        }
        let mut shared = std::mem::take(&mut self.shared);
        let backends = Listed(&self.backends);
        let choice =
            plugin.on_route(&mut RouteContext::new(self.facts(), &self.headers, &self.route, &backends, &mut shared));
        self.shared = shared;
        choice
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
        self.edited(plugin).0
    }

    /// What the upstream would be asked for where that is something else than what came.
    ///
    /// # Errors
    /// The plugin wanted something that is never sent; the request would end with 500.
    pub fn upstream(&self, plugin: &dyn Plugin) -> Result<Target, TargetError> {
        self.edited(plugin).1
    }

    fn edited(&self, plugin: &dyn Plugin) -> (HeaderMap, Result<Target, TargetError>) {
        let mut headers = self.headers.clone();
        let mut head = UpstreamRequest::new(self.facts(), &self.route, &mut headers);
        if plugin.hooks().contains(Hooks::UPSTREAM_REQUEST) {
            plugin.on_upstream_request(&mut head, &self.shared);
        }
        let target = head.into_target();
        (headers, target)
    }

    /// What the client would get for this response, waiting included.
    pub fn response(&mut self, plugin: &dyn Plugin, status: StatusCode, headers: HeaderMap) -> Answer {
        if !plugin.hooks().contains(Hooks::RESPONSE) {
            return Answer::Passed(status, headers);
        }
        let mut headers = headers;
        let mut shared = std::mem::take(&mut self.shared);
        let mut cx = ResponseContext::new(self.facts(), &self.route, &mut shared, status, &mut headers);
        let replaced = match plugin.on_response(&mut cx) {
            ResponseFlow::Continue => None,
            ResponseFlow::Replace(reply) => Some(reply),
            ResponseFlow::Wait => match block_on(plugin.wait_response(&mut cx)) {
                ResponseVerdict::Continue => None,
                ResponseVerdict::Replace(reply) => Some(reply),
            },
        };
        let status = cx.status;
        self.shared = shared;
        replaced.map_or(Answer::Passed(status, headers), Answer::Replaced)
    }

    /// A request body in these pieces, the last of which is marked so, as the upstream would get it.
    pub fn request_body(&mut self, plugin: &dyn Plugin, pieces: &[impl AsRef<[u8]>]) -> Body {
        let is_called = plugin.hooks().contains(Hooks::REQUEST_BODY);
        let shared = &mut self.shared;
        body(pieces, |chunk| match is_called {
            false => BodyFlow::Continue,
            true => match plugin.on_request_body(chunk, shared) {
                BodyFlow::Wait => match block_on(plugin.wait_request_body(chunk, shared)) {
                    BodyVerdict::Continue => BodyFlow::Continue,
                    BodyVerdict::Abort(status) => BodyFlow::Abort(status),
                },
                flow => flow,
            },
        })
    }

    /// The body of an answer in these pieces, as the client would get it.
    pub fn response_body(&mut self, plugin: &dyn Plugin, pieces: &[impl AsRef<[u8]>]) -> Body {
        let is_called = plugin.hooks().contains(Hooks::RESPONSE_BODY);
        let shared = &mut self.shared;
        body(pieces, |chunk| match is_called {
            false => BodyFlow::Continue,
            true => match plugin.on_response_body(chunk, shared) {
                // As in the proxy: this hook cannot wait.
                BodyFlow::Wait => BodyFlow::Abort(StatusCode::INTERNAL_SERVER_ERROR),
                flow => flow,
            },
        })
    }

    /// Tells a plugin that the request ended so, after a millisecond.
    pub fn log(&self, plugin: &dyn Plugin, status: u16, reason: &'static str) {
        if plugin.hooks().contains(Hooks::LOG) {
            let duration = Duration::from_millis(1);
            let record = LogRecord::new(self.facts(), &self.route, &self.shared);
            plugin.on_log(&LogRecord { status, reason, duration, ..record });
        }
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            scheme: if self.tls.is_some() { "https" } else { "http" },
            query: self.query.as_deref(),
            client: self.client,
            peer: self.peer,
            announced: self.announced,
            listener: "test",
            request_id: "test-request",
            tls: self.tls.as_ref(),
            ..RequestFacts::new(&self.method, &self.host, &self.path)
        }
    }
}

// === private functions ===

fn body(pieces: &[impl AsRef<[u8]>], mut hook: impl FnMut(&mut BodyChunk<'_>) -> BodyFlow) -> Body {
    let mut passed = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut bytes = Some(Bytes::copy_from_slice(piece.as_ref()));
        let flow = hook(&mut BodyChunk::new(&mut bytes, index + 1 == pieces.len()));
        if let BodyFlow::Abort(status) = flow {
            return Body::Aborted(status, passed.into());
        }
        passed.extend(bytes.unwrap_or_default());
    }
    Body::Passed(passed.into())
}

/// Backends as they are listed.
struct Listed<'a>(&'a [(String, u32)]);

impl Backends for Listed<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn backend(&self, position: usize) -> Option<BackendFacts<'_>> {
        self.0.get(position).map(|(name, weight)| BackendFacts::new(name, *weight))
    }
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
