//! Counts a request that has ended.

use std::sync::atomic::Ordering::Relaxed;

use super::{RouteMetrics, Series};
use crate::telemetry::record::{Attempt, RequestRecord};

impl RouteMetrics {
    /// Counts a request.
    pub(in crate::telemetry::metrics) fn record(&self, record: &RequestRecord<'_>) {
        self.requests.count(record.method, record.status, record.reason);
        self.service.series.get_or_init(Box::default).record(record);
    }
}

impl Series {
    fn record(&self, record: &RequestRecord<'_>) {
        self.request_duration.observe_duration(record.duration);
        self.request_size.observe(record.request_bytes);
        self.response_size.observe(record.response_bytes);
        record.attempts.iter().for_each(|attempt| self.record_attempt(attempt));
        if record.attempts.len() > 1 {
            self.retries.fetch_add(record.attempts.len() as u64 - 1, Relaxed);
        }
    }

    fn record_attempt(&self, attempt: &Attempt) {
        let times =
            [(&self.connect, attempt.connect), (&self.header, attempt.header), (&self.response, attempt.response)];
        for (histogram, time) in times {
            if let Some(time) = time {
                histogram.observe_duration(time);
            }
        }
    }
}
