//! What `tls` entries count for. Naming a host is not owning it.
//!
//! An entry counts for a name when the most specific pattern that is served for it has a route of the entry's
//! namespace. Redirects are those of a route's own namespace; who may say which certificate is presented is listed
//! here, oldest first, and decided where certificates can be read. It must not know Secrets' contents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::host::{HostPattern, HostSet};
use crate::model::{Certificate, Claim, HttpsRedirect, Model, Route, VirtualHost};
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName};
use crate::translate::contribution::TlsEntry;
use crate::translate::index::names::Names;

/// Which plain requests of a host's routes are sent to https, by the namespace of the route.
pub(crate) struct Redirects<'n> {
    names: &'n Names,
    pattern: &'n HostPattern,
    known: BTreeMap<Arc<str>, HttpsRedirect>,
}

/// What the `tls` entries for a pattern come to.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Who is heard; empty: nobody, though a wildcard above has a certificate.
    pub claims: Option<Arc<[Claim]>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Who serves a pattern, as far as it was asked.
struct Serving<'m> {
    host: Option<&'m VirtualHost>,
    namespaces: BTreeSet<&'m str>,
}

// === impl Redirects ===

impl<'n> Redirects<'n> {
    pub(crate) fn new(names: &'n Names, pattern: &'n HostPattern) -> Self {
        Self { names, pattern, known: BTreeMap::new() }
    }

    /// For routes of a namespace that are redirected where it has a `tls` entry.
    pub(crate) fn of(&mut self, namespace: &Arc<str>) -> HttpsRedirect {
        if let Some(known) = self.known.get(namespace) {
            return known.clone();
        }
        let found = self.find(namespace);
        self.known.insert(Arc::clone(namespace), found.clone());
        found
    }

    fn find(&self, namespace: &str) -> HttpsRedirect {
        let names = |pattern: &HostPattern| self.names.tls(pattern).any(|entry| entry.namespace() == namespace);
        if names(self.pattern) || self.pattern.wildcard_above().is_some_and(|wildcard| names(&wildcard)) {
            return HttpsRedirect::On;
        }
        let hosts: HostSet = self.names.strays_of(self.pattern).filter(|stray| names(stray)).cloned().collect();
        if hosts.is_empty() { HttpsRedirect::Off } else { HttpsRedirect::Hosts(Arc::new(hosts)) }
    }
}

/// Judges the `tls` entries that name a pattern, itself or by the wildcard above it.
pub(crate) fn judge(
    names: &Names,
    model: &Model,
    certificates: &BTreeMap<ObjectName, Arc<Certificate>>,
    pattern: &HostPattern,
) -> Judged {
    let wildcard = pattern.wildcard_above().filter(|wildcard| names.tls(wildcard).next().is_some());
    let own = || names.tls(pattern).map(|entry| (entry, false));
    let above = || wildcard.iter().flat_map(|wildcard| names.tls(wildcard)).map(|entry| (entry, true));
    // A name that nobody says anything about is what the wildcard says it is.
    if names.parts(pattern).next().is_none() || own().chain(above()).next().is_none() {
        return Judged::default();
    }
    let serving = Serving::new(names.serving(pattern).and_then(|host| model.hosts.get(&host)).map(|host| &**host));
    let counts = own().chain(above()).filter(|(entry, _)| serving.is_of(entry));
    let mut heard: Vec<(&TlsEntry, bool)> = counts.filter(|(entry, _)| entry.secret.is_some()).collect();
    heard.sort_by(|(a, _), (b, _)| a.rank.cmp(&b.rank));
    let claims = heard.into_iter().filter_map(|(entry, by_wildcard)| {
        let certificate = Arc::clone(certificates.get(entry.secret.as_ref()?)?);
        Some(Claim { origin: entry.origin.clone(), by_wildcard, certificate })
    });
    let claims: Arc<[Claim]> = claims.collect();
    // Nobody is heard, and the wildcard's certificate must not show through.
    let is_shadow = above().any(|(entry, _)| entry.secret.is_some());
    let idle = own().map(|(entry, _)| entry).filter(|entry| !serving.is_of(entry));
    let idle = idle.filter(|entry| !counts_under(names, model, pattern, entry.namespace()));
    Judged {
        diagnostics: idle.flat_map(|entry| serving.diagnose(pattern, entry)).collect(),
        claims: (!claims.is_empty() || is_shadow).then_some(claims),
    }
}

/// Whether an entry for a wildcard counts for some name under it, of which a namespace has routes.
fn counts_under(names: &Names, model: &Model, wildcard: &HostPattern, namespace: &str) -> bool {
    let mut hosts = names.under(wildcard).filter_map(|name| model.hosts.get(&name));
    hosts.any(|host| host.all_routes().any(|route| *route.origin.namespace == *namespace))
}

/// An object as others may see it: where the conf lies is nothing for those who use a cluster.
pub(crate) fn owner_text(origin: &Origin) -> String {
    if origin.kind == Kind::Conf.as_str() { "the conf".to_owned() } else { origin.object() }
}

// === impl Serving ===

impl<'m> Serving<'m> {
    fn new(host: Option<&'m VirtualHost>) -> Self {
        let routes = host.into_iter().flat_map(VirtualHost::all_routes);
        Self { host, namespaces: routes.map(|route| &*route.origin.namespace).collect() }
    }

    fn is_of(&self, entry: &TlsEntry) -> bool {
        self.namespaces.contains(entry.namespace())
    }

    /// Says to both sides that an entry counts for nothing.
    fn diagnose(&self, pattern: &HostPattern, entry: &TlsEntry) -> Vec<Diagnostic> {
        let namespace = entry.namespace();
        // Whoever serves every host owns none of them.
        let owner = self.host.filter(|host| host.pattern != HostPattern::Any).and_then(VirtualHost::oldest);
        let Some(owner) = owner else {
            let message =
                format!("namespace `{namespace}` has no route for host `{pattern}`, so this does nothing for it");
            let hint = "add a rule for the host, or leave it out here";
            return vec![Diagnostic::warning("TlsHostNotServed", &entry.origin, message).hint(hint)];
        };
        vec![foreign(pattern, entry, owner), named_by_others(pattern, &entry.origin, owner)]
    }
}

fn foreign(pattern: &HostPattern, entry: &TlsEntry, owner: &Route) -> Diagnostic {
    let (owner, namespace) = (owner_text(&owner.origin), entry.namespace());
    let message = format!(
        "host `{pattern}` is served by {owner}, and namespace `{namespace}` has no route there, so this does nothing for it"
    );
    let hint = "certificate and redirect of a host are decided by those who serve it; leave it out here";
    Diagnostic::warning("TlsHostOfOthers", &entry.origin, message).hint(hint)
}

fn named_by_others(pattern: &HostPattern, by: &Origin, owner: &Route) -> Diagnostic {
    let message = format!("{} names host `{pattern}` in `tls` too, which has no effect", by.object());
    Diagnostic::info("HostNamedByOthers", &owner.origin, message)
}
