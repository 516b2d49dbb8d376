//! Merges what several units say about one host.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contribution::{Candidate, CertificateUse, HostPart};
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Match, PathMatch, Route, VirtualHost};
use crate::resources::ObjectName;

/// What became of one host.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub host: Option<Arc<VirtualHost>>,
    pub secret: Option<ObjectName>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Merges the parts of a host, in any order.
pub(super) fn merge(pattern: &HostPattern, parts: &[&HostPart]) -> Merged {
    let mut merged = Merged::default();
    let has_tls = parts.iter().any(|part| part.has_tls);
    let routes = merge_routes(pattern, parts, has_tls, &mut merged.diagnostics);
    let fallback = merge_fallback(pattern, parts, has_tls, &mut merged.diagnostics);
    if !routes.is_empty() || fallback.is_some() {
        merged.host = Some(Arc::new(VirtualHost { pattern: pattern.clone(), routes, fallback }));
    }
    merged.secret = merge_certificate(pattern, parts, &mut merged.diagnostics);
    merged
}

fn merge_routes(
    pattern: &HostPattern,
    parts: &[&HostPart],
    has_tls: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Arc<Route>> {
    let mut candidates: Vec<&Candidate> = parts.iter().flat_map(|part| &part.routes).collect();
    candidates.sort_by(|a, b| a.route.rank.cmp(&b.route.rank));
    let mut winners: BTreeMap<&PathMatch, &Route> = BTreeMap::new();
    let mut routes = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let route = &candidate.route;
        if is_path_only(&route.matcher) {
            if let Some(winner) = winners.get(&route.matcher.path) {
                diagnostics.push(path_conflict(pattern, route, winner));
                continue;
            }
            winners.insert(&route.matcher.path, route);
        }
        routes.push(resolved(candidate, has_tls));
    }
    routes
}

fn merge_fallback(
    pattern: &HostPattern,
    parts: &[&HostPart],
    has_tls: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Arc<Route>> {
    let mut candidates: Vec<&Candidate> = parts.iter().filter_map(|part| part.fallback.as_ref()).collect();
    candidates.sort_by(|a, b| a.route.rank.cmp(&b.route.rank));
    let (winner, losers) = candidates.split_first()?;
    for loser in losers {
        let message = format!("the default backend of host `{pattern}` is that of {}", winner.route.origin.object());
        diagnostics.push(
            Diagnostic::warning("DefaultBackendConflict", &loser.route.origin, message)
                .hint("the oldest object wins; remove one of the two"),
        );
    }
    Some(resolved(winner, has_tls))
}

fn merge_certificate(
    pattern: &HostPattern,
    parts: &[&HostPart],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<ObjectName> {
    let mut uses: Vec<&CertificateUse> = parts.iter().filter_map(|part| part.certificate.as_deref()).collect();
    uses.sort_by(|a, b| a.rank.cmp(&b.rank));
    let (winner, losers) = uses.split_first()?;
    for loser in losers.iter().filter(|loser| loser.secret != winner.secret) {
        diagnostics.push(certificate_conflict(pattern, loser, winner));
    }
    Some(winner.secret.clone())
}

/// What is said about a Secret that is not used because another has the host.
pub(super) fn certificate_conflict(
    pattern: &HostPattern,
    loser: &CertificateUse,
    winner: &CertificateUse,
) -> Diagnostic {
    let message = format!("host `{pattern}` already has Secret `{}` of {}", winner.secret, winner.origin.object());
    Diagnostic::warning("CertificateConflict", &loser.origin, message)
        .hint("the oldest object wins; name the same Secret in both")
}

fn path_conflict(pattern: &HostPattern, loser: &Route, winner: &Route) -> Diagnostic {
    let path = &loser.matcher.path;
    let (kind, text, winner) = (path.kind(), path.as_str(), winner.origin.object());
    Diagnostic::warning(
        "PathConflict",
        &loser.origin,
        format!("{kind} path `{text}` of host `{pattern}` is already served by {winner}"),
    )
    .hint("conf routes come first, then the oldest object, then namespace and name; remove one of the two")
}

fn is_path_only(matcher: &Match) -> bool {
    matcher.methods.is_empty() && matcher.headers.is_empty() && matcher.query.is_empty()
}

fn resolved(candidate: &Candidate, has_tls: bool) -> Arc<Route> {
    let https_redirect = candidate.redirect.resolve(has_tls);
    if candidate.route.https_redirect == https_redirect {
        return Arc::clone(&candidate.route);
    }
    Arc::new(Route { https_redirect, ..(*candidate.route).clone() })
}
