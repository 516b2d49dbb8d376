//! What became of each object, in the form in which it is written to it.
//!
//! A status follows from what the object contributes and from what was found where it meets others: at hosts, at `tls`
//! entries, at the Services and Secrets that it names. That is kept by object, so that a change costs what the objects
//! cost that it is about. A mistake takes no address away: whoever is ours has one, served or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::model::Action;
use crate::origin::Origin;
use crate::resources::note::text_of;
use crate::resources::status::{Condition, ConditionType, ObjectStatus, Parent, ParentStatus};
use crate::resources::{Kind, ObjectName, ObjectRef};
use crate::translate::contribution::{Candidate, Contribution};
use crate::translate::standing::Standing;

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

/// What was found about objects where they meet others, and whose statuses are to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    by_object: BTreeMap<ObjectRef, Met>,
    doubtful: BTreeSet<ObjectRef>,
    /// What all objects of which there is nothing else to say share.
    served: BTreeMap<Parent, Arc<[ParentStatus]>>,
}

/// Findings about one object, and in how many lists each stands.
pub(crate) type Met = BTreeMap<(Meeting, Diagnostic), usize>;

/// Parents whose form is shared at the same time.
const MAX_SHARED: usize = 64;

// === impl Findings ===

impl Findings {
    /// Notes that an Ingress may have another status than before.
    pub(crate) fn doubt(&mut self, ingress: &ObjectName) {
        self.doubtful.insert(ObjectRef { kind: Kind::Ingress, name: ingress.clone() });
    }

    /// Takes one list of findings in the place of another.
    pub(crate) fn replace(&mut self, at: Meeting, old: Option<&Vec<Diagnostic>>, new: &[Diagnostic]) {
        let old = old.map(Vec::as_slice).unwrap_or_default();
        if old == new {
            return;
        }
        for diagnostic in new {
            let Some(object) = object_of(&diagnostic.origin) else { continue };
            self.doubtful.insert(object.clone());
            *self.by_object.entry(object).or_default().entry((at, diagnostic.clone())).or_default() += 1;
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

    /// The status of an object; `contribution`: what it adds to the model.
    pub(crate) fn status(&mut self, object: &ObjectRef, standing: Standing, added: &Contribution) -> ObjectStatus {
        let nothing = Met::new();
        let met = self.by_object.get(object).unwrap_or(&nothing);
        let conditions = if standing.is_ours { conditions(added, met) } else { vec![accepted(added, met, 0)] };
        ObjectStatus {
            observed_generation: standing.generation,
            has_address: standing.is_ours && standing.is_of_cluster,
            reports_live: standing.reports_live,
            parents: self.shared(standing.parent, conditions),
        }
    }

    fn remove(&mut self, object: &ObjectRef, finding: &(Meeting, Diagnostic)) {
        let Some(met) = self.by_object.get_mut(object) else { return };
        if let Some(count) = met.get_mut(finding) {
            *count -= 1;
            if *count == 0 {
                met.remove(finding);
            }
        }
        if met.is_empty() {
            self.by_object.remove(object);
        }
    }

    fn shared(&mut self, parent: Parent, conditions: Vec<Condition>) -> Arc<[ParentStatus]> {
        if conditions.iter().any(|condition| !condition.message.is_empty()) {
            return [ParentStatus { parent, conditions }].into();
        }
        if self.served.len() >= MAX_SHARED {
            self.served.clear();
        }
        let status = || [ParentStatus { parent: parent.clone(), conditions }].into();
        Arc::clone(self.served.entry(parent.clone()).or_insert_with(status))
    }
}

/// The object that a finding is about, if it is one that has a status.
fn object_of(origin: &Origin) -> Option<ObjectRef> {
    let name = || ObjectName { namespace: Arc::clone(&origin.namespace), name: Arc::clone(&origin.name) };
    (origin.kind == Kind::Ingress.as_str()).then(|| ObjectRef { kind: Kind::Ingress, name: name() })
}

/// What is said of an object of ours.
fn conditions(added: &Contribution, met: &Met) -> Vec<Condition> {
    let (all, served) = count(added, met);
    let mut conditions = vec![accepted(added, met, served), resolved(met)];
    let refused: Vec<&Diagnostic> = refusals(added, met).chain(lost_names(met)).collect();
    if served > 0 && (served < all || !refused.is_empty()) {
        conditions.push(because(ConditionType::PartiallyInvalid, true, &refused));
    }
    conditions
}

/// Candidates for places in the model: all, and those that are served. A Service that is not there refuses none.
fn count(added: &Contribution, met: &Met) -> (usize, usize) {
    let parts = || added.hosts.iter().map(|(_, part)| part);
    let candidates = || parts().flat_map(|part| part.routes.iter().chain(&part.fallback));
    let closed: BTreeSet<&Origin> = candidates().filter(|it| is_closed(it)).map(|it| &it.route.origin).collect();
    let open = candidates().filter(|it| !is_closed(it)).count();
    let lost = warnings(met, Meeting::Routes).filter(|(it, _)| !closed.contains(&it.origin));
    (candidates().count(), open.saturating_sub(lost.map(|(_, count)| count).sum()))
}

fn is_closed(candidate: &Candidate) -> bool {
    matches!(candidate.route.action, Action::Refuse { .. })
}

fn accepted(added: &Contribution, met: &Met, served: usize) -> Condition {
    let kind = ConditionType::Accepted;
    if served > 0 {
        return holds(kind, "Accepted");
    }
    let mut softer: Vec<&Diagnostic> = added.diagnostics.iter().filter(|it| it.severity != Severity::Error).collect();
    softer.sort_by_key(|it| std::cmp::Reverse(it.severity));
    let refused: Vec<&Diagnostic> = refusals(added, met).chain(softer).collect();
    because(kind, false, &refused)
}

fn resolved(met: &Met) -> Condition {
    let kind = ConditionType::ResolvedRefs;
    let mut broken: Vec<&Diagnostic> = warnings(met, Meeting::References).map(|(it, _)| it).collect();
    // A Service that is not there weighs more than a certificate.
    broken.sort_by_key(|it| std::cmp::Reverse(it.severity));
    if broken.is_empty() { holds(kind, "ResolvedRefs") } else { because(kind, false, &broken) }
}

/// What the object loses by itself, and what it loses to others.
fn refusals<'f>(added: &'f Contribution, met: &'f Met) -> impl Iterator<Item = &'f Diagnostic> {
    let own = added.diagnostics.iter().filter(|it| it.severity == Severity::Error);
    own.chain(warnings(met, Meeting::Routes).map(|(it, _)| it))
}

fn lost_names(met: &Met) -> impl Iterator<Item = &Diagnostic> {
    warnings(met, Meeting::Names).map(|(it, _)| it)
}

fn warnings(met: &Met, at: Meeting) -> impl Iterator<Item = (&Diagnostic, usize)> {
    let found = met.iter().filter(move |((meeting, it), _)| *meeting == at && it.severity >= Severity::Warning);
    found.map(|((_, it), count)| (it, *count))
}

fn holds(kind: ConditionType, reason: &'static str) -> Condition {
    Condition { kind, status: true, reason, message: String::new() }
}

/// Gives the first finding as the reason.
fn because(kind: ConditionType, status: bool, found: &[&Diagnostic]) -> Condition {
    let Some((first, others)) = found.split_first() else {
        return Condition { kind, status, reason: "NotServed", message: "nothing was found that says why".to_owned() };
    };
    let mut message = text_of(first);
    if !others.is_empty() {
        message.push_str(&format!(" (and {} more)", others.len()));
    }
    Condition { kind, status, reason: first.code, message }
}
