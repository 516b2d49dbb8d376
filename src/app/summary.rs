//! What is printed when the proxy is ready: for people, before the log begins.

use std::fmt::Write as _;

use super::Running;
use crate::diagnostic::Severity;
use crate::snapshot::Snapshot;
use crate::snapshot::route::Action;

/// The start-up summary of a proxy that is ready.
pub(crate) fn text(running: &Running) -> String {
    let snapshot = running.snapshot();
    let mut text = format!("tidegate {} is ready: {}\n", env!("CARGO_PKG_VERSION"), counts(&snapshot));
    for (scheme, address) in running.addresses() {
        let _ = writeln!(text, "  listening  {scheme}://{address}");
    }
    for (what, address) in [("telemetry", running.telemetry()), ("admin", running.admin())] {
        if let Some(address) = address {
            let _ = writeln!(text, "  {what:<9}  http://{address}");
        }
    }
    let _ = writeln!(text, "  sources    {}", running.source_names());
    let found = running.diagnostics();
    let count = |severity| found.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let hint = if errors + warnings > 0 { "; `tidegate check` shows them" } else { "" };
    let _ = writeln!(text, "  findings   {errors} errors, {warnings} warnings{hint}");
    for line in to_try(running, &snapshot) {
        let _ = writeln!(text, "  try        {line}");
    }
    text
}

/// What a snapshot has, in words.
pub(crate) fn counts(snapshot: &Snapshot) -> String {
    let routes: usize = snapshot.router.hosts().map(|(_, routes)| routes.routes().count()).sum();
    let certificates = snapshot.certificates.hosts.iter().count();
    let counted = [(snapshot.router.len(), "host"), (routes, "route"), (certificates, "certificate")];
    counted.map(|(count, what)| counted_text(count, what)).join(", ")
}

fn counted_text(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Up to three commands that show something.
fn to_try(running: &Running, snapshot: &Snapshot) -> Vec<String> {
    let Some((scheme, address)) = running.addresses().into_iter().next() else { return Vec::new() };
    let insecure = if scheme == "https" { "k" } else { "" };
    let hosts = snapshot.router.hosts();
    hosts
        .flat_map(|(pattern, routes)| routes.entries().iter().map(move |entry| (pattern, entry)))
        .filter(|(_, entry)| entry.kind() != "regex" && !matches!(entry.route().action, Action::Refuse(_)))
        .take(3)
        .map(|(pattern, entry)| {
            let host = match pattern.to_string() {
                any if any == "*" => String::new(),
                wildcard if wildcard.starts_with('*') => format!(" -H 'Host: any{}'", wildcard.trim_start_matches('*')),
                name => format!(" -H 'Host: {name}'"),
            };
            format!("curl -i{insecure} {scheme}://{address}{}{host}", entry.path())
        })
        .collect()
}
