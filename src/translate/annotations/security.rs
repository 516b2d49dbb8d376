//! Foreign annotations that protect something and are not supported: never overlooked.
//!
//! An Ingress whose access rule cannot be kept is closed rather than served to everybody.

use super::{Annotations, PREFIX, Reading, at, is_read_as_foreign, name_under};
use crate::diagnostic::Diagnostic;

/// Decide who may pass: without them the routes stay closed.
const CLOSING: &[&str] =
    &["auth-url", "auth-tls-secret", "whitelist-source-range", "allowlist-source-range", "denylist-source-range"];

/// Those that name who may pass. cert-manager lets everybody reach the solvers of its challenges by them.
const ALLOWING: &[&str] = &["whitelist-source-range", "allowlist-source-range"];

/// Beginnings of names that soften something else, or protect against load; served without them.
const WARNING: &[&str] = &["auth-", "limit-", "server-snippet", "configuration-snippet", "enable-modsecurity"];

/// Whether a name is one of these.
pub(super) fn is_listed(name: &str) -> bool {
    CLOSING.contains(&name) || WARNING.iter().any(|start| name.starts_with(start))
}

/// Reports such annotations, and closes the routes where one decides about access.
pub(super) fn check(annotations: &Annotations, foreign: &str, object: &super::Origin, reading: &mut Reading) {
    if foreign == PREFIX {
        return;
    }
    for (key, value) in annotations.iter() {
        let Some(name) = name_under(foreign, key).filter(|name| !is_read_as_foreign(name)) else { continue };
        let origin = at(object, key);
        if ALLOWING.contains(&name) && allows_everybody(value) {
            continue;
        }
        if CLOSING.contains(&name) {
            reading.is_broken = true;
            let message = format!("`{name}` is not supported, so the routes of this Ingress are closed (503)");
            let hint = "use a plugin (`tidegate.io/plugins`) that does the same, and remove the annotation";
            reading.diagnostics.push(Diagnostic::error("UnsupportedSecurityAnnotation", &origin, message).hint(hint));
        } else if is_listed(name) {
            let message = format!("`{name}` is not supported; the routes are served without it");
            reading.diagnostics.push(Diagnostic::warning("UnsupportedSecurityAnnotation", &origin, message));
        }
    }
}

fn allows_everybody(ranges: &str) -> bool {
    ["0.0.0.0/0", "::/0"].iter().all(|all| ranges.split(',').any(|range| range.trim() == *all))
}
