//! Timeouts, attempts and limits of routes, each with the place that asks for it.

use std::sync::Arc;

use crate::origin::Origin;
use crate::policy::{Change, Policy};

/// Changes of a policy, each with its origin. Of two for one setting the later counts.
#[derive(Debug, Default)]
pub(crate) struct PolicyPatch(Vec<(Change, Origin)>);

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
            policy.set(change, origin);
        }
        policy.settings.shrink_to_fit();
        Arc::new(policy)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Wait;

    #[test]
    fn of_two_requests_for_one_setting_the_later_counts() {
        let mut patch = PolicyPatch::default();
        patch.set(Change::Attempts(2), Origin::default());
        patch.set(Change::Wait(Wait::Read, Duration::from_secs(5)), Origin::default());
        patch.set(Change::Attempts(4), Origin::default());
        let policy = patch.over(&Arc::default());
        assert_eq!((policy.attempts, policy.timeouts.read), (4, Duration::from_secs(5)));
        let settings: Vec<(&str, &str)> = policy.settings.iter().map(|each| (each.name, &*each.value)).collect();
        assert_eq!(settings, [("attempts", "4"), ("timeouts.read", "5s")]);
    }

    #[test]
    fn a_policy_of_which_nothing_is_asked_is_shared() {
        let base = Arc::default();
        assert!(Arc::ptr_eq(&PolicyPatch::default().over(&base), &base));
    }
}
