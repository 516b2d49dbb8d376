//! What each hook is given.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::target::{self, Target, TargetError};
use crate::{Editable, Headers, Identity, RequestFacts, RouteFacts, Shared};

/// What [`crate::Plugin::on_request`] is given. Dereferences to [`RequestFacts`].
#[derive(Debug)]
pub struct RequestContext<'a> {
    facts: RequestFacts<'a>,
    headers: &'a HeaderMap,
    route: &'a RouteFacts,
    shared: &'a mut Shared,
}

/// What [`crate::Plugin::on_route`] is given. Dereferences to [`RequestFacts`].
pub struct RouteContext<'a> {
    facts: RequestFacts<'a>,
    headers: &'a HeaderMap,
    route: &'a RouteFacts,
    backends: &'a dyn Backends,
    shared: &'a mut Shared,
}

/// The backends of a route; implemented by the proxy.
pub trait Backends: Send + Sync {
    /// How many there are, those without a share among them.
    fn count(&self) -> usize;
    /// The one at that position, in the order of the configuration.
    fn backend(&self, position: usize) -> Option<BackendFacts<'_>>;
}

/// A backend of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendFacts<'a> {
    /// Its name: a Service, with its namespace in front when that is another one than the route's, or an upstream of
    /// the conf.
    pub name: &'a str,
    /// Its share of the sum of weights; 0: none.
    pub weight: u32,
}

/// What [`crate::Plugin::on_upstream_request`] is given.
pub struct UpstreamRequest<'a> {
    facts: RequestFacts<'a>,
    route: &'a RouteFacts,
    target: Target,
    error: Option<TargetError>,
    /// The fields that the upstream will get; may be edited, but for framing and `Host`, which are the proxy's, see
    /// [`UpstreamRequest::set_host`].
    pub headers: Editable<'a>,
}

/// What [`crate::Plugin::on_response`] is given.
pub struct ResponseContext<'a> {
    facts: RequestFacts<'a>,
    route: &'a RouteFacts,
    /// What lives through the request.
    pub shared: &'a mut Shared,
    /// Status of the answer. May be changed, from and to one that has a body: 101, 204 and 304 stay what they are.
    pub status: StatusCode,
    /// The fields that the client will get; may be edited, but for framing, which is the proxy's.
    pub headers: Editable<'a>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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

// === impl RouteContext, BackendFacts ===

impl<'a> RouteContext<'a> {
    /// Makes a context.
    pub fn new(
        facts: RequestFacts<'a>,
        headers: &'a HeaderMap,
        route: &'a RouteFacts,
        backends: &'a dyn Backends,
        shared: &'a mut Shared,
    ) -> Self {
        Self { facts, headers, route, backends, shared }
    }

