//! The control loop: takes batches from sources, translates, compiles, publishes.
//!
//! One thread owns the whole control plane, so that nothing in it needs a lock. Requests meet it only at the
//! published snapshot and the endpoint table.

mod recover;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::cluster::Keeper;
use super::shared::{Report, Shared};
use crate::admission::review::Base;
use crate::compile::Compiler;
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::Touched;
use crate::resources::{Batch, Changes, Kind, ObjectRef, Resources};
use crate::snapshot::Snapshot;
use crate::source::kubernetes::Demand;
use crate::source::kubernetes::write::Outlet;
use crate::telemetry::vitals::Pulse;
use crate::translate::Translator;
use telling::Outbox;

/// Batches that are taken in at once, so that a flood of changes is compiled a few times and not once each.
const MAX_BATCHES: usize = 256;
/// Diagnostics logged for one change; the rest is counted, and shown by `check` and the admin API.
const MAX_LOGGED: usize = 20;

/// The control plane's state.
pub(crate) struct Control {
    resources: Resources,
    translator: Translator,
    compiler: Compiler,
    shared: Arc<Shared>,
    /// Sources that have not delivered everything yet; nothing is published before.
    awaited: BTreeSet<&'static str>,
    /// What each source said last.
    said: BTreeMap<&'static str, Vec<Diagnostic>>,
    /// What was touched since the last snapshot.
    touched: Touched,
    /// Where Secrets are asked for that are in use.
    demand: Option<Demand>,
    /// The last demand for Secrets that came into use, and the last one that was answered. Nothing is published
    /// between: a route goes live together with its Secrets.
    asked: u64,
    answered: u64,
    /// What is to be written to a cluster.
    telling: Outbox,
    /// Has the state of the cluster written.
    keeper: Option<Keeper>,
    /// Objects that are not in force because taking them in panicked.
    refused: BTreeMap<ObjectRef, Diagnostic>,
    /// What is put in force when a recovery is done.
    draft: Option<Snapshot>,
    pulse: Arc<Pulse>,
}

/// How long each stage of a change took.
struct Spent {
    translate: Duration,
    compile: Duration,
}

// === impl Control ===

impl Control {
    /// Makes a control plane that waits for these sources before it publishes anything.
    pub(crate) fn new(
        compiler: Compiler,
        shared: Arc<Shared>,
        sources: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self {
            resources: Resources::default(),
            translator: Translator::new(),
            compiler,
            pulse: shared.vitals.pulse("control"),
            refused: BTreeMap::new(),
            draft: None,
            shared,
            awaited: sources.into_iter().collect(),
            said: BTreeMap::new(),
            touched: Touched::default(),
            demand: None,
            asked: 0,
            answered: 0,
            telling: Outbox::default(),
            keeper: None,
        }
    }

    /// Lets the state of the cluster be kept.
    #[must_use]
    pub(crate) fn with_keeper(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper;
        self
    }

    /// Tells there what is to be written to a cluster.
    #[must_use]
    pub(crate) fn with_outlet(mut self, outlet: Outlet) -> Self {
        self.telling.to(outlet);
        self
    }

    /// Asks there for the Secrets that are in use.
    #[must_use]
    pub(crate) fn with_demand(mut self, demand: Option<Demand>) -> Self {
        self.demand = demand;
        self
    }

    /// Works until all senders are gone. A panic that nothing else has caught is told by `/healthz`.
    pub(crate) fn run_contained(self, inbox: mpsc::Receiver<Batch>) {
        let pulse = Arc::clone(&self.pulse);
        if catch_unwind(AssertUnwindSafe(|| self.run(inbox))).is_err() {
            pulse.end();
        }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Batch>) {
        while let Some(first) = inbox.blocking_recv() {
            let mut batches = vec![first];
            while batches.len() < MAX_BATCHES
                && let Ok(next) = inbox.try_recv()
            {
                batches.push(next);
            }
            self.take_contained(batches);
        }
    }

    /// Takes batches in and publishes what they change.
    pub(crate) fn take(&mut self, batches: Vec<Batch>) {
        let noticed = batches.iter().map(|batch| batch.noticed).min().unwrap_or_else(Instant::now);
        let count = batches.len() as u64;
        let started = Instant::now();
        let mut events = Vec::new();
        for batch in batches {
            if batch.is_complete {
                self.awaited.remove(batch.source);
            }
            self.answered = self.answered.max(batch.answered);
            self.said.insert(batch.source, batch.diagnostics);
            events.extend(batch.events);
        }
        events.iter().for_each(|event| drop(self.refused.remove(&event.to_ref())));
        let changes = self.resources.apply(events);
        let touched = self.translator.apply(&self.resources, &changes);
        self.touched.merge(touched);
        self.telling.take(self.translator.take_statuses(&self.resources), &changes);
        self.share_base(&changes);
        let translate = started.elapsed();
        self.ask();
        if self.may_publish() {
            self.publish(noticed, translate);
            if let Some(keeper) = &mut self.keeper {
                keeper.take(&self.resources, !changes.objects.is_empty());
            }
        } else {
            self.report_sources();
        }
        self.shared.took(count);
    }

    /// Whether something is live, so that there is nothing to wait for.
    pub(crate) fn is_live(&self) -> bool {
        self.shared.readiness.is_ready()
    }

