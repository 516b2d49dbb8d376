//! One setting of a policy, as somebody asks for it.

use std::fmt;
use std::time::Duration;

use super::{Policy, Wait};
use crate::quantity;

/// The most connections that may be asked for.
pub const MAX_TRIES: u32 = 10;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// How long is waited.
    Wait(Wait, Duration),
    /// The largest request body; `None` is unlimited.
    Body(Option<u64>),
    /// How many connections are tried.
    Tries(u32),
}

// === impl Change ===

impl Change {
    /// What users call the setting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait(wait, _) => wait.name(),
            Self::Body(_) => "maxBody",
            Self::Tries(_) => "tries",
        }
    }

    /// Whether its value may be asked for.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Wait(wait, Duration::ZERO) if !wait.may_be_zero() => {
                Err("a timeout of 0 would fail every request".to_owned())
            }
            Self::Tries(tries) if !(1..=MAX_TRIES).contains(tries) => {
                Err(format!("`{tries}` is not a number of tries from 1 to {MAX_TRIES}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn apply(&self, policy: &mut Policy) {
        match *self {
            Self::Wait(wait, value) => policy.timeouts.set(wait, value),
            Self::Body(bytes) => policy.limits.body_bytes = bytes,
            Self::Tries(tries) => policy.tries = tries,
        }
    }
}

/// The value, as users write it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Wait(_, value) => quantity::Duration(value).fmt(f),
            Self::Body(None) => f.write_str("unlimited"),
            Self::Body(Some(bytes)) => quantity::ByteSize(bytes).fmt(f),
            Self::Tries(tries) => tries.fmt(f),
        }
    }
}
