//! Hands on what is to be written to a cluster, in the words of the translation, once it is in force.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::{Report, millis};
use crate::resources::note::Note;
use crate::resources::status::{StatusChange, Statuses};
use crate::resources::{Changes, ObjectName};
use crate::source::kubernetes::write::Outlet;

/// Outbox of findings, statuses and events for whoever writes them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Who writes; `None`: nobody does.
    outlet: Option<Outlet>,
    statuses: Arc<Statuses>,
    /// Whether the statuses differ from those that were handed on.
    is_news: bool,
    /// Changed Ingresses that want to be told when they are live.
    curious: BTreeSet<ObjectName>,
    /// The notes of a report, and that report.
    notes: Arc<Vec<Note>>,
    noted: Arc<Report>,
}

// === impl Outbox ===

impl Outbox {
    /// Hands on to there.
    pub(super) fn to(&mut self, outlet: Outlet) {
        self.outlet = Some(outlet);
    }

    /// Takes statuses in, and what changed that they come from.
    pub(super) fn take(&mut self, statuses: Vec<StatusChange>, changes: &Changes) {
        let curious = statuses.iter().filter(|(object, status)| {
            status.as_ref().is_some_and(|status| status.reports_live) && changes.objects.contains(object)
        });
        self.curious.extend(curious.map(|(object, _)| object.name.clone()));
        if self.outlet.is_some() {
            self.is_news |= Statuses::update(&mut self.statuses, statuses);
        }
    }

    /// Takes all statuses there are in the place of those that were known.
    pub(super) fn restart(&mut self, statuses: Vec<StatusChange>) {
        self.statuses = Arc::default();
        self.take(statuses, &Changes::default());
        self.is_news = true;
    }

    /// Hands everything on: it is in force.
    pub(super) fn tell(&mut self, generation: u64, elapsed: Duration, report: Arc<Report>) {
        for name in std::mem::take(&mut self.curious) {
            info!(object = format!("Ingress/{name}"), generation, elapsed_ms = millis(elapsed), "live");
            if let Some(outlet) = self.outlet.as_ref().filter(|_| self.statuses.is_addressed(&name)) {
                outlet.note(Note::live(&name, generation, elapsed));
            }
        }
        let Some(outlet) = &self.outlet else { return };
        if report.diagnostics != self.noted.diagnostics {
            self.notes = Arc::new(report.diagnostics.iter().filter_map(Note::of).collect());
        }
        self.noted = report;
        // The same again is heard too: what could not be written is tried again.
        outlet.findings(Arc::clone(&self.notes));
        if std::mem::take(&mut self.is_news) {
            outlet.statuses(Arc::clone(&self.statuses));
        }
    }
}
