//! What one request carries from hook to hook.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, header};
use tidegate_plugin::{Hooks, ReasonCode, RequestFacts, Shared, TlsFacts};

use super::request_id::RequestId;
use crate::connection::ConnectionInfo;
use crate::endpoint::{Hold, Pick, Tried, Upstream};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::pipeline::{Given, Passage};
use crate::snapshot::route::Route;
use crate::telemetry::record::Attempt;

/// One request's state, from its head to its record.
pub(crate) struct Context {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) known: Known,
    pub(crate) shared: Shared,
    /// What the plugin chain notes.
    pub(crate) passage: Passage,
    /// Whether the upstream has switched protocols: what follows is no body.
    pub(crate) is_tunnel: bool,
    /// Whether the upstream's answer says that its body is empty.
    pub(crate) is_empty: bool,
    /// Whether the end of the response's body was there to be written.
    pub(crate) has_response_end: bool,
    /// Why tidegate ended the request itself; the first reason stays.
    pub(crate) reason: Option<Reason>,
    /// Why the guard refuses it.
    pub(crate) refusal: Option<Reason>,
    pub(crate) started: Instant,
    pub(crate) request_bytes: u64,
    pub(crate) upstream: Target,
    /// Which plugin gave the response, by position, and why.
    pub(crate) answered_by: Option<(usize, Option<ReasonCode>)>,
    /// A plugin's response in place of the upstream's, until it is sent.
    pub(crate) instead: Option<Box<Given>>,
}

/// Facts about the request besides what its head says.
pub(crate) struct Known {
    /// Bytes of the host at the start of the `Host` field.
    pub(crate) host_len: usize,
    /// The port that the client named.
    pub(crate) port: Option<u16>,
    pub(crate) scheme: &'static str,
    /// Whether the peer is a trusted proxy.
    pub(crate) is_trusted: bool,
    /// Whether the request is more than a socket takes without waiting: a large head, a body or a tunnel.
    pub(crate) may_fill_socket: bool,
    /// Whether the client sends a body, and no tunnel's bytes.
    pub(crate) has_body: bool,
    /// Whether it asks for another protocol, and may.
    pub(crate) is_upgrade: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) client: IpAddr,
    pub(crate) request_id: RequestId,
    pub(crate) connection: Option<Arc<ConnectionInfo>>,
}

/// Where the request goes, and what was tried.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) upstream: Option<Hold>,
    /// Its place among the route's backends.
    pub(crate) backend: Option<usize>,
    pub(crate) pick: Option<Pick>,
    pub(crate) tried: Tried,
    pub(crate) tries: Tries,
    /// Whether the endpoint speaks HTTP/2.
    pub(crate) is_h2: bool,
    /// Whether the last try says nothing against its endpoint: the request was lost on a kept connection, or not taken up.
    pub(crate) is_blameless: bool,
    /// Tries that do not count.
    pub(crate) free_tries: usize,
    /// How many tries there were before the endpoints changed and all began anew.
    pub(crate) tries_before: usize,
    /// Until when other endpoints are waited for; `None`: they were not yet.
    pub(crate) wait_until: Option<Instant>,
    /// Informational answers of the endpoint so far.
    pub(crate) informational: u8,
    /// When the whole head of the answer must be there; `None`: the request is not all sent yet.
    pub(crate) answer_due: Option<Instant>,
    /// Whether the head of the answer is there.
    pub(crate) is_answered: bool,
    /// Whether it was not there in time.
    pub(crate) is_overdue: bool,
    /// What it is asked for, where plugins have made it something else.
    pub(crate) sent_as: Option<Box<tidegate_plugin::Target>>,
    pub(crate) connecting: Option<Instant>,
    pub(crate) sent: Option<Instant>,
}

/// What was tried. The usual one try needs no memory of its own.
#[derive(Default)]
pub(crate) struct Tries {
    first: Option<Attempt>,
    all: Vec<Attempt>,
}

// === impl Context ===

impl Context {
    pub(super) fn new(snapshot: Arc<Snapshot>, passage: Passage) -> Self {
        Self {
            snapshot,
            route: None,
            known: Known::default(),
            shared: Shared::default(),
            passage,
            is_tunnel: false,
            is_empty: false,
            has_response_end: false,
            reason: None,
            refusal: None,
            started: Instant::now(),
            request_bytes: 0,
            upstream: Target::default(),
            answered_by: None,
            instead: None,
        }
    }

