//! Limits on clients: what is written is what is in force.

use std::ops::RangeInclusive;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Duration};

/// Windows of HTTP/2 streams that may be asked for: no smaller than a frame, and a connection's stays a window.
const WINDOWS: RangeInclusive<u64> = 16 << 10..=16 << 20;
/// What the engine reads of an answer at once.
const MIN_RESPONSE_BUFFER: u64 = 64 * 1024;
/// With more of it kept from everybody, hardly anybody could be served.
const MAX_RESERVE: usize = 90;

/// Limits on clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest request body; larger: 413. Default unlimited.
    pub body: Option<ByteSize>,
    /// Largest size of the request headers without the request line; larger: 431. No more of them is read than this and
    /// one buffer. Default 64KiB.
    pub headers: ByteSize,
    /// Most request header fields; more: 431. Default 200.
    pub header_count: usize,
    /// Longest request target; longer: 414. Default 16KiB.
    pub uri: ByteSize,
    /// Longest time until the request headers are complete. Default 60s.
    pub header_timeout: Duration,
    /// Longest time without a byte of a request body; once a body has been waited for longer than this, it must also
    /// average 100 bytes per second of waiting. On HTTP/2 that rate holds until the first byte of the response. Default
    /// 60s.
    pub body_timeout: Duration,
    /// Longest time that an idle client connection is kept open. Default 75s.
    pub keep_alive_timeout: Duration,
    /// Longest time in which a client reads nothing of its response. Default 60s.
    pub send_timeout: Duration,
    /// Most requests on one connection; the last one closes it (HTTP/2: GOAWAY). Default unlimited.
    pub keep_alive_requests: Option<u32>,
    /// Most open client connections; never more than half of the file descriptors that traffic may have, which are
    /// seven eighths of the process's limit. Default 100000.
    pub connections: usize,
    /// Most open client connections of one source: an IPv4 address, or the /64 network of an IPv6 address; more are
    /// closed when they are accepted. `trustedProxies` are exempt, as they stand for many clients. A load balancer that
    /// hides the addresses of its clients is one source: name it there, or set 0 for no limit. Default 10000.
    pub connections_per_source: usize,
    /// Memory limit of the process. From 90 percent of it until usage is below 85 percent, new requests are answered
    /// 503 (`overload`) with `Retry-After`, and connections are closed on accept when more than 64 wait for such a
    /// response. 0: no limit. Of several control groups the lowest limit counts. Default the control group's or the
    /// machine's.
    pub memory: Option<ByteSize>,
    /// Most active requests at upstreams, all upstreams together; more: 503. Default 100000.
    pub requests: usize,
    /// Percentage of the free file descriptors, `connections` and `requests` that one upstream may not use, so that an
    /// upstream whose requests pile up leaves capacity to others; over it: 503 (`over_share`). For all upstreams of one
    /// namespace together it is half of that. 0 to 90; 0: one upstream may use everything. Default 25.
    pub reserve: usize,
    /// Most concurrent streams on an HTTP/2 connection. Default 100.
    pub h2_streams: u32,
    /// How often one request may pass this proxy, counted in its `CDN-Loop` header; once more: 508. Default 8.
    pub hops: u32,
    /// Most bytes of responses of HTTP/1 upstreams that are buffered for one HTTP/2 client connection, all its streams
    /// together. From a sixteenth of it, 8KiB of each response are read ahead in place of 64KiB, and at all of it 1KiB.
    /// 64KiB or more. Default 4MiB.
    pub h2_response_buffer: ByteSize,
    /// Flow control window of an HTTP/2 stream, for request bodies and for responses of `h2` and `h2c` upstreams; the
    /// window of a connection has room for all its streams, so that none waits for another. 16KiB to 16MiB; a change
    /// holds for new connections. A larger window makes streams faster over long distances, as one window is sent per
    /// round trip, and takes more memory for each stream that is not read. Default 64KiB.
    pub h2_window: ByteSize,
}

