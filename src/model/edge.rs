//! What holds for every request, whichever route it takes.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// Settings of the edge: trust, limits and headers of tidegate's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Value of `Server` when the upstream sends none; `None`: none is added.
    pub server_header: Option<Arc<str>>,
    /// Which forwarded headers upstreams get.
    pub forwarded: ForwardedHeader,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Header fields of a request.
    pub max_header_count: usize,
    /// Bytes of a request target.
    pub max_uri_bytes: usize,
    /// Time for a whole request head to arrive, from its first byte or the connection's start.
    pub header_timeout: Duration,
    /// Longest silence inside a request body.
    pub body_timeout: Duration,
    /// Longest time that an idle kept connection stays open.
    pub keep_alive_timeout: Duration,
    /// Longest time that a client may leave response bytes unread.
    pub send_timeout: Duration,
    /// Requests on one HTTP/1 connection; `None`: unlimited.
    pub keep_alive_requests: Option<u32>,
    /// Connections open at once, all listeners together; more are closed on accept.
    pub max_connections: usize,
    /// Requests under way at upstreams at once, all upstreams together; more are answered 503.
    pub max_requests: usize,
    /// Percent of the descriptors, connections and requests that are free which no upstream gets.
    pub reserve: usize,
    /// Connections open at once of one IPv4 address or IPv6 /64 network; `None`: unlimited.
    pub max_source_connections: Option<usize>,
    /// Bytes of memory near which new work is refused; 0: never; `None`: what control groups and machine allow.
    pub memory: Option<u64>,
    /// Bytes of answers that wait for the reader of one HTTP/2 connection before further answers have to.
    pub h2_stalled: u64,
    /// Streams at once on an HTTP/2 connection.
    pub h2_max_streams: u32,
    /// Bytes that may wait on one HTTP/2 stream, of clients and of upstreams.
    pub h2_window: u32,
    /// Whether HTTP/1 peers get header names as the other side spelled them, not in lower case.
    pub preserve_header_case: bool,
    /// Which fields claim something about the client, besides and without the known ones.
    pub identity_headers: IdentityHeaders,
    /// The name in `CDN-Loop` (RFC 8586), a token or a host with or without a port.
    pub loop_id: Arc<str>,
    /// How often one request may come by.
    pub max_hops: u32,
}

/// Names of fields, in which a `*` at the end stands for all that begin so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityHeaders {
    /// Those that claim something about the client besides the known ones.
    pub add: Vec<Arc<str>>,
    /// Those that any client may send.
    pub pass: Vec<Arc<str>>,
}

/// Which headers tell upstreams about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardedHeader {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-IP`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub rfc7239: bool,
    /// `X-Request-ID`.
    pub request_id: bool,
}

// === impl Edge ===

impl Default for Edge {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            server_header: Some("tidegate".into()),
            forwarded: ForwardedHeader { x_forwarded: true, rfc7239: false, request_id: true },
            max_header_bytes: 64 * 1024,
            max_header_count: 200,
            max_uri_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            keep_alive_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            keep_alive_requests: None,
            max_connections: 100_000,
            max_requests: 100_000,
            reserve: 25,
            max_source_connections: Some(10_000),
            memory: None,
            h2_stalled: 4 << 20,
            h2_max_streams: 100,
            h2_window: 64 * 1024,
            preserve_header_case: false,
            identity_headers: IdentityHeaders::default(),
            loop_id: "tidegate".into(),
            max_hops: 8,
        }
    }
}
