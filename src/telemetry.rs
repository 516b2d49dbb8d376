//! What tidegate tells about itself: metrics, access log, process log, and the server that shows them.
//!
//! Takes a [`RequestRecord`] at the end of each request and gives numbers and lines.
//! Imports nothing of tidegate but leaf modules and the plugin API's plain structs, so that every stage can tell
//! without knowing who listens.

pub(crate) mod access_log;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod metrics;
pub(crate) mod panics;
pub mod process_log;
pub(crate) mod record;
pub(crate) mod server;
pub(crate) mod vitals;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

pub use self::access_log::AccessLog;
pub use self::metrics::Metrics;
pub(crate) use self::record::SessionRecord;
pub use self::record::{Attempt, Recorder, RequestRecord};

use self::lines::Log;
use self::metrics::{Sample, family};

/// Metrics and access log together: the recorder that the proxy is given.
pub struct Telemetry {
    metrics: Arc<Metrics>,
    access_log: Arc<ArcSwapOption<AccessLog>>,
    is_scraped: AtomicBool,
    /// Whether there is a log, to be seen by each request without taking hold of it.
    is_logging: AtomicBool,
}

// === impl Telemetry ===

impl Telemetry {
    /// Records into `metrics`, and writes no access log until [`Self::set_access_log`] gives one.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let access_log = Arc::new(ArcSwapOption::empty());
        let (is_scraped, is_logging) = (AtomicBool::new(false), AtomicBool::new(false));
        let telemetry = Self { metrics, access_log, is_scraped, is_logging };
        telemetry.count_logs();
        telemetry
    }

    /// The numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Replaces the access log, or switches it off.
    ///
    /// Waits until the log before has written what is queued, for two seconds at most: not for a request's thread.
    pub fn set_access_log(&self, access_log: Option<AccessLog>) {
        self.is_logging.store(access_log.is_some(), Ordering::Relaxed);
        let before = self.access_log.swap(access_log.map(Arc::new));
        // Closed here, because the last reference may be a request's, which must not wait.
        if let Some(before) = before {
            before.close();
        }
    }

    /// Notes that the numbers are served.
    pub fn set_scraped(&self) {
        self.is_scraped.store(true, Ordering::Relaxed);
    }

    /// Opens the access log's file again, after it was moved away by log rotation.
    pub fn reopen(&self) {
        if let Some(access_log) = &*self.access_log.load() {
            access_log.reopen();
        }
    }

    fn count_logs(&self) {
        let current = Arc::clone(&self.access_log);
        self.metrics.observe(Box::new(move |emit| {
            let queued = current.load().as_ref().map_or(0, |log| log.queued());
            for (family, value) in [
                (&family::ACCESS_LOG_QUEUE_LENGTH, queued as u64),
                (&family::ACCESS_LOG_DROPPED, Log::Access.dropped_total()),
                (&family::PROCESS_LOG_QUEUE_LENGTH, lines::process_log_queued() as u64),
                (&family::PROCESS_LOG_DROPPED, Log::Process.dropped_total()),
            ] {
                emit(Sample { family, labels: &[], value: value as f64 });
            }
        }));
    }
}

impl Recorder for Telemetry {
    fn record(&self, record: &RequestRecord<'_>) {
        self.metrics.record(record);
        if let Some(access_log) = &*self.access_log.load() {
            access_log.record(record);
        }
    }

    fn record_session(&self, session: &SessionRecord<'_>) {
        let SessionRecord { duration, client, peer, listener, reason } = session;
        tracing::debug!(listener, %client, %peer, reason, elapsed_ms = duration.as_millis(), "TLS handshake failed");
    }

    fn is_logging(&self) -> bool {
        self.is_logging.load(Ordering::Relaxed)
    }

    fn is_timing(&self) -> bool {
        self.is_scraped.load(Ordering::Relaxed) || self.is_logging()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::access_log::{Destination, Format};
    use super::record::testing::record;
    use super::*;

    #[test]
    fn a_request_is_counted_and_logged_and_the_log_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let open = |path| AccessLog::open(Format::Json, Destination::File(path)).unwrap();
        let telemetry = Telemetry::new(Arc::new(Metrics::new().unwrap()));
        telemetry.record(&record());
        telemetry.set_access_log(Some(open(first.clone())));
        telemetry.record(&record());
        telemetry.set_access_log(Some(open(second.clone())));
        telemetry.record(&record());
        telemetry.record(&record());
        telemetry.set_access_log(None);
        telemetry.record(&record());

        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(first), lines(second)), (1, 2));
        let text = telemetry.metrics().render().unwrap();
        let has = |start: &str, end: &str| text.lines().any(|line| line.starts_with(start) && line.ends_with(end));
        assert!(has("tidegate_requests_total{", "reason=\"upstream\"} 5"), "{text}");
        assert!(
            has("tidegate_access_log_queue_length 0", "") && has("tidegate_access_log_dropped_total ", ""),
            "{text}"
        );
    }

    #[test]
    fn plugins_are_timed_while_metrics_are_served_or_a_log_is_on() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new(Arc::new(Metrics::new().unwrap()));
        assert!(!telemetry.is_timing());
        let log = AccessLog::open(Format::Json, Destination::File(folder.path().join("log"))).unwrap();
        telemetry.set_access_log(Some(log));
        assert!(telemetry.is_timing());
        telemetry.set_access_log(None);
        assert!(!telemetry.is_timing());
        telemetry.set_scraped();
        telemetry.set_access_log(None);
        assert!(telemetry.is_timing());
    }
}