/// A value that may not be: the field, and why.
type Fault = (&'static str, String);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        let seconds = |seconds| Duration(time::Duration::from_secs(seconds));
        Self {
            body: None,
            headers: ByteSize(64 << 10),
            header_count: 200,
            uri: ByteSize(16 << 10),
            header_timeout: seconds(60),
            body_timeout: seconds(60),
            keep_alive_timeout: seconds(75),
            send_timeout: seconds(60),
            keep_alive_requests: None,
            connections: 100_000,
            connections_per_source: 10_000,
            memory: None,
            requests: 100_000,
            reserve: 25,
            h2_streams: 100,
            hops: 8,
            h2_response_buffer: ByteSize(4 << 20),
            h2_window: ByteSize(64 << 10),
        }
    }
}

impl Limits {
    /// Connections of one source, where they have a limit.
    pub fn source_connections(&self) -> Option<usize> {
        (self.connections_per_source > 0).then_some(self.connections_per_source)
    }

    /// Puts the default in place of every value that may not be, and says which and why.
    pub fn mend(&mut self) -> Vec<Fault> {
        let (default, mut faults) = (Self::default(), Vec::new());
        let (no_size, no_time) = (ByteSize(0), Duration(time::Duration::ZERO));
        positive("headers", &mut self.headers, no_size, default.headers, &mut faults);
        positive("headerCount", &mut self.header_count, 0, default.header_count, &mut faults);
        positive("uri", &mut self.uri, no_size, default.uri, &mut faults);
        positive("headerTimeout", &mut self.header_timeout, no_time, default.header_timeout, &mut faults);
        positive("bodyTimeout", &mut self.body_timeout, no_time, default.body_timeout, &mut faults);
        positive("keepAliveTimeout", &mut self.keep_alive_timeout, no_time, default.keep_alive_timeout, &mut faults);
        positive("sendTimeout", &mut self.send_timeout, no_time, default.send_timeout, &mut faults);
        positive("keepAliveRequests", &mut self.keep_alive_requests, Some(0), None, &mut faults);
        positive("connections", &mut self.connections, 0, default.connections, &mut faults);
        positive("requests", &mut self.requests, 0, default.requests, &mut faults);
        positive("h2Streams", &mut self.h2_streams, 0, default.h2_streams, &mut faults);
        positive("hops", &mut self.hops, 0, default.hops, &mut faults);
        if self.reserve > MAX_RESERVE {
            self.reserve = default.reserve;
            faults.push(("reserve", format!("a reserve is at most {MAX_RESERVE} percent")));
        }
        if self.h2_response_buffer.0 < MIN_RESPONSE_BUFFER {
            let size = std::mem::replace(&mut self.h2_response_buffer, default.h2_response_buffer);
            faults.push(("h2ResponseBuffer", format!("`{size}` is less than 64KiB, which one response may take")));
        }
        if !WINDOWS.contains(&self.h2_window.0) {
            let size = std::mem::replace(&mut self.h2_window, default.h2_window);
            faults.push(("h2Window", format!("`{size}` is not a window from 16KiB to 16MiB")));
        }
        faults
    }
}

/// A limit of nothing would refuse everybody.
fn positive<T: PartialEq>(field: &'static str, value: &mut T, nothing: T, default: T, faults: &mut Vec<Fault>) {
    if *value == nothing {
        *value = default;
        faults.push((field, "a limit of 0 would refuse every request".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Limits {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        assert_eq!(read("{}"), Limits::default());
        assert_eq!(Limits::default().mend(), Vec::new(), "which is allowed");
        assert_eq!(read(r#"{"hops": 3}"#), Limits { hops: 3, ..Limits::default() });
    }

    #[test]
    fn what_may_not_be_is_the_default_again_and_told() {
        let nothing = r#"{"headers": 0, "headerCount": 0, "uri": 0, "headerTimeout": "0s", "bodyTimeout": "0s",
            "keepAliveTimeout": "0s", "sendTimeout": "0s", "keepAliveRequests": 0, "connections": 0, "requests": 0,
            "h2Streams": 0, "hops": 0, "reserve": 91, "h2ResponseBuffer": "63KiB", "h2Window": "17MiB"}"#;
        let mut limits = read(nothing);
        assert_eq!(limits.mend().len(), 15);
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn no_limit_of_connections_of_a_source_is_asked_for_by_zero() {
        assert_eq!(Limits::default().source_connections(), Some(10_000));
        assert_eq!(read(r#"{"connectionsPerSource": 0}"#).source_connections(), None);
    }
}
