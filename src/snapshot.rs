//! What one request needs, compiled: routes, plugin chains, certificates, edge settings.
//!
//! Immutable once published; a request reads one snapshot for its whole life. The parts that change often or
//! count (endpoints, health, in-flight) live in [`crate::endpoint`] and are only pointed to.
//! It must not know the model, Kubernetes, Pingora or how it was compiled.

pub(crate) mod certificates;
mod describe;
pub(crate) mod edge;
pub(crate) mod host_map;
pub(crate) mod listener;
pub(crate) mod pipeline;
pub(crate) mod route;
pub(crate) mod router;

use std::sync::Arc;

use certificates::Certificates;
use edge::Edge;
use listener::Listeners;
use route::Route;
use router::{RequestView, Router};

use crate::listener::Serves;
use crate::path::without_parameters;
use crate::reason::Reason;

/// Everything that requests and handshakes read.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts published snapshots, from 1; 0: nothing was loaded yet.
    pub generation: u64,
    /// Where clients come in.
    pub(crate) listeners: Listeners,
    /// What all listeners of the conf serve.
    pub common: Arc<Served>,
    /// What holds for every request.
    pub edge: Arc<Edge>,
}

/// What listeners serve: hosts with their routes, and certificates.
#[derive(Clone, Debug)]
pub struct Served {
    /// From request to route.
    pub router: Router,
    /// What takes requests that nothing else wants.
    pub default: Option<Arc<Route>>,
    /// From server name to certificate.
    pub certificates: Certificates,
}

// === impl Snapshot ===

impl Snapshot {
    /// What a listener serves. Known of its connections from the moment they are accepted.
    pub(crate) fn served(&self, serves: Serves) -> &Served {
        match serves {
            Serves::Common => &self.common,
        }
    }

    /// The route that takes a request, its path in canonical form.
    ///
    /// # Errors
    /// Nothing takes it, nothing was loaded yet, or its path is another route's for readers that cut path parameters
    /// off: `/admin;x` must not pass where `/admin` is closed.
    pub fn route(&self, serves: Serves, view: &RequestView<'_>) -> Result<&Arc<Route>, Reason> {
        let served = self.served(serves);
        let nothing = if self.generation == 0 { Reason::NotReady } else { Reason::NoRoute };
        let route = served.find(view).ok_or(nothing)?;
        match without_parameters(view.path).map_err(|_| Reason::BadPath)? {
            None => Ok(route),
            Some(path) => {
                let cut = served.find(&RequestView { path: &path, ..*view });
                cut.filter(|cut| Arc::ptr_eq(cut, route)).map(|_| route).ok_or(Reason::BadPath)
            }
        }
    }
}

// === impl Served ===

impl Served {
    fn find(&self, view: &RequestView<'_>) -> Option<&Arc<Route>> {
        self.router.find(view).map(|found| found.route).or(self.default.as_ref())
    }
}
