//! One request as it ended, and one connection that ended without any: what metrics and logs are made of.
//!
//! The proxy fills it with borrowed parts; nothing here allocates, and nothing outlives the call.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tidegate_plugin::{ReasonCode, RouteFacts, Target, TlsFacts};

use super::metrics::route::RouteMetrics;
use crate::reason::Reason;

/// Record of a completed request.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// When the request's head was complete.
    pub time: SystemTime,
    /// From the request's head to the answer's end.
    pub duration: Duration,
    /// Method as the client sent it.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host as the client sent it; may be empty.
    pub host: &'a str,
    /// Path.
    pub path: &'a str,
    /// Query, without `?`.
    pub query: Option<&'a str>,
    /// Protocol of the client's connection: `HTTP/1.1`.
    pub protocol: &'static str,
    /// Status of the answer; 0 when none could be sent.
    pub status: u16,
    /// Who answered, or why it ended.
    pub reason: Reason,
    /// The matched route.
    pub route: Option<&'a RouteFacts>,
    /// The matched route's counters.
    pub metrics: Option<&'a RouteMetrics>,
    /// The client: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// Referer.
    pub referer: Option<&'a [u8]>,
    /// Bytes received of the client.
    pub request_bytes: u64,
    /// Bytes sent to the client.
    pub response_bytes: u64,
    /// Endpoints tried, in order.
    pub attempts: &'a [Attempt],
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// TLS facts, on TLS connections.
    pub tls: Option<&'a TlsFacts>,
    /// What went wrong, for the operator.
    pub error: Option<&'a str>,
    /// Who the client is, when a plugin has found out.
    pub identity: Option<&'a str>,
    /// The plugin that gave the answer, by name of the instance, and its reason, if a plugin did.
    pub answered_by: Option<(&'a str, Option<ReasonCode>)>,
    /// What the upstream was asked for, where plugins have made it something else.
    pub sent: Option<&'a Target>,
    /// What each plugin of the route took, in the order of the chain; empty when nobody logs.
    pub plugins: &'a [PluginTime<'a>],
}

/// A connection that ended without a request to record: its handshake failed.
#[derive(Clone, Copy, Debug)]
pub struct SessionRecord<'a> {
    /// Time from accept to its end.
    pub duration: Duration,
    /// The client: whom the connection was announced for.
    pub client: SocketAddr,
    /// Who connected.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: &'a str,
    /// Why it ended.
    pub reason: &'static str,
}

/// Time of one plugin in a request, all its hooks together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginTime<'a> {
    /// Name of the instance.
    pub name: &'a str,
    /// Time.
    pub took: Duration,
}

/// An attempt at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint.
    pub address: SocketAddr,
    /// Until the connection stood; none when it never did or was reused.
    pub connect: Option<Duration>,
    /// From the try's start to the answer's head.
    pub header: Option<Duration>,
    /// From the try's start to the answer's end.
    pub response: Option<Duration>,
    /// Whether an idle connection was used again.
    pub is_reused: bool,
    /// How it ended.
    pub outcome: Reason,
}

/// Recorder of completed requests, and of connections that ended without one. Never blocks.
pub trait Recorder: Send + Sync {
    /// Takes one request.
    fn record(&self, record: &RequestRecord<'_>);

    /// Takes one connection without a request.
    fn record_session(&self, session: &SessionRecord<'_>);

    /// Whether somebody reads more of a request than is counted: without, `time`, `user_agent` and `referer` may be
    /// left out.
    fn is_logging(&self) -> bool {
        true
    }

    /// Whether somebody reads how long plugins take. Asked for each request.
    fn is_timing(&self) -> bool {
        true
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// `GET http://shop.example/a?b=c`, answered 200 by the upstream after 12.345 ms, at 2026-11-21T05:30:42.123Z.
    pub(crate) fn record() -> RequestRecord<'static> {
        RequestRecord {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_239_042_123),
            duration: Duration::from_micros(12_345),
            method: "GET",
            scheme: "http",
            host: "shop.example",
            path: "/a",
            query: Some("b=c"),
            protocol: "HTTP/1.1",
            status: 200,
            reason: Reason::Upstream,
            route: None,
            metrics: None,
            client: IpAddr::from([192, 0, 2, 1]),
            peer: SocketAddr::from(([10, 0, 0, 9], 4711)),
            listener: "http",
            request_id: "0123456789abcdef",
            user_agent: None,
            referer: None,
            request_bytes: 120,
            response_bytes: 345,
            attempts: &[],
            upstream: None,
            tls: None,
            error: None,
            identity: None,
            answered_by: None,
            sent: None,
            plugins: &[],
        }
    }
}
