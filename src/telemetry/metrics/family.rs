//! The families that tidegate renders itself: name, help text and label names, each in one place.

mod memory;
mod own;

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto;

pub(crate) use self::memory::*;
pub(crate) use self::own::*;

/// Name, help text, type and label names of series that belong together.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
}

/// One number of a family, as a source gives it at scrape time.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Which family.
    pub family: &'static Family,
    /// Values of the family's labels, in its order. A sample with another number of labels is left out.
    pub labels: &'a [&'a str],
    /// The number, in the family's unit.
    pub value: f64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const SERVICE: &[&str] = &["namespace", "kind", "route", "service"];
const PLUGIN: &[&str] = &["plugin"];

pub(super) static REQUESTS: Family = Family {
    name: "tidegate_requests_total",
    help: "Requests completed, by route, method, status code and reason code.",
    kind: Kind::Counter,
    labels: &["namespace", "kind", "route", "service", "path", "method", "code", "reason"],
};
pub(super) static REQUEST_DURATION: Family = Family::histogram(
    "tidegate_request_duration_seconds",
    "Time from a request's headers to the end of its response, in seconds.",
);
pub(super) static CONNECT_DURATION: Family = Family::histogram(
    "tidegate_upstream_connect_duration_seconds",
    "Time to open a new connection to an endpoint, TLS handshake included, in seconds.",
);
pub(super) static HEADER_DURATION: Family = Family::histogram(
    "tidegate_upstream_header_duration_seconds",
    "Time from the start of an attempt to the endpoint's response headers, in seconds.",
);
pub(super) static RESPONSE_DURATION: Family = Family::histogram(
    "tidegate_upstream_response_duration_seconds",
    "Time from the start of an attempt to the end of the endpoint's response, in seconds.",
);
pub(super) static REQUEST_SIZE: Family =
    Family::histogram("tidegate_request_size_bytes", "Size of requests as received from clients, in bytes.");
pub(super) static RESPONSE_SIZE: Family =
    Family::histogram("tidegate_response_size_bytes", "Size of responses as sent to clients, in bytes.");
pub(super) static RETRIES: Family = Family {
    name: "tidegate_upstream_retries_total",
    help: "Retries: attempts at endpoints after the first one of a request.",
    kind: Kind::Counter,
    labels: SERVICE,
};

/// Open connections, by listener and state.
pub(crate) static CONNECTIONS: Family = Family {
    name: "tidegate_connections",
    help: "Open client connections, by listener and state.",
    kind: Kind::Gauge,
    labels: &["listener", "state"],
};
/// Whether a listener accepts.
pub(crate) static LISTENER_UP: Family = Family {
    name: "tidegate_listener_up",
    help: "Whether a configured listener accepts connections: 1, or 0 while its address cannot be bound.",
    kind: Kind::Gauge,
    labels: &["listener"],
};
/// Addresses that could not be bound.
pub(crate) static LISTENER_BIND_FAILURES: Family = Family {
    name: "tidegate_listener_bind_failures_total",
    help: "Failed attempts to bind the address of a listener, by listener and reason.",
    kind: Kind::Counter,
    labels: &["listener", "reason"],
};
/// Accepted connections, by listener.
pub(crate) static CONNECTIONS_ACCEPTED: Family = Family {
    name: "tidegate_connections_accepted_total",
    help: "Client connections accepted, by listener.",
    kind: Kind::Counter,
    labels: &["listener"],
};
/// Connections that ended before a request: refused, timed out, failed handshakes.
pub(crate) static CONNECTION_FAILURES: Family = Family {
    name: "tidegate_connection_failures_total",
    help: "Client connections closed because of an error, a limit or a timeout, by listener and reason.",
    kind: Kind::Counter,
    labels: &["listener", "reason"],
};
/// Endpoints of an upstream.
pub(crate) static UPSTREAM_ENDPOINTS: Family = Family {
    name: "tidegate_upstream_endpoints",
    help: "Endpoints of an upstream.",
    kind: Kind::Gauge,
    labels: &["upstream"],
};
/// Endpoints of an upstream that get requests.
pub(crate) static UPSTREAM_HEALTHY: Family = Family {
    name: "tidegate_upstream_healthy",
    help: "Endpoints of an upstream that are healthy.",
    kind: Kind::Gauge,
    labels: &["upstream"],
};
/// Active requests of an upstream.
pub(crate) static UPSTREAM_REQUESTS: Family = Family {
    name: "tidegate_upstream_requests",
    help: "Active requests of an upstream.",
    kind: Kind::Gauge,
    labels: &["upstream"],
};
/// What traffic holds of what all requests need.
pub(crate) static CAPACITY_USED: Family = Family {
    name: "tidegate_capacity_used",
    help: "File descriptors, client connections and active requests in use by traffic.",
    kind: Kind::Gauge,
    labels: &["resource"],
};
/// What traffic may hold of it.
pub(crate) static CAPACITY: Family = Family {
    name: "tidegate_capacity",
    help: "File descriptors, client connections and active requests that traffic may use, all upstreams together.",
    kind: Kind::Gauge,
    labels: &["resource"],
};
/// Health probes that ended.
pub(crate) static PROBES: Family =
    Family::total("tidegate_health_probes_total", "Active health probes completed, all upstreams together.");
