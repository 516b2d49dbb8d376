//! Places of an Ingress that another object has: the same host, path and kind of path, the host's default backend, or
//! a host that it names in `tls` and that others serve.
//!
//! Asked of the live tables by key, so that a host of ten thousand routes costs what a host of one does. Only for a
//! host that is named in `tls` and has no rule here, its routes are walked through.

use std::fmt;

use super::is_about;
use crate::host::HostPattern;
use crate::model::{Model, PathMatch, VirtualHost};
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName};
use crate::snapshot::Snapshot;
use crate::snapshot::router::{HostRoutes, PathTest};
use crate::translate::Translation;

/// A place that another object has.
pub(super) struct Clash<'a> {
    host: &'a HostPattern,
    place: Place<'a>,
    owner: Origin,
}

/// A place on a host: a path, or the default backend.
enum Place<'a> {
    Path(&'a PathMatch),
    /// The default backend, which another object has.
    Fallback,
    /// The default backend, for which another namespace was there first.
    Rest,
    /// The certificate and the redirect: no route of the namespace is there.
    Tls,
    /// The certificate, which is this Secret's.
    Certificate(String),
}

/// Every place of the translation of `name` that another object has.
pub(super) fn find<'a>(translation: &'a Translation, name: &ObjectName, live: &Snapshot) -> Vec<Clash<'a>> {
    let model = &translation.model;
    let mut found = Vec::new();
    for host in model.hosts.values() {
        let Some(routes) = live.common.router.host(&host.pattern) else { continue };
        for path in host.routes.iter().map(|route| &route.matcher.path) {
            let owner = owner(routes, path, name);
            found.extend(owner.map(|owner| Clash { host: &host.pattern, place: Place::Path(path), owner }));
        }
        let rest = rest_owner(host, routes, name);
        found.extend(rest.map(|(place, owner)| Clash { host: &host.pattern, place, owner }));
    }
    for (host, _) in &translation.tls_names {
        let tls = tls_owner(host, model, name, live).map(|owner| (Place::Tls, owner));
        let tls = tls.or_else(|| certificate_owner(host, name, live));
        found.extend(tls.map(|(place, owner)| Clash { host, place, owner }));
    }
    found
}

// === impl Clash ===

impl Clash<'_> {
    /// Whether the object is served all the same: a default backend is what is left, and may be nothing.
    pub(super) fn is_harmless(&self) -> bool {
        !matches!(self.place, Place::Path(_))
    }

    /// Whether this model wants the same path.
    pub(super) fn is_of(&self, model: &Model) -> bool {
        let Place::Path(path) = self.place else { return false };
        let host = model.hosts.get(self.host);
        host.is_some_and(|host| host.routes.iter().any(|route| route.matcher.path == *path))
    }
}

impl fmt::Display for Clash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where the conf lies is nothing for those who use the cluster.
        let is_conf = self.owner.kind == Kind::Conf.as_str();
        let owner = if is_conf { "the conf".to_owned() } else { self.owner.object() };
        let host = self.host;
        match &self.place {
            Place::Path(path) => {
                write!(f, "{} path `{}` of host `{host}` is already served by {owner}", path.kind(), path.as_str())
            }
            Place::Fallback => write!(f, "the default backend of host `{host}` is that of {owner}"),
            Place::Rest => write!(f, "the default backend is not for host `{host}`, where {owner} was first"),
            Place::Tls => {
                write!(f, "`tls` does nothing for host `{host}`, which {owner} serves and this namespace does not")
            }
            Place::Certificate(secret) => {
                write!(f, "host `{host}` already has Secret `{secret}` of {owner}; the oldest object wins")
            }
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

fn rest_owner<'a>(host: &VirtualHost, routes: &HostRoutes, name: &ObjectName) -> Option<(Place<'a>, Origin)> {
    host.fallback.as_ref()?;
    let oldest = routes.oldest().filter(|oldest| oldest.namespace != name.namespace);
    if let Some(oldest) = oldest {
        return Some((Place::Rest, oldest.clone()));
    }
    let fallback = &routes.fallback()?.origin;
    (!is_about(fallback, name)).then(|| (Place::Fallback, fallback.clone()))
}

/// Who serves a host that is named in `tls`, when the object's namespace does not.
fn tls_owner(host: &HostPattern, model: &Model, name: &ObjectName, live: &Snapshot) -> Option<Origin> {
    let counts_under = |known: &HostPattern| matches!(known, HostPattern::Exact(known) if host.matches(known));
    if model.hosts.keys().any(counts_under) {
        return None;
    }
    for pattern in std::iter::once(host.clone()).chain(host.above()) {
        if model.hosts.contains_key(&pattern) {
            return None;
        }
        let routes = live.common.router.host(&pattern).into_iter().flat_map(|routes| routes.routes());
        let mut others = routes.map(|route| &route.origin).filter(|origin| !is_about(origin, name)).peekable();
        if let Some(&first) = others.peek() {
            // Whoever serves every host owns none of them.
            let is_foreign = pattern != HostPattern::Any && !others.any(|origin| origin.namespace == name.namespace);
            return is_foreign.then(|| first.clone());
        }
    }
    None
}

/// Whose certificate a host presents, when it is another namespace's.
fn certificate_owner<'a>(host: &HostPattern, name: &ObjectName, live: &Snapshot) -> Option<(Place<'a>, Origin)> {
    let presented = live.common.certificates.hosts.get(host)?.first()?;
    let is_foreign = presented.owner.namespace != name.namespace;
    is_foreign.then(|| (Place::Certificate(presented.served.name.to_string()), presented.owner.clone()))
}
