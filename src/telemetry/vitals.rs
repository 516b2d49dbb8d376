//! Whether the tasks of the control plane are alive: a pulse for each, and what `/healthz` says of them.
//!
//! A task that waits is well, however long; one that has been at the same piece of work for too long is stuck. What
//! a task does in a panic is decided by whoever runs it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::metrics::{Emit, Sample, family};
use super::panics::Within;

/// The pulses of a process.
#[derive(Debug)]
pub(crate) struct Vitals {
    pulses: Mutex<Vec<Arc<Pulse>>>,
    /// Microseconds.
    stuck_after: AtomicU64,
}

/// The pulse of a task.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    started: Instant,
    /// Microseconds from `started` to the begin of the work that it is at, or one of the words below.
    since: AtomicU64,
}

/// Work that is done; over when it is dropped.
#[derive(Debug)]
pub struct Busy<'p> {
    pulse: &'p Pulse,
    _within: Within,
}

/// A task that should be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Its name.
    pub task: &'static str,
    /// How long it has been at the same work; `None`: it has ended.
    pub stuck: Option<Duration>,
}

/// How long a task may be at one piece of work, until the configuration says.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// The task waits for work.
const IDLE: u64 = u64::MAX;
/// The task has ended and should not have.
const ENDED: u64 = u64::MAX - 1;
/// Before a task that panicked is begun again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

// === impl Vitals ===

impl Default for Vitals {
    fn default() -> Self {
        Self { pulses: Mutex::default(), stuck_after: AtomicU64::new(micros(STUCK_AFTER)) }
    }
}

impl Vitals {
    /// Says after which time at one piece of work a task is stuck.
    pub(crate) fn set_stuck_after(&self, after: Duration) {
        self.stuck_after.store(micros(after), Ordering::Relaxed);
    }

    /// Gives a task its pulse.
    pub(crate) fn pulse(&self, name: &'static str) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { name, started: Instant::now(), since: AtomicU64::new(IDLE) });
        self.pulses().push(Arc::clone(&pulse));
        pulse
    }

    /// Tasks that are stuck or have ended.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        let after = Duration::from_micros(self.stuck_after.load(Ordering::Relaxed));
        self.pulses().iter().filter_map(|pulse| pulse.obstacle(after)).collect()
    }

    /// Tells the metrics.
    pub(crate) fn observe(&self, emit: Emit<'_>) {
        let after = Duration::from_micros(self.stuck_after.load(Ordering::Relaxed));
        for pulse in self.pulses().iter() {
            let is_up = pulse.obstacle(after).is_none();
            let busy = pulse.busy().unwrap_or_default();
            emit(Sample { family: &family::TASK_UP, labels: &[pulse.name], value: f64::from(u8::from(is_up)) });
            emit(Sample { family: &family::TASK_BUSY, labels: &[pulse.name], value: busy.as_secs_f64() });
        }
    }

    fn pulses(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pulse ===

impl Pulse {
    /// Of a task that nobody watches.
    pub fn unwatched(name: &'static str) -> Arc<Self> {
        Vitals::default().pulse(name)
    }

    /// Begins a piece of work. Panics in it are counted as this task's.
    pub fn work(&self) -> Busy<'_> {
        self.beat();
        Busy { pulse: self, _within: Within::task(self.name) }
    }

    /// Begins the next piece of work at once: for a task that must come by again and again.
    pub fn beat(&self) {
        self.since.store(micros(self.started.elapsed()), Ordering::Relaxed);
    }

    /// The task has nothing to do any more.
    pub fn rest(&self) {
        self.since.store(IDLE, Ordering::Relaxed);
    }

    /// The task is gone, and should not be.
    pub fn end(&self) {
        self.since.store(ENDED, Ordering::Relaxed);
    }

    /// Does a piece of work; `None`: it panicked, which is counted and told.
    pub fn contain<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _busy = self.work();
        // What it left half done is for the caller to mend.
        catch_unwind(AssertUnwindSafe(work)).ok()
    }

    /// Runs a task, and begins it again after a panic; ends when it does. `make` begins it.
    pub async fn supervise<F: Future<Output = ()>>(&self, mut make: impl FnMut() -> F) {
        let mut pause = FIRST_PAUSE;
        while let Some(task) = self.contain(&mut make) {
            let begun = Instant::now();
            if (Watched { pulse: self, task: pin!(task) }).await.is_some() {
                return;
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(task = self.name, pause_ms = pause.as_millis(), "task restarted");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.end();
    }

    /// Runs a task that cannot be begun again: after a panic it is told as ended.
    pub async fn watch(&self, task: impl Future<Output = ()>) {
        if (Watched { pulse: self, task: pin!(task) }).await.is_none() {
            self.end();
        }
    }

    fn busy(&self) -> Option<Duration> {
        match self.since.load(Ordering::Relaxed) {
            IDLE | ENDED => None,
            since => Some(self.started.elapsed().saturating_sub(Duration::from_micros(since))),
        }
    }

    fn obstacle(&self, after: Duration) -> Option<Obstacle> {
        if self.since.load(Ordering::Relaxed) == ENDED {
            return Some(Obstacle { task: self.name, stuck: None });
        }
        let stuck = self.busy().filter(|busy| *busy > after)?;
        Some(Obstacle { task: self.name, stuck: Some(stuck) })
    }
}

// === impl Busy ===

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.pulse.rest();
    }
}

/// A task that has a pulse while it is polled, and whose panic ends nothing else; `None`: it panicked.
struct Watched<'p, 't, F> {
    pulse: &'p Pulse,
    task: Pin<&'t mut F>,
}

impl<F: Future> Future for Watched<'_, '_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let pulse = self.pulse;
        match pulse.contain(|| self.task.as_mut().poll(cx)) {
            Some(poll) => poll.map(Some),
            None => Poll::Ready(None),
        }
    }
}

// === impl Obstacle ===

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.stuck {
            Some(stuck) => write!(f, "{} is stuck for {} s", self.task, stuck.as_secs()),
            None => write!(f, "{} has ended", self.task),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(ENDED - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn work_that_takes_too_long_is_stuck_and_waiting_is_not() {
        let vitals = Vitals::default();
        vitals.set_stuck_after(Duration::ZERO);
        let pulse = vitals.pulse("control");
        assert_eq!(vitals.obstacles(), [], "it waits");
        let busy = pulse.work();
        while vitals.obstacles().is_empty() {
            std::thread::yield_now();
        }
        let [Obstacle { task: "control", stuck: Some(_) }] = *vitals.obstacles() else { panic!("it works on") };
        vitals.set_stuck_after(STUCK_AFTER);
        assert_eq!(vitals.obstacles(), [], "not for long");
        drop(busy);
        vitals.set_stuck_after(Duration::ZERO);
        assert_eq!(vitals.obstacles(), [], "it is done");
        pulse.end();
        assert_eq!(vitals.obstacles().iter().map(ToString::to_string).collect::<Vec<_>>(), ["control has ended"]);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_begun_again_until_it_ends_by_itself() {
        let pulse = Pulse::unwatched("health");
        let begun = AtomicUsize::new(0);
        pulse
            .supervise(|| async {
                let nth = begun.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                assert!(nth >= 2, "as the test wants");
            })
            .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert_eq!(pulse.obstacle(Duration::ZERO), None);
    }
}
