//! What a route allows and waits for: timeouts, attempts, limits, and the answers that it may give itself.
//!
//! A leaf module. The conf writes these types, whatever asks for something makes a [`Change`], the model and the
//! snapshot share one [`Policy`]. A field of it is told apart nowhere else.

mod answer;
mod timeouts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub(crate) use answer::{Redirect, Respond};
pub(crate) use timeouts::{Timeouts, TimeoutsSpec, Wait};

use crate::origin::Origin;
use crate::quantity;

/// The most connections that may be asked for.
pub(crate) const MAX_ATTEMPTS: u32 = 10;

/// Timeouts, attempts and limits of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Waits.
    pub timeouts: Timeouts,
    /// Limits on the request.
    pub limits: Limits,
    /// Connections tried at most, the first included; 1 to 10.
    pub attempts: u32,
    /// Values that were set by somebody, and by whom: what `explain` shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
}

/// Limits on the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of body; `None`: unlimited.
    pub body_bytes: Option<u64>,
}

/// One effective value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name as users write it: `timeouts.connect`.
    pub name: &'static str,
    /// Value as users write it.
    pub value: Arc<str>,
    /// The object and field, or annotation.
    pub origin: Origin,
}

/// A change of one setting of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// How long is waited.
    Wait(Wait, Duration),
    /// The largest request body; `None` is unlimited.
    Body(Option<u64>),
    /// How many connections are tried.
    Attempts(u32),
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self { timeouts: Timeouts::default(), limits: Limits::default(), attempts: 3, settings: Vec::new() }
    }
}

impl Policy {
    /// Puts a change in force and notes who asked for it. Of two for one setting the later counts.
    pub fn set(&mut self, change: Change, origin: Origin) {
        change.apply(self);
        let (name, value) = (change.name(), change.to_string().into());
        self.settings.retain(|setting| setting.name != name);
        self.settings.push(Setting { name, value, origin });
        self.settings.sort_by_key(|setting| setting.name);
    }
}

// === impl Change ===

impl Change {
    /// What users call the setting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait(wait, _) => wait.name(),
            Self::Body(_) => "maxBody",
            Self::Attempts(_) => "attempts",
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
            Self::Attempts(attempts) if !(1..=MAX_ATTEMPTS).contains(attempts) => {
                Err(format!("`{attempts}` is not a number of attempts from 1 to {MAX_ATTEMPTS}"))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, policy: &mut Policy) {
        match *self {
            Self::Wait(wait, value) => policy.timeouts.set(wait, value),
            Self::Body(bytes) => policy.limits.body_bytes = bytes,
            Self::Attempts(attempts) => policy.attempts = attempts,
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
            Self::Attempts(attempts) => attempts.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(wait: Wait, seconds: u64) -> Change {
        Change::Wait(wait, Duration::from_secs(seconds))
    }

    #[test]
    fn the_later_change_counts_and_is_told() {
        let mut policy = Policy::default();
        policy.set(Change::Attempts(2), Origin::default().at("a"));
        policy.set(seconds(Wait::Read, 5), Origin::default().at("b"));
        policy.set(Change::Attempts(4), Origin::default().at("c"));
        policy.set(Change::Body(None), Origin::default().at("d"));
        let told = policy.settings.iter().map(|it| (it.name, &*it.value, it.origin.field.to_string()));
        let expected = [("attempts", "4", "c"), ("maxBody", "unlimited", "d"), ("timeouts.read", "5s", "b")];
        assert_eq!(told.collect::<Vec<_>>(), expected.map(|(name, value, field)| (name, value, field.to_owned())));
        assert_eq!((policy.attempts, policy.timeouts.read), (4, Duration::from_secs(5)));
    }

    #[test]
    fn the_wait_for_a_head_follows_that_for_a_byte_in_whatever_order_they_are_set() {
        let head = |changes: &[Change]| {
            let mut policy = Policy::default();
            changes.iter().for_each(|change| policy.set(*change, Origin::default()));
            policy.timeouts.response_header.as_secs()
        };
        assert_eq!(head(&[]), 120);
        assert_eq!(head(&[seconds(Wait::Read, 5)]), 10, "twice as long where nobody asked");
        assert_eq!(head(&[seconds(Wait::ResponseHeader, 30)]), 60, "never shorter");
        assert_eq!(
            head(&[seconds(Wait::ResponseHeader, 30), seconds(Wait::Read, 5)]),
            30,
            "what was asked for is not lost"
        );
        assert_eq!(head(&[seconds(Wait::Read, 5), seconds(Wait::ResponseHeader, 30)]), 30);
    }
}