    /// The request's fields, in canonical form.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The matched route.
    pub fn route(&self) -> &'a RouteFacts {
        self.route
    }

    /// The route's backends, in the order of the configuration.
    pub fn backends(&self) -> impl Iterator<Item = BackendFacts<'a>> + use<'a> {
        let backends = self.backends;
        (0..backends.count()).filter_map(|position| backends.backend(position))
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

impl<'a> Deref for RouteContext<'a> {
    type Target = RequestFacts<'a>;

    fn deref(&self) -> &Self::Target {
        &self.facts
    }
}

impl<'a> BackendFacts<'a> {
    /// A backend with its share.
    pub fn new(name: &'a str, weight: u32) -> Self {
        Self { name, weight }
    }
}

// === impl UpstreamRequest ===

impl<'a> UpstreamRequest<'a> {
    /// Makes a context.
    pub fn new(facts: RequestFacts<'a>, route: &'a RouteFacts, headers: &'a mut dyn Headers) -> Self {
        Self { facts, route, target: Target::default(), error: None, headers: Editable::new(headers) }
    }

    /// The request as it was routed.
    pub fn facts(&self) -> &RequestFacts<'a> {
        &self.facts
    }

    /// The matched route.
    pub fn route(&self) -> &'a RouteFacts {
        self.route
    }

    /// The method as it will be sent, as far as plugins are asked.
    pub fn method(&self) -> &Method {
        self.target.method.as_ref().unwrap_or(self.facts.method)
    }

    /// The path as it will be sent, as far as plugins are asked.
    pub fn path(&self) -> &str {
        self.target.path.as_deref().unwrap_or(self.facts.path)
    }

    /// The query as it will be sent, as far as plugins are asked.
    pub fn query(&self) -> Option<&str> {
        self.target.query.as_ref().map_or(self.facts.query, Option::as_deref)
    }

    /// The host that a plugin has set.
    pub fn host(&self) -> Option<&str> {
        self.target.host.as_deref()
    }

    /// Sends the request with another path. It is routed no more, and authentication has seen the one that came.
    ///
    /// # Errors
    /// It is no path on which readers agree. The request then ends with 500, unless another one is set.
    pub fn set_path(&mut self, path: impl Into<Box<str>>) -> Result<(), TargetError> {
        let path = path.into();
        let is_good = target::is_path(&path);
        self.set(is_good, TargetError::Path, |target| target.path = Some(path))
    }

    /// Sends the request with another query, without `?`, or without one.
    ///
    /// # Errors
    /// It is no query. The request then ends with 500, unless another one is set.
    pub fn set_query(&mut self, query: Option<&str>) -> Result<(), TargetError> {
        let is_good = query.is_none_or(target::is_query);
        self.set(is_good, TargetError::Query, |target| target.query = Some(query.map(Into::into)))
    }

    /// Sends the request with another host, with a port or without. Where it is sent, and which name TLS to the
    /// endpoint asks for and verifies, stays as it is.
    ///
    /// # Errors
    /// It is no host. The request then ends with 500, unless another one is set.
    pub fn set_host(&mut self, host: impl Into<Box<str>>) -> Result<(), TargetError> {
        let host = host.into();
        let is_good = target::is_host(&host);
        self.set(is_good, TargetError::Host, |target| target.host = Some(host.to_ascii_lowercase().into()))
    }

    /// Sends the request with another method.
    ///
    /// # Errors
    /// The answer's framing hangs on it, or it is never sent. The request then ends with 500, unless another one is set.
    pub fn set_method(&mut self, method: Method) -> Result<(), TargetError> {
        let is_good = target::may_become(self.facts.method, &method);
        self.set(is_good, TargetError::Method, |target| target.method = Some(method))
    }

    /// What is wrong with what a plugin wanted to set.
    pub fn error(&self) -> Option<TargetError> {
        self.error
    }

    /// What plugins have set.
    ///
    /// # Errors
    /// What a plugin wanted to set cannot be sent: the request must not be.
    pub fn into_target(self) -> Result<Target, TargetError> {
        self.error.map_or(Ok(self.target), Err)
    }

    /// The first error stays until the same part is set well.
    fn set(&mut self, is_good: bool, error: TargetError, set: impl FnOnce(&mut Target)) -> Result<(), TargetError> {
        if !is_good {
            self.error = self.error.or(Some(error));
            return Err(error);
        }
        self.error = self.error.filter(|earlier| *earlier != error);
        set(&mut self.target);
        Ok(())
    }
}

// === impl ResponseContext ===

impl<'a> ResponseContext<'a> {
    /// Makes a context.
    pub fn new(
        facts: RequestFacts<'a>,
        route: &'a RouteFacts,
        shared: &'a mut Shared,
        status: StatusCode,
        headers: &'a mut dyn Headers,
    ) -> Self {
        Self { facts, route, shared, status, headers: Editable::new(headers) }
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

// === impl LogRecord ===

impl<'a> LogRecord<'a> {
    /// A request that the upstream has answered with 200, at once; the fields can be set.
    pub fn new(facts: RequestFacts<'a>, route: &'a RouteFacts, shared: &'a Shared) -> Self {
        Self { facts, route, shared, status: 200, reason: "upstream", duration: Duration::ZERO }
    }
}
