//! Timeouts, tries and limits of routes, each with the place that set it.

use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::policy::{Change, Policy};

/// Sets what the conf asks for; what may not be asked for is told, and stays as it was.
pub(super) fn apply(
    policy: &mut Policy,
    changes: impl Iterator<Item = Change>,
    origin: impl Fn(&Change) -> Origin,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for change in changes {
        match change.check() {
            Ok(()) => policy.set(change, origin(&change)),
            Err(message) => diagnostics.push(invalid_value(&origin(&change), message)),
        }
    }
}

/// A value of the conf that is not taken; the default stays.
pub(super) fn invalid_value(origin: &Origin, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("InvalidValue", origin, message).hint("the default stays in force")
}
