//! Timeouts and tries, as the conf writes them for its routes and for all.

use std::time::Duration;

use super::invalid::invalid_value;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::quantity;
use crate::resources::conf::TimeoutsSpec;
use crate::translate::asked::policy::{Change, MAX_TRIES, PolicyPatch, Wait};

/// Asks for the waits under `origin`'s field; a wait of nothing is refused.
pub(crate) fn timeouts(
    patch: &mut PolicyPatch,
    spec: &TimeoutsSpec,
    origin: &Origin,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let waits = [
        (Wait::Connect, "connect", spec.connect),
        (Wait::Read, "read", spec.read),
        (Wait::Head, "head", spec.head),
        (Wait::Send, "send", spec.send),
        (Wait::Idle, "idle", spec.idle),
        (Wait::Endpoints, "endpoints", spec.endpoints),
    ];
    for (wait, name, value) in waits {
        let origin = || origin.at(format!("{}.{name}", origin.field));
        match value {
            Some(quantity::Duration(Duration::ZERO)) if !matches!(wait, Wait::Idle | Wait::Endpoints) => {
                diagnostics.push(invalid_value(&origin(), "a timeout of 0 would fail every request"));
            }
            Some(value) => patch.set(Change::Wait(wait, value.0), origin()),
            None => {}
        }
    }
}

/// Asks for tries.
pub(crate) fn tries(
    patch: &mut PolicyPatch,
    tries: Option<u32>,
    origin: impl FnOnce() -> Origin,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match tries {
        Some(tries @ 1..=MAX_TRIES) => patch.set(Change::Tries(tries), origin()),
        Some(tries) => {
            let message = format!("`{tries}` is not a number of tries from 1 to {MAX_TRIES}");
            diagnostics.push(invalid_value(&origin(), message));
        }
        None => {}
    }
}
