//! What routes of every dialect have in common.

use crate::model::PathMatch;

/// The match of a canonical prefix: without closing slash; `/` is everything.
pub(crate) fn prefix(canonical: &str) -> PathMatch {
    let trimmed = canonical.trim_end_matches('/');
    if trimmed.is_empty() { PathMatch::default() } else { PathMatch::Prefix(trimmed.into()) }
}
