//! Places of an Ingress that another object has: the same host, path and kind of path, or the host's default backend.
//!
//! Asked of the live host table by key, so that a host of ten thousand routes costs what a host of one does.

use std::fmt;

use super::is_about;
use crate::host::HostPattern;
use crate::model::{Model, PathMatch, VirtualHost};
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName};
use crate::snapshot::Snapshot;
use crate::snapshot::router::{HostRoutes, PathTest};

/// A place that another object has.
pub(super) struct Clash<'a> {
    host: &'a HostPattern,
    /// `None`: the default backend of the host.
    path: Option<&'a PathMatch>,
    owner: Origin,
}

/// Every place of the model that another object than `name` has.
pub(super) fn find<'a>(model: &'a Model, name: &ObjectName, live: &Snapshot) -> Vec<Clash<'a>> {
    let mut found = Vec::new();
    for host in model.hosts.values() {
        let Some(routes) = live.router.host(&host.pattern) else { continue };
        for path in host.routes.iter().map(|route| &route.matcher.path) {
            let owner = owner(routes, path, name);
            found.extend(owner.map(|owner| Clash { host: &host.pattern, path: Some(path), owner }));
        }
        let owner = fallback_owner(host, routes, name);
        found.extend(owner.map(|owner| Clash { host: &host.pattern, path: None, owner }));
    }
    found
}

// === impl Clash ===

impl Clash<'_> {
    /// Whether the object is served all the same: a default backend is what is left, and may be nothing.
    pub(super) fn is_harmless(&self) -> bool {
        self.path.is_none()
    }

    /// Whether this model wants the same place.
    pub(super) fn is_of(&self, model: &Model) -> bool {
        model.hosts.get(self.host).is_some_and(|host| match self.path {
            Some(path) => host.routes.iter().any(|route| route.matcher.path == *path),
            None => host.fallback.is_some(),
        })
    }
}

impl fmt::Display for Clash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where the conf lies is nothing for those who use the cluster.
        let is_conf = self.owner.kind == Kind::Conf.as_str();
        let owner = if is_conf { "the conf".to_owned() } else { self.owner.object() };
        let host = self.host;
        match self.path {
            Some(path) => {
                write!(f, "{} path `{}` of host `{host}` is already served by {owner}", path.kind(), path.as_str())
            }
            None => write!(f, "the default backend of host `{host}` is that of {owner}"),
        }
    }
}

/// Routes that ask for more than the path stand beside it, not in its place.
fn owner(routes: &HostRoutes, path: &PathMatch, name: &ObjectName) -> Option<Origin> {
    let path = match path {
        PathMatch::Exact(text) => PathTest::Exact(text.clone()),
        PathMatch::Prefix(text) => PathTest::prefix(text),
        // An Ingress has none.
        PathMatch::Regex(_) => return None,
    };
    let mut entries = routes.same_path(&path).iter().filter(|entry| entry.is_path_only());
    entries.find(|entry| !is_about(&entry.route().origin, name)).map(|entry| entry.route().origin.clone())
}

fn fallback_owner(host: &VirtualHost, routes: &HostRoutes, name: &ObjectName) -> Option<Origin> {
    let route = routes.fallback().filter(|_| host.fallback.is_some())?;
    (!is_about(&route.origin, name)).then(|| route.origin.clone())
}