    /// Whether everything is there that was waited for.
    fn may_publish(&self) -> bool {
        self.awaited.is_empty() && self.answered >= self.asked
    }

    /// Asks for the Secrets that came into use, once it is known which those are.
    fn ask(&mut self) {
        let Some(demand) = &self.demand else { return };
        if !self.awaited.is_empty() {
            return;
        }
        let changes = self.translator.take_demand();
        if changes.is_empty() {
            return;
        }
        let is_waited_for = changes.iter().any(|(_, is_wanted)| *is_wanted);
        let number = demand.tell(changes);
        if is_waited_for {
            self.asked = number;
        }
    }

    fn publish(&mut self, noticed: Instant, translate: Duration) {
        let previous = self.shared.snapshot.load_full();
        let started = Instant::now();
        if let Some(snapshot) = self.compile(&previous) {
            self.shared.snapshot.store(Arc::new(snapshot));
        }
        let spent = Spent { translate, compile: started.elapsed() };
        let is_new = self.shared.snapshot.load().generation > previous.generation;
        self.report(noticed, &spent, is_new);
        self.tell_cluster(noticed);
        self.shared.readiness.set_loaded();
    }

    /// Compiles what was touched; `None`: there is no new snapshot.
    fn compile(&mut self, previous: &Snapshot) -> Option<Snapshot> {
        let touched = std::mem::take(&mut self.touched);
        // The first complete load publishes even an empty configuration: a proxy without routes is ready too.
        let is_first = previous.generation == 0;
        if !is_first && touched.is_empty() {
            return None;
        }
        let mut snapshot = self.compiler.compile(self.translator.model(), &touched, previous);
        snapshot.generation = previous.generation + 1;
        (is_first || !touched.is_endpoints_only()).then_some(snapshot)
    }

    /// Gives the webhook the classes and the conf in force.
    fn share_base(&self, changes: &Changes) {
        if changes.objects.iter().any(|object| matches!(object.kind, Kind::IngressClass | Kind::Conf)) {
            self.shared.base.store(Arc::new(Base::new(&self.resources)));
        }
    }

    /// Tells whoever writes to the cluster what is live now.
    fn tell_cluster(&mut self, noticed: Instant) {
        let generation = self.shared.snapshot.load().generation;
        self.telling.tell(generation, noticed.elapsed(), self.shared.report.load_full());
    }

    /// Tells what sources have to say while something is still waited for.
    fn report_sources(&self) {
        if self.shared.snapshot.load().generation > 0 {
            return;
        }
        let diagnostics: Vec<Diagnostic> = self.said.values().flatten().cloned().collect();
        log_new(&self.shared.report.load().diagnostics, &diagnostics);
        self.shared.report.store(Arc::new(Report { diagnostics }));
    }

    /// Tells what is live now, and what is new among the findings.
    fn report(&self, noticed: Instant, spent: &Spent, is_new: bool) {
        let diagnostics = self.diagnostics();
        let before = self.shared.report.load();
        log_new(&before.diagnostics, &diagnostics);
        let generation = self.shared.snapshot.load().generation;
        let elapsed = noticed.elapsed();
        self.shared.observe_publish(generation, spent.translate + spent.compile, elapsed, &diagnostics);
        let (translate_ms, compile_ms, elapsed_ms) = (millis(spent.translate), millis(spent.compile), millis(elapsed));
        // Endpoints come and go all the time; only what is routed elsewhere is an event.
        if is_new {
            let model = self.translator.model();
            info!(
                generation,
                hosts = model.hosts.len(),
                upstreams = model.backends.len(),
                certificates = model.certificates.len(),
                diagnostics = diagnostics.len(),
                translate_ms,
                compile_ms,
                elapsed_ms,
                "configuration live"
            );
        } else {
            debug!(generation, translate_ms, compile_ms, elapsed_ms, "endpoints live");
        }
        self.shared.report.store(Arc::new(Report { diagnostics }));
    }

    /// Everything that sources, translator and compiler have to say, sorted, each once.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let all: BTreeSet<Diagnostic> = self
            .said
            .values()
            .flatten()
            .cloned()
            .chain(self.translator.diagnostics())
            .chain(self.compiler.diagnostics())
            .chain(self.refused.values().cloned())
            .collect();
        all.into_iter().collect()
    }
}

fn log_new(before: &[Diagnostic], now: &[Diagnostic]) {
    let known: BTreeSet<&Diagnostic> = before.iter().collect();
    let fresh: Vec<&Diagnostic> = now.iter().filter(|diagnostic| !known.contains(diagnostic)).collect();
    for diagnostic in fresh.iter().take(MAX_LOGGED) {
        let (object, code, hint) =
            (diagnostic.origin.to_string(), diagnostic.code.as_str(), diagnostic.hint.as_deref());
        match diagnostic.severity {
            Severity::Info => info!(object, code, hint, message = diagnostic.message, "input noted"),
            Severity::Warning | Severity::Error => {
                warn!(
                    object,
                    code,
                    hint,
                    error = diagnostic.message,
                    severity = diagnostic.severity.as_str(),
                    "input refused"
                );
            }
        }
    }
    if fresh.len() > MAX_LOGGED {
        warn!(more = fresh.len() - MAX_LOGGED, "more findings than are logged; see `tidegate check`");
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
