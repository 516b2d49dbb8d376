//! What has to be looked at again.

use std::collections::BTreeSet;

use crate::host::HostPattern;
use crate::model::BackendId;
use crate::resources::ObjectName;
use crate::translate::contribution::{Contribution, Unit};

/// Hosts, backends and certificates that may be out of date.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Whose objects changed, or mean something else than before. The conf is the first of them.
    pub units: BTreeSet<Unit>,
    /// Hosts of which something else is said than before, and those of them that `tls` entries name otherwise.
    pub hosts: BTreeSet<HostPattern>,
    pub tls: BTreeSet<HostPattern>,
    pub backends: BTreeSet<BackendId>,
    pub secrets: BTreeSet<ObjectName>,
}

// === impl Dirty ===

impl Dirty {
    /// Notes that one contribution has taken the place of another.
    pub(crate) fn note(&mut self, old: &Contribution, new: &Contribution) {
        for part in [old, new] {
            self.hosts.extend(part.hosts.keys().cloned());
            self.backends.extend(part.backend_ids().cloned());
            self.secrets.extend(part.secrets.keys().cloned());
            self.tls.extend(part.hosts.keys().filter(|pattern| old.tls(pattern) != new.tls(pattern)).cloned());
        }
    }
}