/// Health probes that failed.
pub(crate) static PROBE_FAILURES: Family =
    Family::total("tidegate_health_probe_failures_total", "Active health probes that failed, all upstreams together.");
/// Health probes that began late.
pub(crate) static LATE_PROBES: Family = Family::total(
    "tidegate_health_probes_late_total",
    "Active health probes that started more than a second late because too many were due.",
);
/// DNS resolutions that ended.
pub(crate) static RESOLUTIONS: Family =
    Family::total("tidegate_dns_resolutions_total", "DNS resolutions of upstream names completed.");
/// DNS resolutions that failed.
pub(crate) static RESOLUTION_FAILURES: Family =
    Family::total("tidegate_dns_resolution_failures_total", "DNS resolutions of upstream names that failed.");
/// DNS resolutions that began late.
pub(crate) static LATE_RESOLUTIONS: Family = Family::total(
    "tidegate_dns_resolutions_late_total",
    "DNS resolutions of upstream names that started more than a second late because too many were due.",
);
/// Picks from upstreams all of whose endpoints were unhealthy.
pub(crate) static PANIC_PICKS: Family = Family::total(
    "tidegate_upstream_panic_picks_total",
    "Times that an unhealthy endpoint was picked because every endpoint of the upstream was unhealthy.",
);
/// Requests that wait for other endpoints.
pub(crate) static ENDPOINT_WAITING: Family = Family::gauge(
    "tidegate_upstream_endpoint_waiting",
    "Requests waiting for new endpoints because none of the known ones could be connected to.",
);
/// Waits for other endpoints that ended.
pub(crate) static ENDPOINT_WAITS: Family = Family {
    name: "tidegate_upstream_endpoint_waits_total",
    help: "Completed waits for new endpoints, by result: found or in vain.",
    kind: Kind::Counter,
    labels: &["result"],
};
/// What plugins did besides letting requests pass.
pub(crate) static PLUGIN_EVENTS: Family = Family {
    name: "tidegate_plugin_events_total",
    help: "Responses, withheld responses, panics and forbidden responses of plugins, by instance and event.",
    kind: Kind::Counter,
    labels: &["plugin", "event"],
};
/// Why plugins answered.
pub(crate) static PLUGIN_REPLIES: Family = Family {
    name: "tidegate_plugin_replies_total",
    help: "Responses of plugins that gave a reason of their own, by instance and reason; 16 reasons of an instance, then other.",
    kind: Kind::Counter,
    labels: &["plugin", "reason"],
};
/// Calls of plugins that have ended.
pub(crate) static PLUGIN_CALLS: Family = Family {
    name: "tidegate_plugin_calls_total",
    help: "Calls of plugins to other servers completed, by instance and result.",
    kind: Kind::Counter,
    labels: &["plugin", "result"],
};
pub(super) static PLUGIN_DURATION: Family = Family {
    name: "tidegate_plugin_duration_seconds",
    help: "Time spent in hooks of plugins, in seconds, by instance and phase.",
    kind: Kind::Histogram,
    labels: &["plugin", "phase"],
};
/// Work of plugins that waits or is done.
pub(crate) static PLUGIN_WORK_QUEUE: Family = Family {
    name: "tidegate_plugin_work_queue_length",
    help: "Blocking jobs of plugins, such as password hashes, that are queued or running.",
    kind: Kind::Gauge,
    labels: PLUGIN,
};
/// Work of plugins that was refused.
pub(crate) static PLUGIN_WORK_REFUSED: Family = Family {
    name: "tidegate_plugin_work_refused_total",
    help: "Blocking jobs of plugins that were refused because the queue was too long; their requests got 503.",
    kind: Kind::Counter,
    labels: PLUGIN,
};
/// Work of plugins that has ended.
pub(crate) static PLUGIN_WORK: Family = Family {
    name: "tidegate_plugin_work_total",
    help: "Blocking jobs of plugins that were done, or cancelled because the client was gone, by instance and result.",
    kind: Kind::Counter,
    labels: &["plugin", "result"],
};
/// How long work of plugins waited.
pub(crate) static PLUGIN_WORK_WAIT: Family = Family {
    name: "tidegate_plugin_work_wait_seconds_total",
    help: "Time that blocking jobs of plugins were queued, in seconds.",
    kind: Kind::Counter,
    labels: PLUGIN,
};
/// How long work of plugins took.
pub(crate) static PLUGIN_WORK_TIME: Family = Family {
    name: "tidegate_plugin_work_seconds_total",
    help: "Time that blocking jobs of plugins took, in seconds.",
    kind: Kind::Counter,
    labels: PLUGIN,
};
/// Whether a source can be reached.
pub(crate) static SOURCE_UP: Family = Family {
    name: "tidegate_source_up",
    help: "Whether the source is reachable; its last good state stays in force while it is not.",
    kind: Kind::Gauge,
    labels: &["source"],
};
/// When a source was heard.
pub(crate) static SOURCE_CONTACT: Family = Family {
    name: "tidegate_source_last_contact_timestamp_seconds",
    help: "Time of the last successful contact with the source, in seconds since 1970; 0 when never.",
    kind: Kind::Gauge,
    labels: &["source"],
};
/// Whether this process leads.
pub(crate) static LEADER: Family = Family::gauge(
    "tidegate_leader",
    "Whether this replica is the leader, which writes to the cluster; traffic does not depend on it.",
);
/// Statuses written to a cluster.
pub(crate) static STATUS_WRITES: Family = Family {
    name: "tidegate_status_writes_total",
    help: "Writes of the status of Ingresses, by result; failed ones are retried.",
    kind: Kind::Counter,
    labels: &["result"],
};
/// Statuses to be written.
pub(crate) static STATUS_QUEUE: Family =
    Family::gauge("tidegate_status_queue_length", "Ingresses whose status waits to be written.");
