//! Merges what several units say about one host.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::owner::owner_text;
use super::redirects::Redirects;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{HttpsRedirect, Match, PathMatch, Route, VirtualHost};
use crate::translate::asked::Redirection;
use crate::translate::contribution::{Candidate, HostPart};

/// Result of merging one host.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub host: Option<Arc<VirtualHost>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Merges the parts of a host, in any order.
pub(crate) fn merge(pattern: &HostPattern, parts: &[&HostPart], redirects: &mut Redirects<'_>) -> Merged {
    let mut merged = Merged::default();
    let routes = merge_routes(pattern, parts, &mut merged.diagnostics);
    let fallback = merge_fallback(pattern, parts, &mut merged.diagnostics);
    if !routes.is_empty() || fallback.is_some() {
        let routes = routes.into_iter().map(|candidate| resolved(candidate, redirects)).collect();
        let fallback = fallback.map(|candidate| resolved(candidate, redirects));
        merged.host = Some(Arc::new(VirtualHost { pattern: pattern.clone(), routes, fallback }));
    }
    merged
}

fn merge_routes<'p>(
    pattern: &HostPattern,
    parts: &[&'p HostPart],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<&'p Candidate> {
    let mut candidates: Vec<&Candidate> = parts.iter().flat_map(|part| &part.routes).collect();
    candidates.sort_by(|a, b| a.route.rank.cmp(&b.route.rank));
    let mut winners: BTreeMap<&PathMatch, &Route> = BTreeMap::new();
    candidates.retain(|candidate| {
        let route = &candidate.route;
        if !is_path_only(&route.matcher) {
            return true;
        }
        if let Some(winner) = winners.get(&route.matcher.path) {
            diagnostics.push(path_conflict(pattern, route, winner));
            return false;
        }
        winners.insert(&route.matcher.path, route);
        true
    });
    candidates
}

/// What the paths of a host leave belongs to the namespace whose route was there first. The conf's come before all.
fn merge_fallback<'p>(
    pattern: &HostPattern,
    parts: &[&'p HostPart],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<&'p Candidate> {
    let mut candidates: Vec<&Candidate> = parts.iter().filter_map(|part| part.fallback.as_ref()).collect();
    if candidates.is_empty() {
        return None;
    }
    candidates.sort_by(|a, b| a.route.rank.cmp(&b.route.rank));
    let routes = parts.iter().flat_map(|part| &part.routes);
    let oldest = routes.chain(candidates.iter().copied()).min_by(|a, b| a.route.rank.cmp(&b.route.rank))?;
    let owner = &oldest.route.origin;
    let winner = candidates.iter().find(|it| it.route.origin.namespace == owner.namespace).copied();
    for loser in candidates.iter().filter(|it| winner.is_none_or(|winner| !std::ptr::eq(**it, winner))) {
        diagnostics.push(match winner {
            Some(winner) => fallback_conflict(pattern, &loser.route, &winner.route),
            None => foreign_fallback(pattern, &loser.route, owner_text(owner)),
        });
        if loser.route.origin.namespace != owner.namespace {
            let message = format!(
                "{} wants to be the default backend of host `{pattern}` too, and is not",
                loser.route.origin.object()
            );
            diagnostics.push(Diagnostic::info(Code::HostNamedByOthers, owner, message));
        }
    }
    winner
}

fn fallback_conflict(pattern: &HostPattern, loser: &Route, winner: &Route) -> Diagnostic {
    let message = format!("the default backend of host `{pattern}` is that of {}", winner.origin.object());
    Diagnostic::warning(Code::DefaultBackendConflict, &loser.origin, message)
        .hint("the oldest object wins; remove one of the two")
}

fn foreign_fallback(pattern: &HostPattern, loser: &Route, owner: String) -> Diagnostic {
    let message =
        format!("what the paths of host `{pattern}` leave is not for this namespace: {owner} was there first");
    Diagnostic::warning(Code::DefaultBackendConflict, &loser.origin, message)
        .hint("the default backend of a host is that of the namespace of its oldest route; write rules for paths")
}

fn path_conflict(pattern: &HostPattern, loser: &Route, winner: &Route) -> Diagnostic {
    let path = &loser.matcher.path;
    let (kind, text, winner) = (path.kind(), path.as_str(), winner.origin.object());
    Diagnostic::warning(
        Code::PathConflict,
        &loser.origin,
        format!("{kind} path `{text}` of host `{pattern}` is already served by {winner}"),
    )
    .hint("conf routes come first, then the oldest object, then namespace and name; remove one of the two")
}

fn is_path_only(matcher: &Match) -> bool {
    matcher.methods.is_empty() && matcher.headers.is_empty() && matcher.query.is_empty()
}

fn resolved(candidate: &Candidate, redirects: &mut Redirects<'_>) -> Arc<Route> {
    let https_redirect = match candidate.redirect {
        Redirection::Never => HttpsRedirect::Off,
        Redirection::Always => HttpsRedirect::On,
        Redirection::WithTls => redirects.of(&candidate.route.origin.namespace),
    };
    if candidate.route.https_redirect == https_redirect {
        return Arc::clone(&candidate.route);
    }
    Arc::new(Route { https_redirect, ..(*candidate.route).clone() })
}
