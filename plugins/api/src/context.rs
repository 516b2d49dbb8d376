//! What each hook is given.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{Headers, Identity, RequestFacts, RouteFacts, Shared};

/// What [`crate::Plugin::on_request`] is given. Dereferences to [`RequestFacts`].
#[derive(Debug)]
pub struct RequestContext<'a> {
    facts: RequestFacts<'a>,
    headers: &'a HeaderMap,
    route: &'a RouteFacts,
    shared: &'a mut Shared,
}

/// What [`crate::Plugin::on_upstream_request`] is given.
pub struct UpstreamRequest<'a> {
    facts: RequestFacts<'a>,
    route: &'a RouteFacts,
    /// The fields that the upstream will get; may be edited.
    pub headers: &'a mut dyn Headers,
}

/// What [`crate::Plugin::on_response`] is given.
pub struct ResponseContext<'a> {
    facts: RequestFacts<'a>,
    route: &'a RouteFacts,
    shared: &'a Shared,
    /// Status of the answer. May be changed, from and to one that has a body: 101, 204 and 304 stay what they are.
    pub status: StatusCode,
    /// The fields that the client will get; may be edited.
    pub headers: &'a mut dyn Headers,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// The request.
    pub facts: RequestFacts<'a>,
    /// The route.
    pub route: &'a RouteFacts,
    /// What plugins left.
    pub shared: &'a Shared,
    /// Status; 0 when no answer could be sent.
    pub status: u16,
    /// Why: `upstream`, `no_endpoints`, …
    pub reason: &'static str,
    /// From the request's head to the answer's end.
    pub duration: Duration,
}

// === impl RequestContext ===

impl<'a> RequestContext<'a> {
    /// Makes a context.
    pub fn new(facts: RequestFacts<'a>, headers: &'a HeaderMap, route: &'a RouteFacts, shared: &'a mut Shared) -> Self {
        Self { facts, headers, route, shared }
    }

    /// The client's address.
    pub fn client_addr(&self) -> IpAddr {
        self.facts.client
    }

    /// The request's fields, in canonical form.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The matched route.
    pub fn route(&self) -> &'a RouteFacts {
        self.route
    }

    /// Who the client is, if a plugin before has found out.
    pub fn identity(&self) -> Option<&Identity> {
        self.shared.identity.as_ref()
    }

    /// What lives through the request.
    pub fn shared(&mut self) -> &mut Shared {
        self.shared
    }
}

impl<'a> Deref for RequestContext<'a> {
    type Target = RequestFacts<'a>;

    fn deref(&self) -> &Self::Target {
        &self.facts
    }
}

// === impl UpstreamRequest ===

impl<'a> UpstreamRequest<'a> {
    /// Makes a context.
    pub fn new(facts: RequestFacts<'a>, route: &'a RouteFacts, headers: &'a mut dyn Headers) -> Self {
        Self { facts, route, headers }
    }

    /// The request as it was routed.
    pub fn facts(&self) -> &RequestFacts<'a> {
        &self.facts
    }

    /// The matched route.
    pub fn route(&self) -> &'a RouteFacts {
        self.route
    }
}

// === impl ResponseContext ===

impl<'a> ResponseContext<'a> {
    /// Makes a context.
    pub fn new(
        facts: RequestFacts<'a>,
        route: &'a RouteFacts,
        shared: &'a Shared,
        status: StatusCode,
        headers: &'a mut dyn Headers,
    ) -> Self {
        Self { facts, route, shared, status, headers }
    }

    /// The request as it was routed.
    pub fn facts(&self) -> &RequestFacts<'a> {
        &self.facts
    }

    /// The matched route.
    pub fn route(&self) -> &'a RouteFacts {
        self.route
    }

    /// What plugins left.
    pub fn shared(&self) -> &'a Shared {
        self.shared
    }
}
