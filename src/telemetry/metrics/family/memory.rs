//! Families about memory: of the process, and of answers that wait for their readers.

use super::{Family, Kind};

/// Memory near which new work is refused.
pub(crate) static MEMORY_LIMIT: Family = Family::gauge(
    "tidegate_memory_limit_bytes",
    "Memory in bytes at nine tenths of which new work is refused; 0 when there is no limit.",
);
/// Memory at the last sample.
pub(crate) static MEMORY_USED: Family = Family::gauge(
    "tidegate_memory_used_bytes",
    "Resident memory in bytes at the last sample, which is compared with the limit.",
);
/// Whether new work is refused.
pub(crate) static OVERLOAD: Family =
    Family::gauge("tidegate_overload", "Whether new work is refused because memory is nearly used up.");
/// Work that was refused.
pub(crate) static OVERLOAD_REFUSED: Family = Family {
    name: "tidegate_overload_refused_total",
    help: "Connections and requests that were refused because memory was nearly used up.",
    kind: Kind::Counter,
    labels: &["what"],
};
/// Bytes that wait for readers of HTTP/2 connections.
pub(crate) static STALLED_BYTES: Family = Family::gauge(
    "tidegate_h2_stalled_bytes",
    "Answers of HTTP/1 endpoints that were read and not taken by HTTP/2 clients yet, in bytes.",
);
/// Reads that waited for readers.
pub(crate) static STALLED_WAITS: Family = Family::total(
    "tidegate_h2_stalled_waits_total",
    "Reads of answers of HTTP/1 endpoints that had to wait until their HTTP/2 client took what was read before.",
);
