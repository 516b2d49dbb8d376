//! The facts of a client's connection, which travel with it through the engine.
//!
//! Written by the front when a connection is accepted, read by the proxy in every hook, for HTTP/1 and HTTP/2,
//! plain and TLS. The proxy tells it where a request stands, and the front's guard holds the client to its deadlines
//! accordingly. A leaf module: it must not know listeners, snapshots or requests.

mod delegate;
mod stalled;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::protocols::Digest;
use tidegate_plugin::TlsFacts;

use crate::listener::Serves;
pub(crate) use delegate::delegate;
use stalled::Stalled;
pub(crate) use streams::Streams;

/// Bytes a second that a request body must keep on average, once it has been waited for longer than the body timeout.
const MIN_BODY_RATE: u64 = 100;

/// Who is at the other end; IPv4 addresses never in their IPv6 form.
///
/// One address where nobody announces another, which makes it from a [`SocketAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The client: whom the connection was announced for.
    pub peer: SocketAddr,
    /// Who connected, and may have announced somebody else.
    pub socket_peer: SocketAddr,
}

/// Facts of a client's connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// The client: whom the connection was announced for.
    pub peer: SocketAddr,
    /// Who connected.
    pub socket_peer: SocketAddr,
    /// What its listener served when it was accepted.
    pub serves: Serves,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// What the handshake agreed on; `None`: plain HTTP.
    pub tls: Option<TlsFacts>,
    /// When it was accepted, before the TLS handshake.
    pub accepted_at: Instant,
    /// The peer's address as header fields have it, so that it is written once.
    pub peer_field: HeaderValue,
    /// Phase of the current request in the low bits, above them a count of the changes.
    progress: AtomicU64,
    timed_out: AtomicU8,
    is_watched: AtomicBool,
    /// When the head of the upstream's answer must be there, in nanoseconds from `accepted_at`; 0: none is awaited.
    answer_due: AtomicU64,
    is_answer_overdue: AtomicBool,
    /// Counts the requests of HTTP/2, where they are limited.
    streams: Option<Streams>,
    is_h2: AtomicBool,
    stalled: Stalled,
    /// Bytes of the current request; 0: not known.
    request_len: AtomicU64,
}

/// While it lives, reading from the connection tells its end only.
#[derive(Debug)]
pub(crate) struct Watched<'c>(&'c ConnectionInfo);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where the current request of an HTTP/1 connection stands, as far as the client must send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A request head is awaited or arriving.
    Head,
    /// The head is here and the client owes nothing.
    Request,
    /// The client sends a body.
    Body,
    /// The request is done; the next may come or not.
    Idle,
    /// The request is done, but not all of its body was read: what comes is the rest of it, then the next request.
    Leftover,
}

/// A phase, and which change of phase led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress(u64);

/// Which deadline a client missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimedOut {
    /// The request head was not complete in time.
    Header,
    /// No further request came on a kept connection.
    Idle,
    /// The request body came too slowly.
    Body,
    /// The response was not read.
    Write,
}

// === impl Announced ===

impl From<SocketAddr> for Announced {
    fn from(socket_peer: SocketAddr) -> Self {
        Self { peer: socket_peer, socket_peer }
    }
}

// === impl ConnectionInfo ===

impl ConnectionInfo {
    /// Makes the facts of a connection that awaits its first request.
    pub(crate) fn new(
        listener: Arc<str>,
        serves: Serves,
        announced: impl Into<Announced>,
        accepted_at: Instant,
        tls: Option<TlsFacts>,
        protocol: Protocol,
    ) -> Self {
        let Announced { peer, socket_peer } = announced.into();
        Self {
            peer,
            socket_peer,
            serves,
            listener,
            tls,
            accepted_at,
            peer_field: address_field(peer.ip().to_canonical()),
            progress: AtomicU64::new(Phase::Head.bits()),
            timed_out: AtomicU8::new(0),
            is_watched: AtomicBool::new(false),
            answer_due: AtomicU64::new(0),
            is_answer_overdue: AtomicBool::new(false),
            streams: None,
            is_h2: AtomicBool::new(protocol == Protocol::Http2),
            stalled: Stalled::default(),
            request_len: AtomicU64::new(0),
        }
    }

    /// Limits the requests of an HTTP/2 connection. HTTP/1 is limited by the engine.
    #[must_use]
    pub(crate) fn with_max_requests(self, limit: u32) -> Self {
        Self { streams: Some(Streams::new(limit)), ..self }
    }

