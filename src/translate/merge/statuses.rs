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
use crate::translate::contribution::{Candidate, Contribution};
use crate::translate::findings::by_object::{Meeting, Met};
use crate::translate::standing::Standing;

/// Statuses by parent. Objects with equal statuses share them.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    served: BTreeMap<Parent, Arc<[ParentStatus]>>,
}

/// Parents whose form is shared at the same time.
const MAX_SHARED: usize = 64;

// === impl Parents ===

impl Parents {
    /// The status of an object; `added`: what it adds to the model, `met`: what was found where it meets others.
    pub(crate) fn status(&mut self, standing: Standing, added: &Contribution, met: &Met) -> ObjectStatus {
        let conditions = if standing.is_ours { conditions(added, met) } else { vec![accepted(added, met, 0)] };
        ObjectStatus {
            observed_generation: standing.generation,
            has_address: standing.is_ours && standing.is_of_cluster,
            reports_live: standing.reports_live,
            parents: self.shared(standing.parent, conditions),
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
        return Condition { kind, status, reason: "NotServed", message: "the reason is unknown".to_owned() };
    };
    let mut message = text_of(first);
    if !others.is_empty() {
        message.push_str(&format!(" (and {} more)", others.len()));
    }
    Condition { kind, status, reason: first.code.as_str(), message }
}
