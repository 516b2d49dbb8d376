//! Counts a request that has ended.

use std::sync::atomic::Ordering::Relaxed;

use super::{RouteMetrics, Series};
use crate::telemetry::record::{RequestRecord, Try};

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
        record.tries.iter().for_each(|attempt| self.record_try(attempt));
        if record.tries.len() > 1 {
            self.retries.fetch_add(record.tries.len() as u64 - 1, Relaxed);
        }
    }

    fn record_try(&self, attempt: &Try) {
        let times =
            [(&self.connect, attempt.connect), (&self.header, attempt.header), (&self.response, attempt.response)];
        for (histogram, time) in times {
            if let Some(time) = time {
                histogram.observe_duration(time);
            }
        }
    }
}
