//! Limits on clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Duration};

/// Limits on clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Size of a request body; larger: 413. Default unlimited.
    pub body: Option<ByteSize>,
    /// Size of a request head without its first line; larger: 431. No more of it is read than this and one buffer.
    /// Default 64KiB.
    pub headers: Option<ByteSize>,
    /// Number of header fields; more: 431. Default 200.
    pub header_count: Option<usize>,
    /// Size of a request target; longer: 414. Default 16KiB.
    pub uri: Option<ByteSize>,
    /// Time for a whole request head. Default 60s.
    pub header_timeout: Option<Duration>,
    /// Longest silence inside a request body; beyond it, a body must have come at 100 bytes a second on average of the
    /// time that it was waited for. On HTTP/2 the rate ends with the first byte of the answer. Default 60s.
    pub body_timeout: Option<Duration>,
    /// Longest time an idle kept client connection stays open. Default 75s.
    pub keep_alive_timeout: Option<Duration>,
    /// Longest time a client may leave response bytes unread. Default 60s.
    pub send_timeout: Option<Duration>,
    /// Requests on one connection: HTTP/1 ends with the last one, HTTP/2 says GOAWAY. Default unlimited.
    pub keep_alive_requests: Option<u32>,
    /// Client connections open at once; never more than half of the descriptors that traffic may have, which are seven
    /// eighths of the process's limit. Default 100000.
    pub connections: Option<usize>,
    /// Client connections open at once of one source: an IPv4 address, or the /64 network of an IPv6 address; more are
    /// closed when they are accepted. `trustedProxies` have no such limit: they stand for many. A load balancer that
    /// hides its clients' addresses is one source, so name it there or set 0: no limit. Default 10000.
    pub connections_per_source: Option<usize>,
    /// Memory of the process: from 90 percent of it on, until it is below 85 percent, new requests are answered 503
    /// (`overload`) with `Retry-After`, and connections are closed on accept when more than 64 wait to be told. 0: no
    /// limit. Of several control groups the least limit holds. Default the control group's or the machine's.
    pub memory: Option<ByteSize>,
    /// Requests under way at upstreams at once, all upstreams together; more: 503. Default 100000.
    pub requests: Option<usize>,
    /// Percent of the descriptors, `connections` and `requests` that the others leave free which an upstream does not
    /// get, so that one whose requests pile up leaves something to them; over it: 503 (`over_share`). The upstreams of
    /// one namespace together leave half of it. 0 to 90; 0: one may take all. Default 25.
    pub reserve: Option<usize>,
    /// Streams at once on an HTTP/2 connection. Default 100.
    pub h2_streams: Option<u32>,
    /// How often one request may come by, told by its `CDN-Loop`; the next time it is refused: 508. Default 8.
    pub hops: Option<u32>,
    /// Bytes of answers of HTTP/1 upstreams that may wait for the reader of one HTTP/2 connection, all its streams
    /// together; at a sixteenth of it, 8KiB are read ahead of each answer in place of 64KiB, and at all of it 1KiB. 64KiB or
    /// more. Default 4MiB.
    pub h2_stalled: Option<ByteSize>,
    /// Bytes that wait on one HTTP/2 stream whose reader stalls, of requests and of answers of `h2` and `h2c` upstreams:
    /// the window of a stream; that of a connection has room for all its streams, so that none waits for another.
    /// 16KiB to 16MiB; it holds for new connections. Larger: faster streams over a distance, as one window is sent a
    /// round trip, and more memory a stalled stream. Default 64KiB.
    pub h2_window: Option<ByteSize>,
}
