//! stub: replaced by the router owner
use super::host_map::HostMap;
use super::route::Route;
use std::sync::Arc;

/// From request to route.
#[derive(Debug, Default, Clone)]
pub struct Router {
    #[allow(dead_code)]
    hosts: HostMap<Arc<HostRoutes>>,
}
/// Routes of one host.
#[derive(Debug, Default)]
pub struct HostRoutes {}

/// A request as routing sees it: canonical, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Host, lower case, without port and trailing dot.
    pub host: &'a str,
    /// Canonical path.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a http::Method,
    /// Fields.
    pub headers: &'a http::HeaderMap,
}

/// How a route was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// The route.
    pub route: &'s Arc<Route>,
}

impl Router {
    /// Finds the route of a request; `None`: the snapshot's default, else 404.
    pub fn find<'s>(&'s self, _request: &RequestView<'_>) -> Option<Found<'s>> {
        None
    }
}
