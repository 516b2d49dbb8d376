//! What was found about each object where it meets others: what its status follows from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName, ObjectRef};

/// Where an object meets others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meeting {
    /// Routes and default backends of a host: a finding is about one that lost its place.
    Routes,
    /// `tls` entries of a host.
    Names,
    /// Services and Secrets that are named.
    References,
}

/// Findings by object, and the objects whose statuses are out of date.
#[derive(Debug, Default)]
pub(crate) struct ByObject {
    met: BTreeMap<ObjectRef, Met>,
    doubtful: BTreeSet<ObjectRef>,
}

/// Findings about one object, and in how many lists each stands.
pub(crate) type Met = BTreeMap<(Meeting, Diagnostic), usize>;

static NOTHING: Met = Met::new();

// === impl ByObject ===

impl ByObject {
    /// Notes that an Ingress may have another status than before.
    pub(crate) fn doubt(&mut self, ingress: &ObjectName) {
        self.doubtful.insert(ObjectRef { kind: Kind::Ingress, name: ingress.clone() });
    }

    /// Takes one list of findings in the place of another.
    pub(crate) fn replace(&mut self, at: Meeting, old: &[Diagnostic], new: &[Diagnostic]) {
        if old == new {
            return;
        }
        for diagnostic in new {
            let Some(object) = object_of(&diagnostic.origin) else { continue };
            self.doubtful.insert(object.clone());
            *self.met.entry(object).or_default().entry((at, diagnostic.clone())).or_default() += 1;
        }
        for diagnostic in old {
            let Some(object) = object_of(&diagnostic.origin) else { continue };
            self.remove(&object, &(at, diagnostic.clone()));
            self.doubtful.insert(object);
        }
    }

    /// Objects that may have another status than when it was asked last.
    pub(crate) fn take_doubtful(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.doubtful)
    }

    /// What was found about an object.
    pub(crate) fn of(&self, object: &ObjectRef) -> &Met {
        self.met.get(object).unwrap_or(&NOTHING)
    }

    fn remove(&mut self, object: &ObjectRef, finding: &(Meeting, Diagnostic)) {
        let Some(met) = self.met.get_mut(object) else { return };
        if let Some(count) = met.get_mut(finding) {
            *count -= 1;
            if *count == 0 {
                met.remove(finding);
            }
        }
        if met.is_empty() {
            self.met.remove(object);
        }
    }
}

/// The object that a finding is about, if it is one that has a status.
fn object_of(origin: &Origin) -> Option<ObjectRef> {
    let name = || ObjectName { namespace: Arc::clone(&origin.namespace), name: Arc::clone(&origin.name) };
    (origin.kind == Kind::Ingress.as_str()).then(|| ObjectRef { kind: Kind::Ingress, name: name() })
}
