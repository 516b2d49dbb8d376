//! Active health checks: who is probed when, and what is known of each endpoint's health.
//!
//! One task probes for all upstreams: a bounded number of probes at once and a bounded number a second, for which the
//! namespaces, and each upstream of the conf, have fair turns. Health is kept by group, address, check, protocol and
//! TLS policy, so that upstreams of a group which check the same endpoint in the same way share one probe and one
//! verdict. An endpoint begins healthy, is probed at once, and is forgotten with the last upstream that has it.
//! It must not know how endpoints are picked.

mod registry;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::info;

use super::probe::{self, Check, Connectors};
use super::table::{Shared, Table};
use crate::pace::Pace;
use crate::turns::{Turn, Turns};
pub(super) use registry::{Registry, Spec, Target};

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

/// What is known of the health of an endpoint under one check.
pub(super) struct Health {
    target: Target,
    is_healthy: AtomicBool,
    /// Outcomes in a row that speak against `is_healthy`.
    streak: AtomicU32,
    last_error: Mutex<Option<String>>,
    check: OnceCell<Result<Check, String>>,
}

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
#[derive(Debug)]
struct Due {
    health: Weak<Health>,
    is_first: bool,
}

// === impl Health ===

impl Health {
    fn new(target: Target, is_healthy: bool) -> Self {
        Self {
            target,
            is_healthy: AtomicBool::new(is_healthy),
            streak: AtomicU32::new(0),
            last_error: Mutex::default(),
            check: OnceCell::new(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn address(&self) -> SocketAddr {
        self.target.address()
    }

    /// Takes the outcome of a probe in. Says whether the endpoint is now something else than before.
    fn record(&self, outcome: Result<(), String>) -> bool {
        let is_success = outcome.is_ok();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
        if is_success == self.is_healthy() {
            self.streak.store(0, Ordering::Relaxed);
            return false;
        }
        let config = &self.target.spec().check;
        let threshold = if is_success { config.healthy_threshold } else { config.unhealthy_threshold };
        if self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1) < threshold {
            return false;
        }
        self.streak.store(0, Ordering::Relaxed);
        self.is_healthy.store(is_success, Ordering::Relaxed);
        true
    }

    /// Makes it what a test needs.
    #[cfg(test)]
    pub(super) fn force(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }

    async fn probe(&self, connectors: &OnceCell<Arc<Connectors>>) -> Result<(), String> {
        let connectors = Connectors::shared(connectors).await?;
        let check = self.check.get_or_init(|| async { probe::check(&self.target, &connectors) }).await;
        let check = check.as_ref().map_err(Clone::clone)?;
        let timeout = self.target.spec().check.timeout();
        match tokio::time::timeout(timeout, probe::run(check, self.address())).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("target", &self.target)
            .field("is_healthy", &self.is_healthy)
            .finish_non_exhaustive()
    }
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
            let Some(group) = health.upgrade().map(|health| Arc::clone(health.target.group())) else { continue };
            self.turns.push(&group, now, Due { health, is_first: true });
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
            let task = self.running.spawn(async move {
                let outcome = health.probe(&connectors).await;
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
        let interval = health.target.spec().check.interval.0.max(MIN_INTERVAL);
        // A set of endpoints arrives at once; the random second probe keeps them from being probed at once for ever.
        let is_first = turn.work.is_first;
        let wait = if is_first { interval.mul_f64(0.5 + fastrand::f64() / 2.0) } else { interval };
        let due = (turn.due + wait).max(Instant::now());
        self.turns.push(&turn.group, due, Due { health: turn.work.health, is_first: false });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
