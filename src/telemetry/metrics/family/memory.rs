//! Families about memory: of the process, and of answers that wait for their readers.

use super::{Family, Kind};

/// Memory near which new work is refused.
pub(crate) static MEMORY_LIMIT: Family = Family::gauge(
    "tidegate_memory_limit_bytes",
    "Memory limit, in bytes: at 90 percent of it new requests are refused; 0 when there is no limit.",
);
/// Memory at the last sample.
pub(crate) static MEMORY_USED: Family = Family::gauge(
    "tidegate_memory_used_bytes",
    "Resident memory at the last sample, in bytes, which is compared with the limit.",
);
/// Whether new work is refused.
pub(crate) static OVERLOAD: Family =
    Family::gauge("tidegate_overload", "Whether new requests are refused because memory is nearly used up.");
/// Work that was refused.
pub(crate) static OVERLOAD_REFUSED: Family = Family {
    name: "tidegate_overload_refused_total",
    help: "Connections and requests refused because memory was nearly used up.",
    kind: Kind::Counter,
    labels: &["what"],
};
/// Bytes that wait for readers of HTTP/2 connections.
pub(crate) static H2_RESPONSE_BUFFER: Family = Family::gauge(
    "tidegate_h2_response_buffer_bytes",
    "Responses of HTTP/1 upstreams that are buffered until their HTTP/2 clients read them, in bytes.",
);
/// Reads that waited for readers.
pub(crate) static H2_RESPONSE_BUFFER_WAITS: Family = Family::total(
    "tidegate_h2_response_buffer_waits_total",
    "Reads from HTTP/1 upstreams that waited because the buffer of their HTTP/2 client was full.",
);
