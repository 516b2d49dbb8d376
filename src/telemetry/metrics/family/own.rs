//! Families about what must always answer: own servers, own log, own tasks.

use super::{Family, Kind};

/// Process log lines lost.
pub(crate) static PROCESS_LOG_DROPPED: Family = Family::total(
    "tidegate_process_log_dropped_total",
    "Process log lines dropped because the queue was full or the destination failed.",
);
/// Process log lines that wait.
pub(crate) static PROCESS_LOG_QUEUE_LENGTH: Family =
    Family::gauge("tidegate_process_log_queue_length", "Process log lines in the queue.");
/// Panics by task.
pub(crate) static PANICS: Family = Family {
    name: "tidegate_panics_total",
    help: "Panics since the start, all of them contained, by task.",
    kind: Kind::Counter,
    labels: &["task"],
};
/// Whether a task is alive.
pub(crate) static TASK_UP: Family = Family {
    name: "tidegate_task_up",
    help: "Whether a task of the control plane is alive: 1, or 0 once it is stuck or has ended.",
    kind: Kind::Gauge,
    labels: &["task"],
};
/// How long a task has been at one piece of work.
pub(crate) static TASK_BUSY: Family = Family {
    name: "tidegate_task_busy_seconds",
    help: "Time that a task of the control plane has spent on its current work, in seconds; 0 when idle.",
    kind: Kind::Gauge,
    labels: &["task"],
};
/// Connections of a server that tells.
pub(crate) static SERVER_CONNECTIONS: Family = Family {
    name: "tidegate_server_connections",
    help: "Open connections of the telemetry, admin and admission servers.",
    kind: Kind::Gauge,
    labels: &["server"],
};
/// Connections that such a server closed to make room.
pub(crate) static SERVER_CLOSED: Family = Family {
    name: "tidegate_server_connections_closed_total",
    help: "Connections closed by the telemetry, admin and admission servers to make room, by reason: connections full, too many of one source, no file descriptors.",
    kind: Kind::Counter,
    labels: &["server", "reason"],
};
/// What the configuration asks for.
pub(crate) static CAPACITY_CONFIGURED: Family = Family {
    name: "tidegate_capacity_configured",
    help: "Capacity that the configuration asks for; tidegate_capacity is what is available.",
    kind: Kind::Gauge,
    labels: &["resource"],
};
