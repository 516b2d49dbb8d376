//! How much may wait on HTTP/2 connections: bytes, streams, and the bookkeeping of small frames.
//!
//! A stream's window bounds what waits for a slow reader. A connection's window has room for all its streams, so that
//! none waits for another (RFC 9113 section 5.2). The engine's HTTP/2 charges each frame that waits and is smaller than
//! 256 bytes with what it lacks of them, and ends a connection where that goes over a budget: without one, 64 KiB in
//! frames of one byte would take 16 MiB. It takes no more than 100 empty frames that end nothing a connection, which
//! cannot be set.

use pingora::protocols::http::v2::server::H2Options;
use pingora::upstreams::peer::HttpPeer;

use crate::snapshot::edge::Edge;

/// The largest window (RFC 9113 section 6.9.1).
const LARGEST: u32 = (1 << 31) - 1;
/// Streams at once on one HTTP/2 connection to an endpoint.
const UPSTREAM_STREAMS: u32 = 100;
/// Budget of small frames from a client, in windows: one stream may fill its window with frames of two bytes, or five
/// with frames of ten. By default 8 MiB.
const CLIENT_BUDGET: usize = 128;
/// Budget of small frames from an endpoint, in windows: many clients share its connection, and who reads slowly lets
/// frames wait. By default 32 MiB.
const UPSTREAM_BUDGET: u32 = 512;

/// What HTTP/2 counts for a field besides its bytes (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// A frame.
const HEAD_SLACK: usize = 16 << 10;

/// Sets what a client's connection takes.
pub(super) fn set_client(options: &mut H2Options, edge: &Edge) {
    let budget = edge.limits.h2_window.as_usize().saturating_mul(CLIENT_BUDGET);
    options
        .max_concurrent_streams(edge.limits.h2_streams)
        .max_header_list_size(head_room(edge))
        .initial_window_size(window(edge))
        .initial_connection_window_size(room(window(edge), edge.limits.h2_streams))
        .data_frame_budget(budget);
}

/// Sets what a connection to an endpoint takes.
pub(super) fn set_upstream(peer: &mut HttpPeer, edge: &Edge) {
    let options = &mut peer.options;
    options.max_h2_streams = usize::try_from(UPSTREAM_STREAMS).unwrap_or(usize::MAX);
    options.h2_stream_window_size = Some(window(edge));
    // The budget cannot be set here: it is half of the connection's window. Streams bound the bytes, so that a larger
    // window of the connection takes no more of them.
    options.h2_connection_window_size = Some(room(window(edge), UPSTREAM_STREAMS.max(2 * UPSTREAM_BUDGET)));
}

/// The size of a head that the engine reads whole. What is a little over the limits is refused by the guard, which
/// says so in log and metrics, and what is more by the engine: with 431 too, or with the connection's end when it would
/// have to be read first.
fn head_room(edge: &Edge) -> u32 {
    let fields = edge.limits.header_count.saturating_mul(FIELD_OVERHEAD);
    let bytes = edge.limits.headers.as_usize().saturating_add(edge.limits.uri.as_usize()).saturating_add(fields);
    u32::try_from(bytes.saturating_add(HEAD_SLACK)).unwrap_or(u32::MAX)
}

/// What may wait on one stream.
fn window(edge: &Edge) -> u32 {
    u32::try_from(edge.limits.h2_window.0).unwrap_or(LARGEST)
}

/// Room for so many streams and one more, whose end is under way.
fn room(window: u32, streams: u32) -> u32 {
    window.saturating_mul(streams.saturating_add(1)).min(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_room_for_all_streams() {
        for (window, streams, expected) in [
            (64 << 10, 100, 101 * (64 << 10)),
            (64 << 10, 1, 2 * (64 << 10)),
            (16 << 20, 1000, LARGEST),
            (16 << 20, u32::MAX, LARGEST),
        ] {
            assert_eq!(room(window, streams), expected, "{window} {streams}");
        }
    }
}
