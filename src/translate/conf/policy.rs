//! Timeouts, attempts and limits, as the conf writes them for its routes and for all.

use super::invalid::invalid_value;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::policy::Change;
use crate::translate::asked::policy::PolicyPatch;

/// Asks for what the conf asks for; what may not be asked for is told, and stays as it was.
pub(crate) fn ask(
    patch: &mut PolicyPatch,
    changes: impl Iterator<Item = Change>,
    origin: impl Fn(&Change) -> Origin,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for change in changes {
        match change.check() {
            Ok(()) => patch.set(change, origin(&change)),
            Err(message) => diagnostics.push(invalid_value(&origin(&change), message)),
        }
    }
}