    /// The count of requests of an HTTP/2 connection, where it is limited.
    pub(crate) fn streams(&self) -> Option<&Streams> {
        self.streams.as_ref().filter(|_| self.protocol() == Protocol::Http2)
    }

    /// The facts of the connection that a digest belongs to; `None`: it did not come through the front.
    pub(crate) fn of(digest: &Digest) -> Option<&Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What is spoken on the connection. On a plain one that is HTTP/1 until its first bytes say otherwise.
    pub(crate) fn protocol(&self) -> Protocol {
        if self.is_h2.load(Ordering::Relaxed) { Protocol::Http2 } else { Protocol::Http1 }
    }

    /// Notes that the client began as clients of HTTP/2 do.
    pub(crate) fn speaks_http2(&self) {
        self.is_h2.store(true, Ordering::Relaxed);
    }

    /// Tells that a request's head is here: the header deadline no longer holds. On HTTP/2 it counts the request only.
    pub(crate) fn head_arrived(&self) {
        if let Some(streams) = self.streams() {
            streams.began();
        }
        self.enter(Phase::Request);
    }

    /// Tells that the request has a body: its rate holds from now on, until [`Self::body_arrived`], which must follow
    /// when its end was read. To be told with the head, whoever answers the request. No effect on HTTP/2.
    pub(crate) fn body_expected(&self) {
        self.enter(Phase::Body);
    }

    /// Tells that the body is complete: the client owes nothing until the response is sent. No effect on HTTP/2.
    pub(crate) fn body_arrived(&self) {
        self.enter(Phase::Request);
    }

    /// What waits for the client's reading, on HTTP/2.
    pub(crate) fn stalled(&self) -> &Stalled {
        &self.stalled
    }

