//! What routes of every dialect have in common.

use std::sync::Arc;

use crate::model::{Action, PathMatch};

/// The match of a canonical prefix: without closing slash; `/` is everything.
pub(crate) fn prefix(canonical: &str) -> PathMatch {
    let trimmed = canonical.trim_end_matches('/');
    if trimmed.is_empty() { PathMatch::default() } else { PathMatch::Prefix(trimmed.into()) }
}

/// The name of the first backend of an action: a metric label.
pub(crate) fn first_backend(action: &Action) -> Arc<str> {
    match action {
        Action::Forward(backends) => backends.first().map(|first| Arc::clone(first.backend.name())),
        _ => None,
    }
    .unwrap_or_default()
}
