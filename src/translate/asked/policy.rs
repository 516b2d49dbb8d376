//! Timeouts, tries and limits of routes, each with the place that asks for it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Policy, Setting};
use crate::origin::Origin;
use crate::quantity;

/// The most connections that may be asked for.
pub(crate) const MAX_TRIES: u32 = 10;

/// What of a policy is to be different, and who asks for it where. Of two requests for one setting the later counts.
#[derive(Debug, Default)]
pub(crate) struct PolicyPatch(Vec<(Change, Origin)>);

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Wait(Wait, Duration),
    /// The largest request body; `None` is unlimited.
    Body(Option<u64>),
    /// How many connections are tried.
    Tries(u32),
}

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

// === impl PolicyPatch ===

impl PolicyPatch {
    /// Asks for a setting.
    pub(crate) fn set(&mut self, change: Change, origin: Origin) {
        self.0.push((change, origin));
    }

    /// A policy with what is asked for; the same one where nothing is.
    pub(crate) fn over(self, base: &Arc<Policy>) -> Arc<Policy> {
        if self.0.is_empty() {
            return Arc::clone(base);
        }
        let mut policy = (**base).clone();
        for (change, origin) in self.0 {
            change.apply(&mut policy, origin);
        }
        policy.settings.shrink_to_fit();
        Arc::new(policy)
    }
}

// === impl Change ===

impl Change {
    fn apply(self, policy: &mut Policy, origin: Origin) {
        let (name, value) = match self {
            Self::Wait(wait, value) => (wait.set(policy, value), quantity::Duration(value).to_string()),
            Self::Body(bytes) => {
                policy.limits.body_bytes = bytes;
                ("maxBody", bytes.map_or_else(|| "unlimited".to_owned(), |it| quantity::ByteSize(it).to_string()))
            }
            Self::Tries(tries) => {
                policy.tries = tries;
                ("tries", tries.to_string())
            }
        };
        policy.settings.retain(|setting| setting.name != name);
        policy.settings.push(Setting { name, value: value.into(), origin });
        policy.settings.sort_by_key(|setting| setting.name);
    }
}

// === impl Wait ===

impl Wait {
    /// Sets it, and says its name as users write it.
    fn set(self, policy: &mut Policy, value: Duration) -> &'static str {
        let timeouts = &mut policy.timeouts;
        let (slot, name) = match self {
            Self::Connect => (&mut timeouts.connect, "timeouts.connect"),
            Self::Read => (&mut timeouts.read, "timeouts.read"),
            Self::Head => (timeouts.head.insert(value), "timeouts.head"),
            Self::Send => (&mut timeouts.send, "timeouts.send"),
            Self::Idle => (&mut timeouts.idle, "timeouts.idle"),
            Self::Endpoints => (&mut timeouts.endpoints, "timeouts.endpoints"),
        };
        *slot = value;
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_requests_for_one_setting_the_later_counts() {
        let mut patch = PolicyPatch::default();
        patch.set(Change::Tries(2), Origin::default());
        patch.set(Change::Wait(Wait::Read, Duration::from_secs(5)), Origin::default());
        patch.set(Change::Tries(4), Origin::default());
        let policy = patch.over(&Arc::default());
        assert_eq!((policy.tries, policy.timeouts.read), (4, Duration::from_secs(5)));
        let settings: Vec<(&str, &str)> = policy.settings.iter().map(|each| (each.name, &*each.value)).collect();
        assert_eq!(settings, [("timeouts.read", "5s"), ("tries", "4")]);
    }

    #[test]
    fn a_policy_of_which_nothing_is_asked_is_shared() {
        let base = Arc::default();
        assert!(Arc::ptr_eq(&PolicyPatch::default().over(&base), &base));
    }
}
