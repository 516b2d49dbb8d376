//! Counts panics and tells them, whatever task they are in.
//!
//! What a panic ends is decided where it is caught; here it is seen, once, for the whole process. The system's own
//! words go to standard error, whose reader may have stopped; in the log they wait for nobody. Most panics are told
//! by one line; a backtrace costs milliseconds, and a plugin may panic with each request.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Once};
use std::time::Instant;

use super::metrics::{Emit, Sample, family};

/// The tasks that are told apart: names of threads, and those that [`Within`] gives.
const TASKS: [&str; 15] = [
    "access-log",
    "admin",
    "admission",
    "cache",
    "conf-source",
    "control",
    "files-source",
    "health",
    "kubernetes",
    "plugin-work",
    "process-log",
    "resolver",
    "telemetry",
    SERVING,
    OTHER,
];
/// Threads of the runtime: requests above all.
const SERVING: &str = "serving";
const OTHER: &str = "other";

/// Lines a second, at most.
const LINES: u64 = 10;
/// Seconds between two backtraces.
const PAUSE: u64 = 10;
/// Characters of a message that are told.
const MAX_MESSAGE: usize = 512;

static COUNTS: [AtomicU64; TASKS.len()] = [const { AtomicU64::new(0) }; TASKS.len()];
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
static IS_LOGGED: AtomicBool = AtomicBool::new(false);
static LAST_LINES: Quota = Quota::new();
static LAST_BACKTRACE: Quota = Quota::new();

thread_local! {
    static TASK: Cell<Option<&'static str>> = const { Cell::new(None) };
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Gives panics of this thread to a task until it is dropped.
#[derive(Debug)]
pub(crate) struct Within(Option<&'static str>);

/// So many in a period of time.
struct Quota {
    period: AtomicU64,
    taken: AtomicU64,
}

/// Counts panics from now on. What was done about them before is done still, until the process log tells them.
pub(crate) fn count() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let task = current();
            if let Some((_, count)) = TASKS.iter().zip(&COUNTS).find(|(name, _)| **name == task) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if IS_LOGGED.load(Ordering::Relaxed) {
                tell(task, info);
            } else {
                before(info);
            }
        }));
    });
}

/// Tells panics in the process log, and nowhere else.
pub(super) fn tell_in_log() {
    count();
    IS_LOGGED.store(true, Ordering::Relaxed);
}

/// Panics so far, for metrics.
pub(crate) fn observe(emit: Emit<'_>) {
    for (task, count) in TASKS.iter().zip(&COUNTS) {
        emit(Sample { family: &family::PANICS, labels: &[task], value: count.load(Ordering::Relaxed) as f64 });
    }
}

/// The task that this thread works for.
fn current() -> &'static str {
    let known = |name: &str| TASKS.iter().find(|task| **task == name).copied();
    if let Some(task) = TASK.get() {
        return known(task).unwrap_or(OTHER);
    }
    match std::thread::current().name() {
        // Threads that the runtime names, and those of a runtime that others made.
        Some("tidegate" | "tokio-rt-worker" | "tokio-runtime-worker") => SERVING,
        Some(name) => known(name).unwrap_or(OTHER),
        None => OTHER,
    }
}

fn tell(task: &'static str, info: &PanicHookInfo<'_>) {
    let now = BEGUN.elapsed().as_secs();
    // A panic while one is told would end the process.
    if !LAST_LINES.take(now, LINES) || IS_TELLING.replace(true) {
        return;
    }
    let message: String = text(info).chars().take(MAX_MESSAGE).collect();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    if LAST_BACKTRACE.take(now / PAUSE, 1) {
        let backtrace = Backtrace::force_capture();
        tracing::error!(task, place, panic = ?message, %backtrace, "task panicked");
    } else {
        tracing::error!(task, place, panic = ?message, "task panicked");
    }
    IS_TELLING.set(false);
}

fn text<'i>(info: &'i PanicHookInfo<'_>) -> &'i str {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

// === impl Within ===

impl Within {
    /// Panics of this thread are this task's; the name must be one of those that are counted.
    pub(crate) fn task(name: &'static str) -> Self {
        Self(TASK.replace(Some(name)))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        TASK.set(self.0);
    }
}

// === impl Quota ===

impl Quota {
    const fn new() -> Self {
        Self { period: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }

    /// Whether one more may be had in this period.
    fn take(&self, period: u64, most: u64) -> bool {
        // The first period is not that of a number that is there from the begin.
        let period = period + 1;
        if self.period.swap(period, Ordering::Relaxed) != period {
            self.taken.store(0, Ordering::Relaxed);
        }
        self.taken.fetch_add(1, Ordering::Relaxed) < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted_by_the_task_that_they_are_in() {
        count();
        let counted = |task: &str| {
            let mut value = -1.0;
            observe(&mut |sample| {
                if sample.labels == [task] {
                    value = sample.value;
                }
            });
            value
        };
        let before = (counted("resolver"), counted("cache"));
        let _ = std::thread::Builder::new().name("cache".into()).spawn(|| panic!("by its thread")).unwrap().join();
        let caught = panic::catch_unwind(|| {
            let _within = Within::task("resolver");
            panic!("within");
        });
        assert!(caught.is_err());
        assert_eq!((counted("resolver"), counted("cache")), (before.0 + 1.0, before.1 + 1.0));
        assert_eq!(TASK.get(), None, "what is unwound gives the name back");
    }

    #[test]
    fn a_quota_is_for_a_period() {
        let quota = Quota::new();
        let taken: Vec<bool> = [1, 1, 1, 2, 2].iter().map(|period| quota.take(*period, 2)).collect();
        assert_eq!(taken, [true, true, false, true, true]);
    }
}