    /// The route, when one of its plugins wants the hook.
    pub(super) fn route_with(&self, hook: Hooks) -> Option<&Arc<Route>> {
        with(&self.route, hook)
    }
}

/// The same of a route alone, where the rest of the context is borrowed.
pub(super) fn with(route: &Option<Arc<Route>>, hook: Hooks) -> Option<&Arc<Route>> {
    route.as_ref().filter(|route| route.pipeline.hooks().contains(hook))
}

// === impl Known ===

impl Default for Known {
    fn default() -> Self {
        let nowhere = Ipv4Addr::UNSPECIFIED.into();
        Self {
            host_len: 0,
            port: None,
            scheme: "http",
            is_trusted: false,
            may_fill_socket: true,
            has_body: false,
            is_upgrade: false,
            peer: SocketAddr::new(nowhere, 0),
            client: nowhere,
            request_id: RequestId::default(),
            connection: None,
        }
    }
}

impl Known {
    /// The canonical host.
    pub(crate) fn host<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        host.and_then(|host| host.get(..self.host_len)).unwrap_or_default()
    }

    /// Facts about the client's TLS connection.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        self.connection.as_ref()?.tls.as_ref()
    }

    /// The request as plugins and routing see it.
    pub(super) fn facts<'a>(&'a self, request: &'a Parts) -> RequestFacts<'a> {
        let mut facts = RequestFacts::new(&request.method, self.host(&request.headers), request.uri.path());
        facts.scheme = self.scheme;
        facts.query = request.uri.query();
        facts.client = self.client;
        facts.peer = self.peer;
        if let Some(connection) = &self.connection {
            facts.peer = connection.socket_peer;
            facts.announced = Some(connection.peer).filter(|peer| *peer != connection.socket_peer);
            facts.listener = &connection.listener;
        }
        facts.request_id = self.request_id.as_str();
        facts.tls = self.tls();
        facts
    }
}

// === impl Tries ===

impl Tries {
    pub(super) fn push(&mut self, next: Attempt) {
        if self.all.is_empty() && self.first.is_none() {
            self.first = Some(next);
        } else {
            self.all.extend(self.first.take());
            self.all.push(next);
        }
    }

    pub(super) fn as_slice(&self) -> &[Attempt] {
        if self.all.is_empty() { self.first.as_slice() } else { &self.all }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Attempt> {
        self.all.last_mut().or(self.first.as_mut())
    }
}

// === impl Target ===

impl Target {
    /// The upstream that was chosen.
    pub(super) fn asked(&self) -> Option<&Arc<Upstream>> {
        self.upstream.as_ref().map(Hold::upstream)
    }

    /// Notes a new try at the picked endpoint.
    pub(super) fn begin_try(&mut self, address: SocketAddr) {
        self.connecting = Some(Instant::now());
        self.sent = None;
        self.answer_due = None;
        let outcome = Reason::Upstream;
        self.tries.push(Attempt { address, connect: None, header: None, response: None, is_reused: false, outcome });
    }

    /// Notes that a new connection stands; `took` is how long its layers say that it took, if they do.
    pub(crate) fn connected(&mut self, took: Option<Duration>) {
        let now = Instant::now();
        self.sent = Some(now);
        if let Some(current) = self.tries.last_mut() {
            current.connect = took.or_else(|| self.connecting.map(|start| now.saturating_duration_since(start)));
        }
    }

    /// Notes that a kept connection was taken, which takes no time worth a look at the clock.
    pub(crate) fn reused(&mut self) {
        self.sent = self.connecting;
        if let Some(current) = self.tries.last_mut() {
            current.is_reused = true;
        }
    }

    /// Notes the arrival of the answer's head; only the last one counts, after informational ones.
    pub(super) fn head_arrived(&mut self) {
        let sent = self.sent;
        if let Some(current) = self.tries.last_mut() {
            current.header = sent.map(|sent| sent.elapsed());
        }
    }

    /// Notes how the try ended.
    pub(super) fn end_try(&mut self, outcome: Reason, now: Instant) {
        let sent = self.sent;
        if let Some(current) = self.tries.last_mut() {
            current.outcome = outcome;
            current.response = sent.map(|sent| now.saturating_duration_since(sent));
        }
    }
}
