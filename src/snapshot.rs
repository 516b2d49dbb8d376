//! What one request needs, compiled: routes, plugin chains, certificates, edge settings.
//!
//! Immutable once published; a request reads one snapshot for its whole life. The parts that change often or
//! count (endpoints, health, in-flight) live in [`crate::endpoint`] and are only pointed to.
//! It must not know the model, Kubernetes, Pingora or how it was compiled.

pub mod certificates;
mod describe;
pub mod edge;
pub mod host_map;
pub mod pipeline;
pub mod route;
pub mod router;

use std::sync::Arc;

use certificates::Certificates;
use edge::Edge;
use route::Route;
use router::Router;

/// Everything that requests and handshakes read.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts published snapshots, from 1; 0: nothing was loaded yet.
    pub generation: u64,
    /// From request to route.
    pub router: Router,
    /// What takes requests that nothing else wants.
    pub default: Option<Arc<Route>>,
    /// From server name to certificate.
    pub certificates: Certificates,
    /// What holds for every request.
    pub edge: Arc<Edge>,
}
