//! What `tls` entries count for. Naming a host is not owning it.
//!
//! An entry counts for a name when the most specific pattern that is served for it has a route of the entry's
//! namespace. Who may say which certificate is presented is listed here, oldest first, and decided where certificates
//! can be read. It must not know Secrets' contents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::owner::owner_text;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Certificate, Claim, Model, Route, VirtualHost};
use crate::origin::Origin;
use crate::resources::ObjectName;
use crate::translate::contribution::TlsEntry;
use crate::translate::index::names::Names;

/// Result of the `tls` entries for a host pattern.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Who is heard; empty: nobody, though a wildcard above has a certificate.
    pub claims: Option<Arc<[Claim]>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Namespaces that serve a host pattern, as far as looked up.
struct Serving<'m> {
    host: Option<&'m VirtualHost>,
    namespaces: BTreeSet<&'m str>,
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
            return vec![Diagnostic::warning(Code::TlsHostNotServed, &entry.origin, message).hint(hint)];
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
    Diagnostic::warning(Code::TlsHostOfOthers, &entry.origin, message).hint(hint)
}

fn named_by_others(pattern: &HostPattern, by: &Origin, owner: &Route) -> Diagnostic {
    let message = format!("{} names host `{pattern}` in `tls` too, which has no effect", by.object());
    Diagnostic::info(Code::HostNamedByOthers, &owner.origin, message)
}
