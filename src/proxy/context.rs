//! What one request carries from hook to hook.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use tidegate_plugin::{Hooks, ReasonCode, RequestFacts, Shared, TlsFacts};

use super::flow_control::Held;
use super::request_id::RequestId;
use super::timed_session::TimedSession;
use crate::connection::ConnectionInfo;
use crate::endpoint::{Hold, Pick, Tried, Upstream};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::pipeline::{Given, Passage};
use crate::snapshot::route::Route;
use crate::telemetry::record::Try;

/// One request's state, from its head to its record.
pub struct Context {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) known: Known,
    pub(super) shared: Shared,
    /// What the plugin chain notes.
    pub(super) passage: Passage,
    /// Whether the upstream has switched protocols: what follows is no body.
    pub(super) is_tunnel: bool,
    /// Whether the upstream's answer says that its body is empty.
    pub(super) is_empty: bool,
    /// Why tidegate ended the request itself; the first reason stays.
    pub(super) reason: Option<Reason>,
    /// Why the guard refuses it.
    pub(super) refusal: Option<Reason>,
    pub(super) started: Instant,
    pub(super) request_bytes: u64,
    pub(super) upstream: Target,
    /// What watches the exchange with an endpoint while there is one with a body.
    pub(super) timed: Option<TimedSession>,
    /// Which plugin gave the answer, by position, and why.
    pub(super) answered_by: Option<(usize, Option<ReasonCode>)>,
    /// A plugin's response in place of the upstream's, until it is sent.
    pub(super) instead: Option<Box<Given>>,
    /// What holds the endpoint's answer back while its client does not take it.
    pub(super) valve: Option<Held>,
}

/// Facts about the request besides what its head says.
pub(super) struct Known {
    /// Bytes of the host at the start of the `Host` field.
    pub(super) host_len: usize,
    /// The port that the client named.
    pub(super) port: Option<u16>,
    pub(super) scheme: &'static str,
    /// Whether the peer is a trusted proxy.
    pub(super) is_trusted: bool,
    /// Whether the request is more than a socket takes without waiting: a large head, a body or a tunnel.
    pub(super) may_fill_socket: bool,
    /// Whether the client sends a body, and no tunnel's bytes.
    pub(super) has_body: bool,
    /// Whether the client has said that there is no body, and not yet ended its request.
    pub(super) owes_end: bool,
    pub(super) peer: SocketAddr,
    pub(super) client: IpAddr,
    pub(super) request_id: RequestId,
    pub(super) connection: Option<Arc<ConnectionInfo>>,
}

/// Where the request goes, and what was tried.
#[derive(Default)]
pub(super) struct Target {
    pub(super) upstream: Option<Hold>,
    pub(super) pick: Option<Pick>,
    pub(super) tried: Tried,
    pub(super) tries: Tries,
    /// Whether the endpoint speaks HTTP/2.
    pub(super) is_h2: bool,
    /// Whether the exchange with it has a clock of its own.
    pub(super) has_clock: bool,
    /// Whether the last try says nothing against its endpoint: the request was lost on a kept connection, or not taken up.
    pub(super) is_blameless: bool,
    /// Tries that do not count.
    pub(super) free_tries: usize,
    /// How many tries there were before the endpoints changed and all began anew.
    pub(super) tries_before: usize,
    /// Until when other endpoints are waited for; `None`: they were not yet.
    pub(super) wait_until: Option<Instant>,
    /// Informational answers of the endpoint so far.
    pub(super) informational: u8,
    /// When the whole head of the answer must be there; `None`: the request is not all sent yet.
    pub(super) answer_due: Option<Instant>,
    /// Whether the head of the answer is there.
    pub(super) is_answered: bool,
    /// Whether it was not there in time.
    pub(super) is_overdue: bool,
    /// What it is asked for, where plugins have made it something else.
    pub(super) sent_as: Option<Box<tidegate_plugin::Target>>,
    pub(super) connecting: Option<Instant>,
    pub(super) sent: Option<Instant>,
}

/// What was tried. The usual one try needs no memory of its own.
#[derive(Default)]
pub(super) struct Tries {
    first: Option<Try>,
    all: Vec<Try>,
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
            reason: None,
            refusal: None,
            started: Instant::now(),
            request_bytes: 0,
            upstream: Target::default(),
            timed: None,
            answered_by: None,
            instead: None,
            valve: None,
        }
    }

    /// The route, when one of its plugins wants the hook.
    pub(super) fn route_with(&self, hook: Hooks) -> Option<&Arc<Route>> {
        self.route.as_ref().filter(|route| route.pipeline.hooks().contains(hook))
    }
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
            owes_end: false,
            peer: SocketAddr::new(nowhere, 0),
            client: nowhere,
            request_id: RequestId::default(),
            connection: None,
        }
    }
}

impl Known {
    /// The canonical host.
    pub(super) fn host<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        host.and_then(|host| host.get(..self.host_len)).unwrap_or_default()
    }

    /// Facts about the client's TLS connection.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        self.connection.as_ref()?.tls.as_ref()
    }

    /// The request as plugins and routing see it.
    pub(super) fn facts<'a>(&'a self, request: &'a RequestHeader) -> RequestFacts<'a> {
        let mut facts = RequestFacts::new(&request.method, self.host(&request.headers), request.uri.path());
        facts.scheme = self.scheme;
        facts.query = request.uri.query();
        facts.client = self.client;
        facts.peer = self.peer;
        facts.listener = self.connection.as_ref().map_or("", |connection| &connection.listener);
        facts.request_id = self.request_id.as_str();
        facts.tls = self.tls();
        facts
    }
}

// === impl Tries ===

impl Tries {
    pub(super) fn push(&mut self, next: Try) {
        if self.all.is_empty() && self.first.is_none() {
            self.first = Some(next);
        } else {
            self.all.extend(self.first.take());
            self.all.push(next);
        }
    }

    pub(super) fn as_slice(&self) -> &[Try] {
        if self.all.is_empty() { self.first.as_slice() } else { &self.all }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Try> {
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
        self.tries.push(Try { address, connect: None, header: None, response: None, is_reused: false, outcome });
    }

    /// Notes that a new connection stands; `took` is how long its layers say that it took, if they do.
    pub(super) fn connected(&mut self, took: Option<Duration>) {
        let now = Instant::now();
        self.sent = Some(now);
        if let Some(current) = self.tries.last_mut() {
            current.connect = took.or_else(|| self.connecting.map(|start| now.saturating_duration_since(start)));
        }
    }

    /// Notes that a kept connection was taken, which takes no time worth a look at the clock.
    pub(super) fn reused(&mut self) {
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
