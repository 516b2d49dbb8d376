//! Active health checks: who is probed when.
//!
//! One task probes for all upstreams: a bounded number of probes at once and a bounded number a second, for which the
//! namespaces, and each upstream of the conf, have fair turns. An endpoint is probed at once, and forgotten with the
//! last upstream that has it.
//! It must not know how endpoints are picked.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::info;

use super::health::Health;
use super::probe::{self, Check, Connectors};
use super::shared::Shared;
use super::table::Table;
use crate::pace::Pace;
use crate::turns::{Turn, Turns};

/// Most probes under way at once.
const MAX_PROBES: usize = 64;

/// Most probes begun in a second: one costs about as much as a request. With more to do, all come later.
const PER_SECOND: u32 = 1000;
/// Probes begun at once after a rest.
const BURST: u32 = 100;

/// A probe that begins so long after it was due is counted as late.
const LATE: Duration = Duration::from_secs(1);

/// Shortest time between two probes of an endpoint: a mistaken interval must not become a flood.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Probes the endpoints of all upstreams of a table until `shutdown` turns true or its sender is gone.
///
/// One such task a table is enough; two would probe twice.
pub(crate) async fn run(table: Arc<Table>, mut shutdown: watch::Receiver<bool>) {
    let mut scheduler = Scheduler::new(Arc::clone(table.shared()));
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = scheduler.run() => {}
    }
}

/// Decides which probe starts when.
struct Scheduler {
    shared: Arc<Shared>,
    connectors: Arc<OnceCell<Arc<Connectors>>>,
    turns: Turns<Due>,
    pace: Pace,
    /// Until when the pace lets nothing begin.
    rests_until: Option<Instant>,
    running: JoinSet<()>,
    /// What each running task probes, so that a probe which panics is not forgotten.
    probed: HashMap<task::Id, Turn<Due>>,
}

/// An endpoint to be probed.
struct Due {
    health: Weak<Health>,
    /// Made by the first probe.
    check: Arc<OnceCell<Result<Check, String>>>,
    is_first: bool,
}

// === impl Scheduler ===

impl Scheduler {
    fn new(shared: Arc<Shared>) -> Self {
        shared.health.restart();
        Self {
            shared,
            connectors: Arc::default(),
            turns: Turns::new(MAX_PROBES),
            pace: Pace::new(PER_SECOND, BURST),
            rests_until: None,
            running: JoinSet::new(),
            probed: HashMap::new(),
        }
    }

    async fn run(&mut self) {
        loop {
            self.take_new();
            self.start_due();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.health.wake().notified() => {}
                () = sleep_until(self.next_start()) => {}
                Some(ended) = self.running.join_next_with_id() => self.finish(ended),
            }
        }
    }

    fn take_new(&mut self) {
        let now = Instant::now();
        for health in self.shared.health.take_fresh() {
            let Some(group) = health.upgrade().map(|health| Arc::clone(health.target().group())) else { continue };
            self.turns.push(&group, now, Due { health, check: Arc::default(), is_first: true });
        }
    }

    /// When the next probe may start; `None`: not before one of the running ones ends.
    fn next_start(&self) -> Option<Instant> {
        self.rests_until.or_else(|| self.turns.next_due())
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        self.rests_until = None;
        while self.turns.has_next(now) {
            if let Err(later) = self.pace.take(now) {
                self.rests_until = Some(later);
                return;
            }
            let Some(turn) = self.turns.next(now) else { return };
            // Nobody has this endpoint any more.
            let Some(health) = turn.work.health.upgrade() else {
                self.turns.done(&turn.group);
                continue;
            };
            if now.saturating_duration_since(turn.due) > LATE {
                self.shared.stats.late_probes_total.fetch_add(1, Ordering::Relaxed);
            }
            let shared = Arc::clone(&self.shared);
            let connectors = Arc::clone(&self.connectors);
            let check = Arc::clone(&turn.work.check);
            let task = self.running.spawn(async move {
                let outcome = probe(&health, &check, &connectors).await;
                report(&shared, &health, outcome);
            });
            self.probed.insert(task.id(), turn);
        }
    }

    fn finish(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(turn) = self.probed.remove(&id) else { return };
        self.turns.done(&turn.group);
        let Some(health) = turn.work.health.upgrade() else { return };
        if ended.is_err() {
            report(&self.shared, &health, Err("the probe panicked".to_owned()));
        }
        let interval = health.target().spec().check.interval.0.max(MIN_INTERVAL);
        // A set of endpoints arrives at once; the random second probe keeps them from being probed at once for ever.
        let is_first = turn.work.is_first;
        let wait = if is_first { interval.mul_f64(0.5 + fastrand::f64() / 2.0) } else { interval };
        let due = (turn.due + wait).max(Instant::now());
        self.turns.push(&turn.group, due, Due { is_first: false, ..turn.work });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn probe(
    health: &Health,
    check: &OnceCell<Result<Check, String>>,
    connectors: &OnceCell<Arc<Connectors>>,
) -> Result<(), String> {
    let connectors = Connectors::shared(connectors).await?;
    let check = check.get_or_init(|| async { probe::check(health.target(), &connectors) }).await;
    let check = check.as_ref().map_err(Clone::clone)?;
    let timeout = health.target().spec().check.timeout();
    match tokio::time::timeout(timeout, probe::run(check, health.address())).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no response within {timeout:?}")),
    }
}

fn report(shared: &Shared, health: &Health, outcome: Result<(), String>) {
    shared.stats.probes_total.fetch_add(1, Ordering::Relaxed);
    if outcome.is_err() {
        shared.stats.probe_failures_total.fetch_add(1, Ordering::Relaxed);
    }
    if !health.record(outcome) {
        return;
    }
    let endpoint = health.address();
    match health.last_error() {
        None => info!(%endpoint, status = "healthy", "endpoint health changed"),
        Some(error) => info!(%endpoint, status = "unhealthy", error, "endpoint health changed"),
    }
}

#[cfg(test)]
mod tests;