    /// Tells how many bytes head and body of the current request are, if that is known before they came.
    pub(crate) fn note_request_len(&self, bytes: Option<u64>) {
        self.request_len.store(bytes.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Bytes of the request that is done, once.
    pub(crate) fn take_request_len(&self) -> Option<u64> {
        Some(self.request_len.swap(0, Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Tells that the request is done: the idle limit holds, then the header deadline of the next request.
    /// On HTTP/2 it counts the request only.
    pub(crate) fn request_done(&self) {
        if let Some(streams) = self.streams() {
            streams.ended();
        }
        self.answer_arrived();
        let body_is_missing = self.progress().phase() == Phase::Body;
        self.enter(if body_is_missing { Phase::Leftover } else { Phase::Idle });
    }

    /// Tells that the whole head of an upstream's answer must be there then, and that until [`Self::answer_arrived`]
    /// nothing the client sends is wanted. No effect on HTTP/2.
    pub(crate) fn answer_expected(&self, by: Instant) {
        if self.protocol() == Protocol::Http1 {
            let nanos = by.saturating_duration_since(self.accepted_at).as_nanos();
            self.answer_due.store(u64::try_from(nanos).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
    }

    /// Tells that no head of an answer is awaited any more.
    pub(crate) fn answer_arrived(&self) {
        self.answer_due.store(0, Ordering::Relaxed);
    }

    /// When the head of the upstream's answer must be there, while it is awaited.
    pub(crate) fn answer_due(&self) -> Option<Instant> {
        match self.answer_due.load(Ordering::Relaxed) {
            0 => None,
            nanos => self.accepted_at.checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// Notes that it was not there in time.
    pub(crate) fn note_overdue_answer(&self) {
        self.is_answer_overdue.store(true, Ordering::Relaxed);
    }

    /// Whether an upstream's answer was not there in time: the connection ends with that.
    pub(crate) fn is_answer_overdue(&self) -> bool {
        self.is_answer_overdue.load(Ordering::Relaxed)
    }

    /// From now on, and until what is returned is dropped, reading gives no bytes and no deadline, but the end when the
    /// client closes or cuts the connection. For HTTP/1: bytes that come meanwhile are read afterwards.
    pub(crate) fn watch(&self) -> Watched<'_> {
        self.is_watched.store(true, Ordering::Relaxed);
        Watched(self)
    }

    /// Whether only the end is to be read.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Which deadline the client missed, if it did.
    pub(crate) fn timed_out(&self) -> Option<TimedOut> {
        TimedOut::ALL.iter().copied().find(|reason| *reason as u8 + 1 == self.timed_out.load(Ordering::Relaxed))
    }

    /// Where the current request stands.
    pub(crate) fn progress(&self) -> Progress {
        Progress(self.progress.load(Ordering::Acquire))
    }

    /// Notes that the first byte of a further request came.
    pub(crate) fn head_began(&self) {
        self.enter(Phase::Head);
    }

    /// Notes the deadline that the client missed; the first one stays.
    pub(crate) fn note_timeout(&self, reason: TimedOut) {
        let _first_stays = self.timed_out.compare_exchange(0, reason as u8 + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn enter(&self, phase: Phase) {
        // The requests of an HTTP/2 connection overlap, so no phase holds for all of them.
        if self.protocol() == Protocol::Http2 {
            return;
        }
        let changes = self.progress.load(Ordering::Relaxed) >> Phase::BITS;
        let changed = (changes.wrapping_add(1) << Phase::BITS) | phase.bits();
        // One task at a time drives an HTTP/1 connection, so nothing is written between load and store.
        self.progress.store(changed, Ordering::Release);
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::Relaxed);
    }
}

/// How long a body may be waited for in all when so many bytes of it came.
pub(crate) fn body_time(bytes: u64, timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(bytes.saturating_mul(1000) / MIN_BODY_RATE))
}

/// An address as a header field's value.
pub(crate) fn address_field(address: IpAddr) -> HeaderValue {
    // The text of an address has no byte that a value could not have.
    HeaderValue::from_str(&address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

// === impl Phase ===

impl Phase {
    const BITS: u32 = 3;

    fn bits(self) -> u64 {
        match self {
            Self::Head => 0,
            Self::Request => 1,
            Self::Body => 2,
            Self::Idle => 3,
            Self::Leftover => 4,
        }
    }
}

// === impl Progress ===

impl Progress {
    /// The phase.
    pub(crate) fn phase(self) -> Phase {
        match self.0 & ((1 << Phase::BITS) - 1) {
            0 => Phase::Head,
            1 => Phase::Request,
            2 => Phase::Body,
            3 => Phase::Idle,
            _ => Phase::Leftover,
        }
    }
}

// === impl TimedOut ===

impl TimedOut {
    /// Every reason, in declared order.
    pub(crate) const ALL: [Self; 4] = [Self::Header, Self::Idle, Self::Body, Self::Write];

    /// The reason as it stands in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Idle => "idle",
            Self::Body => "body",
            Self::Write => "write",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(protocol: Protocol) -> ConnectionInfo {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        ConnectionInfo::new("http".into(), Serves::Common, address, Instant::now(), None, protocol)
    }

    #[test]
    fn a_request_goes_through_its_phases() {
        let info = info(Protocol::Http1);
        assert_eq!(info.progress().phase(), Phase::Head);
        info.head_arrived();
        assert_eq!(info.progress().phase(), Phase::Request);
        info.body_expected();
        assert_eq!(info.progress().phase(), Phase::Body);
        info.body_arrived();
        assert_eq!(info.progress().phase(), Phase::Request);
        info.request_done();
        assert_eq!(info.progress().phase(), Phase::Idle);
        info.head_began();
        assert_eq!(info.progress().phase(), Phase::Head);
    }

    #[test]
    fn a_request_that_ends_before_its_body_leaves_the_rest_of_it() {
        let info = info(Protocol::Http1);
        info.head_arrived();
        info.body_expected();
        info.request_done();
        assert_eq!(info.progress().phase(), Phase::Leftover);
        info.head_arrived();
        info.request_done();
        assert_eq!(info.progress().phase(), Phase::Idle);
    }

    #[test]
    fn entering_the_same_phase_again_is_a_change() {
        let info = info(Protocol::Http1);
        info.request_done();
        let before = info.progress();
        info.head_arrived();
        info.request_done();
        assert_ne!(info.progress(), before, "a further request must restart the idle limit");
    }

    #[test]
    fn requests_of_http2_do_not_move_the_connection() {
        let info = info(Protocol::Http2);
        let before = info.progress();
        info.head_arrived();
        info.request_done();
        assert_eq!(info.progress(), before);
    }

    #[test]
    fn the_first_missed_deadline_stays() {
        let info = info(Protocol::Http1);
        assert_eq!(info.timed_out(), None);
        info.note_timeout(TimedOut::Body);
        info.note_timeout(TimedOut::Write);
        assert_eq!(info.timed_out(), Some(TimedOut::Body));
    }
}
