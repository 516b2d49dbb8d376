//! Which Secrets are in use, as far as that was told: only those are fetched.

use std::collections::BTreeSet;

use crate::resources::ObjectName;

/// Demand for Secrets: what was sent, and what may have changed since.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    told: BTreeSet<ObjectName>,
    doubtful: BTreeSet<ObjectName>,
}

// === impl Demand ===

impl Demand {
    /// Notes that Secrets may have come into use or gone out of it.
    pub(crate) fn doubt<'a>(&mut self, names: impl Iterator<Item = &'a ObjectName>) {
        self.doubtful.extend(names.cloned());
    }

    /// Which Secrets came into use since it was asked last, and which went out of it.
    pub(crate) fn take(&mut self, is_used: impl Fn(&ObjectName) -> bool) -> Vec<(ObjectName, bool)> {
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.doubtful) {
            let is_used = is_used(&name);
            let is_news = if is_used { self.told.insert(name.clone()) } else { self.told.remove(&name) };
            if is_news {
                changes.push((name, is_used));
            }
        }
        changes
    }
}