/// Events written to a cluster.
pub(crate) static EVENTS: Family = Family::total("tidegate_events_total", "Events written to the cluster.");
/// Events that were not written.
pub(crate) static EVENTS_DROPPED: Family =
    Family::total("tidegate_events_dropped_total", "Events for the cluster dropped because the queue was full.");
/// Verdicts of the admission webhook.
pub(crate) static ADMISSION_REVIEWS: Family = Family {
    name: "tidegate_admission_reviews_total",
    help: "Reviews of the admission webhook, by result; failed: requests that got no review.",
    kind: Kind::Counter,
    labels: &["result"],
};
/// When a certificate expires.
pub(crate) static CERTIFICATE_EXPIRY: Family = Family {
    name: "tidegate_certificate_expiry_timestamp_seconds",
    help: "When a certificate expires, in seconds since 1970.",
    kind: Kind::Gauge,
    labels: &["certificate"],
};
/// Version and revision; always 1.
pub(super) static BUILD_INFO: Family = Family {
    name: "tidegate_build_info",
    help: "Version and revision of the program; always 1.",
    kind: Kind::Gauge,
    labels: &["version", "revision"],
};
/// Access log lines lost.
pub(crate) static ACCESS_LOG_DROPPED: Family = Family {
    name: "tidegate_access_log_dropped_total",
    help: "Access log lines dropped because the queue was full or the destination failed.",
    kind: Kind::Counter,
    labels: &[],
};
/// Access log lines that wait.
pub(crate) static ACCESS_LOG_QUEUE_LENGTH: Family =
    Family::gauge("tidegate_access_log_queue_length", "Access log lines in the queue.");
pub(super) static PROCESS_CPU: Family = Family {
    name: "process_cpu_seconds_total",
    help: "User and system time spent, in seconds.",
    kind: Kind::Counter,
    labels: &[],
};
pub(super) static PROCESS_RESIDENT: Family =
    Family::gauge("process_resident_memory_bytes", "Resident memory, in bytes.");
pub(super) static PROCESS_VIRTUAL: Family =
    Family { name: "process_virtual_memory_bytes", help: "Virtual memory, in bytes.", kind: Kind::Gauge, labels: &[] };
