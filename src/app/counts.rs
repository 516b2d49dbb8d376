//! Counts in words, for the start-up summary, the admin API and `check`.

use crate::snapshot::Snapshot;

/// What a snapshot has.
pub(super) fn of_snapshot(snapshot: &Snapshot) -> String {
    let routes: usize = snapshot.common.router.hosts().map(|(_, routes)| routes.routes().count()).sum();
    let certificates = snapshot.common.certificates.iter().count();
    let parts = [(snapshot.common.router.len(), "host"), (routes, "route"), (certificates, "certificate")];
    parts.map(|(count, what)| counted(count, what)).join(", ")
}

/// A number and what it counts.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
