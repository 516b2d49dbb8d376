//! Timeouts, tries and limits of routes, each with the place that set it.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::model::{Policy, Setting, Timeouts};
use crate::origin::Origin;
use crate::quantity;
use crate::resources::conf::TimeoutsSpec;

/// Connections tried at most, where nobody says otherwise.
const DEFAULT_TRIES: u32 = 3;
/// The most that may be asked for.
pub(crate) const MAX_TRIES: u32 = 10;

/// Which wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Connect,
    Read,
    Head,
    Send,
    Idle,
    Endpoints,
}

/// The policy of routes about which nothing is said.
pub(crate) fn initial() -> Policy {
    Policy { tries: DEFAULT_TRIES, timeouts: Timeouts::default(), ..Policy::default() }
}

/// Sets a wait.
pub(crate) fn set_wait(policy: &mut Policy, wait: Wait, value: Duration, origin: Origin) {
    let (slot, name) = match wait {
        Wait::Connect => (&mut policy.timeouts.connect, "timeouts.connect"),
        Wait::Read => (&mut policy.timeouts.read, "timeouts.read"),
        Wait::Head => {
            policy.timeouts.head = Some(value);
            return record(policy, "timeouts.head", quantity::Duration(value).to_string(), origin);
        }
        Wait::Send => (&mut policy.timeouts.send, "timeouts.send"),
        Wait::Idle => (&mut policy.timeouts.idle, "timeouts.idle"),
        Wait::Endpoints => (&mut policy.timeouts.endpoints, "timeouts.endpoints"),
    };
    *slot = value;
    record(policy, name, quantity::Duration(value).to_string(), origin);
}

/// Sets the largest request body; `None` is unlimited.
pub(crate) fn set_body(policy: &mut Policy, bytes: Option<u64>, origin: Origin) {
    policy.limits.body_bytes = bytes;
    let value = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| quantity::ByteSize(bytes).to_string());
    record(policy, "maxBody", value, origin);
}

/// Sets how many connections are tried.
pub(crate) fn set_tries(policy: &mut Policy, tries: u32, origin: Origin) {
    policy.tries = tries;
    record(policy, "tries", tries.to_string(), origin);
}

/// Sets the waits that the conf gives under `origin`'s field; a wait of nothing is refused.
pub(crate) fn apply_timeouts(
    policy: &mut Policy,
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
        let origin = origin.at(format!("{}.{name}", origin.field));
        match value {
            Some(quantity::Duration(Duration::ZERO)) if !matches!(wait, Wait::Idle | Wait::Endpoints) => {
                diagnostics.push(invalid_value(&origin, "a timeout of 0 would fail every request"));
            }
            Some(value) => set_wait(policy, wait, value.0, origin),
            None => {}
        }
    }
}

/// Sets the tries that the conf gives.
pub(crate) fn apply_tries(policy: &mut Policy, tries: Option<u32>, origin: Origin, diagnostics: &mut Vec<Diagnostic>) {
    match tries {
        Some(tries @ 1..=MAX_TRIES) => set_tries(policy, tries, origin),
        Some(tries) => {
            let message = format!("`{tries}` is not a number of tries from 1 to {MAX_TRIES}");
            diagnostics.push(invalid_value(&origin, message));
        }
        None => {}
    }
}

/// A value of the conf that is not taken; the default stays.
pub(crate) fn invalid_value(origin: &Origin, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("InvalidValue", origin, message).hint("the default stays in force")
}

fn record(policy: &mut Policy, name: &'static str, value: String, origin: Origin) {
    policy.settings.retain(|setting| setting.name != name);
    policy.settings.push(Setting { name, value: value.into(), origin });
    policy.settings.sort_by_key(|setting| setting.name);
}