pub(super) static PROCESS_THREADS: Family =
    Family { name: "process_threads", help: "Threads of the process.", kind: Kind::Gauge, labels: &[] };
pub(super) static PROCESS_OPEN_FDS: Family =
    Family { name: "process_open_fds", help: "Open file descriptors.", kind: Kind::Gauge, labels: &[] };
pub(super) static PROCESS_MAX_FDS: Family =
    Family { name: "process_max_fds", help: "Most file descriptors that may be open.", kind: Kind::Gauge, labels: &[] };
pub(super) static PROCESS_START: Family =
    Family::gauge("process_start_time_seconds", "When the process started, in seconds since 1970.");

/// Families that sources give samples of.
pub(super) static OBSERVED: &[&Family] = &[
    &PROBES,
    &PROBE_FAILURES,
    &LATE_PROBES,
    &RESOLUTIONS,
    &RESOLUTION_FAILURES,
    &LATE_RESOLUTIONS,
    &PANIC_PICKS,
    &ENDPOINT_WAITING,
    &ENDPOINT_WAITS,
    &CONNECTIONS,
    &LISTENER_UP,
    &LISTENER_BIND_FAILURES,
    &CONNECTIONS_ACCEPTED,
    &CONNECTION_FAILURES,
    &UPSTREAM_ENDPOINTS,
    &UPSTREAM_HEALTHY,
    &UPSTREAM_REQUESTS,
    &CAPACITY_USED,
    &CAPACITY,
    &MEMORY_LIMIT,
    &MEMORY_USED,
    &OVERLOAD,
    &OVERLOAD_REFUSED,
    &H2_RESPONSE_BUFFER,
    &H2_RESPONSE_BUFFER_WAITS,
    &CERTIFICATE_EXPIRY,
    &PLUGIN_EVENTS,
    &PLUGIN_REPLIES,
    &PLUGIN_CALLS,
    &PLUGIN_WORK_QUEUE,
    &PLUGIN_WORK_REFUSED,
    &PLUGIN_WORK,
    &PLUGIN_WORK_WAIT,
    &PLUGIN_WORK_TIME,
    &SOURCE_UP,
    &SOURCE_CONTACT,
    &LEADER,
    &STATUS_WRITES,
    &STATUS_QUEUE,
    &EVENTS,
    &EVENTS_DROPPED,
    &ADMISSION_REVIEWS,
    &BUILD_INFO,
    &ACCESS_LOG_DROPPED,
    &ACCESS_LOG_QUEUE_LENGTH,
    &PROCESS_LOG_DROPPED,
    &PROCESS_LOG_QUEUE_LENGTH,
    &PANICS,
    &TASK_UP,
    &TASK_BUSY,
    &SERVER_CONNECTIONS,
    &SERVER_CLOSED,
    &CAPACITY_CONFIGURED,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_THREADS,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_START,
];

/// Families that routes give.
pub(super) static ROUTES: &[&Family] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &CONNECT_DURATION,
    &HEADER_DURATION,
    &RESPONSE_DURATION,
    &REQUEST_SIZE,
    &RESPONSE_SIZE,
    &RETRIES,
];

// === impl Family ===

impl Family {
    const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Histogram, labels: SERVICE }
    }

    const fn total(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, labels: &[] }
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: &[] }
    }

    /// The family's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn arity(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn desc(&self) -> Result<Desc, prometheus::Error> {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    /// The family as Prometheus' own types have it.
    pub(super) fn with(&self, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        family
    }

    /// One number with label values in the family's order.
    pub(super) fn number(&self, values: &[&str], value: f64) -> proto::Metric {
        let mut metric = self.labelled(values);
        if matches!(self.kind, Kind::Counter) {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    pub(super) fn labelled(&self, values: &[&str]) -> proto::Metric {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        proto::Metric::from_label(self.labels.iter().zip(values).map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_conventional_name_and_a_sentence_as_help() {
        for family in OBSERVED.iter().chain(ROUTES) {
            let name = family.name;
            assert!(name.starts_with("tidegate_") || name.starts_with("process_"), "{name}");
            assert!(family.help.ends_with('.'), "{name}");
            assert_eq!(matches!(family.kind, Kind::Counter), name.ends_with("_total"), "{name}");
            for unit in ["seconds", "bytes"] {
                assert!(!name.contains(unit) || family.help.contains(unit), "{name} does not name its unit");
            }
        }
    }
}
