//! Which deadline holds for a client: pure arithmetic over instants, and the one timer that a direction needs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::head::{Excess, Head, HeadBytes};
use crate::connection::{ConnectionInfo, Phase, Progress, Protocol, TimedOut, body_time};

/// Bytes after which an HTTP/2 client has proved itself: the preface and the head of its first frame
/// (RFC 9113, sections 3.4 and 4.1).
const H2_OPENING_BYTES: u64 = 24 + 9;

/// The waits of a connection, copied from the edge settings when it is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
    pub(super) write: Duration,
    pub(super) head_bytes: HeadBytes,
    /// Streams of an HTTP/2 connection at once.
    pub(super) h2_streams: u32,
}

/// What the client must send, and how long it has had for it.
#[derive(Debug)]
pub(super) struct ReadClock {
    progress: Progress,
    since: Instant,
    /// Bytes that came in this phase.
    bytes: u64,
    /// Time spent waiting for bytes of a body, up to `waiting_since`.
    waited: Duration,
    waiting_since: Option<Instant>,
    head: Head,
}

/// A timer that is touched only when something waits, and moved only when it fires too early.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Armed>);

#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    waker: Waker,
}

// === impl ReadClock ===

impl ReadClock {
    pub(super) fn new(info: &ConnectionInfo, now: Instant) -> Self {
        Self {
            progress: info.progress(),
            since: now,
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            head: Head::default(),
        }
    }

    /// Notes bytes that came; the first ones of a further request begin its head.
    pub(super) fn bytes_came(&mut self, info: &ConnectionInfo, bytes: &[u8], now: impl Fn() -> Instant) {
        let is_between = matches!(info.progress().phase(), Phase::Idle | Phase::Request);
        let begins = is_between && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if begins && info.progress().phase() == Phase::Idle {
            info.head_began();
        }
        self.follow(info, &now);
        match info.protocol() {
            Protocol::Http1 if self.progress.phase() == Phase::Head => self.head.lines_came(self.bytes, bytes),
            Protocol::Http1 => {}
            Protocol::Http2 => self.head.frames_came(bytes),
        }
        // Empty lines between requests are nobody's head (RFC 9112, section 2.2).
        if begins || !is_between {
            self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        }
        if let Some(since) = self.waiting_since.take() {
            self.waited += now().saturating_duration_since(since);
        }
    }

    /// The client has turned out to speak HTTP/2: counts what came anew, from when the connection began.
    pub(super) fn speaks_http2(&mut self, info: &ConnectionInfo, came: &[u8]) {
        *self = Self::new(info, self.since);
        let since = self.since;
        self.bytes_came(info, came, || since);
    }

    /// When the wait that begins or goes on now must end, and what was missed then; `None`: no deadline holds.
    pub(super) fn deadline(
        &mut self,
        info: &ConnectionInfo,
        waits: &Waits,
        now: impl Fn() -> Instant,
    ) -> Option<(Instant, TimedOut)> {
        self.follow(info, &now);
        match (info.protocol(), self.progress.phase()) {
            (Protocol::Http2, _) if self.bytes >= H2_OPENING_BYTES => {
                Some((self.head.waiting_since(now)? + waits.header, TimedOut::Header))
            }
            (Protocol::Http2, _) | (Protocol::Http1, Phase::Head) => {
                Some((self.since + waits.header, TimedOut::Header))
            }
            (Protocol::Http1, Phase::Idle) => Some((self.since + waits.idle, TimedOut::Idle)),
            // Where the rest of the body ends cannot be seen from here; a head follows it within the same time.
            (Protocol::Http1, Phase::Leftover) => Some((self.since + waits.header, TimedOut::Body)),
            (Protocol::Http1, Phase::Request) => None,
            (Protocol::Http1, Phase::Body) => {
                let waiting_since = *self.waiting_since.get_or_insert_with(now);
                let left = body_time(self.bytes, waits.body).saturating_sub(self.waited);
                Some((waiting_since + left, TimedOut::Body))
            }
        }
    }

    /// What an HTTP/1 head that is still arriving has too much of.
    pub(super) fn excess(&self, info: &ConnectionInfo, limits: &HeadBytes) -> Option<Excess> {
        let is_whole = info.protocol() == Protocol::Http2 || info.progress() != self.progress;
        // Looked at before each read, so what is cheap and nearly always true goes first.
        if self.bytes <= limits.target.min(limits.fields) || is_whole || self.progress.phase() != Phase::Head {
            return None;
        }
        self.head.excess(self.bytes, limits)
    }

    /// Whether an HTTP/1 head is arriving that has more lines than the engine reads.
    pub(super) fn has_too_many_lines(&self, info: &ConnectionInfo) -> bool {
        self.head.has_too_many_lines() && self.has_partial_head(info)
    }

    /// Since when this phase is, and the bytes that came in it.
    pub(super) fn so_far(&self) -> (Instant, u64) {
        (self.since, self.bytes)
    }

    /// Whether part of a request head came on HTTP/1 and the rest did not.
    pub(super) fn has_partial_head(&self, info: &ConnectionInfo) -> bool {
        let here = info.progress();
        info.protocol() == Protocol::Http1 && here == self.progress && here.phase() == Phase::Head && self.bytes > 0
    }

    /// Starts anew when the proxy has moved on.
    fn follow(&mut self, info: &ConnectionInfo, now: &impl Fn() -> Instant) {
        let progress = info.progress();
        if progress == self.progress {
            return;
        }
        // What came while the client owed nothing began its next request.
        let came_ahead = self.progress.phase() == Phase::Request && progress.phase() == Phase::Idle;
        let bytes = if came_ahead { self.bytes } else { 0 };
        if bytes > 0 {
            info.head_began();
        }
        let progress = info.progress();
        // No deadline holds while the client owes nothing, so that the time need not be known.
        let since = if progress.phase() == Phase::Request { self.since } else { now() };
        let head = if bytes > 0 { self.head } else { Head::default() };
        *self = Self { progress, since, bytes, waited: Duration::ZERO, waiting_since: None, head };
    }
}

// === impl Timer ===

impl Timer {
    /// Ready when the deadline has passed; otherwise the task is woken for it.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let Some(armed) = &mut self.0 else {
            let armed = self.0.insert(Armed { sleep: Box::pin(sleep_until(deadline)), waker: cx.waker().clone() });
            return armed.poll(deadline, cx);
        };
        if armed.will_wake(deadline, cx) {
            return Poll::Pending;
        }
        armed.poll(deadline, cx)
    }
}

impl Armed {
    /// Whether this task will be woken in time as it is; the usual case, in which the timer need not be touched.
    fn will_wake(&self, deadline: Instant, cx: &Context<'_>) -> bool {
        !self.sleep.is_elapsed() && self.sleep.deadline() <= deadline && self.waker.will_wake(cx.waker())
    }

    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.clone_from(cx.waker());
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Serves;

    const WAITS: Waits = Waits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(20),
        body: Duration::from_secs(30),
        write: Duration::from_secs(40),
        head_bytes: HeadBytes { target: 1000, fields: 2000 },
        h2_streams: 100,
    };

    fn info(protocol: Protocol) -> ConnectionInfo {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        ConnectionInfo::new("http".into(), Serves::Common, address, std::time::Instant::now(), None, protocol)
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_head_has_one_deadline_however_its_bytes_come() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        for second in 0..9 {
            let due = clock.deadline(&info, &WAITS, || after(start, second));
            assert_eq!(due, Some((after(start, 10), TimedOut::Header)));
            clock.bytes_came(&info, &[b'a'; 1], || after(start, second));
        }
        assert!(clock.has_partial_head(&info));
    }

    #[test]
    fn the_idle_limit_holds_until_the_next_head_begins() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        info.head_arrived();
        assert_eq!(clock.deadline(&info, &WAITS, || after(start, 1)), None, "the client owes nothing");
        assert!(!clock.has_partial_head(&info));
        info.request_done();
        let idle = clock.deadline(&info, &WAITS, || after(start, 5));
        assert_eq!(idle, Some((after(start, 25), TimedOut::Idle)));
        clock.bytes_came(&info, &[b'a'; 1], || after(start, 15));
        let head = clock.deadline(&info, &WAITS, || after(start, 16));
        assert_eq!(head, Some((after(start, 25), TimedOut::Header)));
        assert_eq!(info.progress().phase(), Phase::Head);
    }

    #[test]
    fn what_comes_during_a_request_begins_the_next_one() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        info.head_arrived();
        clock.bytes_came(&info, b"G", || after(start, 1));
        assert_eq!(clock.deadline(&info, &WAITS, || after(start, 2)), None, "it waits for the answer before");
        info.request_done();
        let head = clock.deadline(&info, &WAITS, || after(start, 5));
        assert_eq!(head, Some((after(start, 15), TimedOut::Header)));
        assert!(clock.has_partial_head(&info));
    }

    #[test]
    fn empty_lines_behind_a_request_begin_no_other() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        info.head_arrived();
        clock.bytes_came(&info, b"\r", || after(start, 1));
        info.request_done();
        let idle = Some((after(start, 25), TimedOut::Idle));
        assert_eq!(clock.deadline(&info, &WAITS, || after(start, 5)), idle);
        clock.bytes_came(&info, b"\n\r\n", || after(start, 6));
        assert_eq!(clock.deadline(&info, &WAITS, || after(start, 7)), idle, "nor is the idle limit put off");
        assert!(!clock.has_partial_head(&info));
    }

    #[test]
    fn a_body_must_keep_its_rate_over_the_time_waited() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        info.head_arrived();
        info.body_expected();
        assert_eq!(clock.deadline(&info, &WAITS, || start), Some((after(start, 30), TimedOut::Body)));
        clock.bytes_came(&info, &[b'a'; 4000], || after(start, 10));
        // Ten seconds pass in which nobody wants bytes: they are not the client's.
        let due = clock.deadline(&info, &WAITS, || after(start, 20));
        assert_eq!(due, Some((after(start, 20 + 40 - 10), TimedOut::Body)));
        clock.bytes_came(&info, &[b'a'; 1], || after(start, 49));
        let due = clock.deadline(&info, &WAITS, || after(start, 49)).map(|(due, _)| due - start);
        assert_eq!(due, Some(Duration::from_millis(49_000 + 40_010 - 39_000)));
    }

    #[test]
    fn the_rest_of_a_body_that_nobody_wanted_is_no_request_head() {
        let (info, start) = (info(Protocol::Http1), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        info.head_arrived();
        info.body_expected();
        info.request_done();
        clock.bytes_came(&info, &[b'a'; 5000], || start);
        assert_eq!(clock.deadline(&info, &WAITS, || after(start, 5)), Some((after(start, 10), TimedOut::Body)));
        assert!(!clock.has_partial_head(&info));
    }

    #[test]
    fn an_http2_client_has_the_header_deadline_for_its_opening_only() {
        let (info, start) = (info(Protocol::Http2), Instant::now());
        let mut clock = ReadClock::new(&info, start);
        clock.bytes_came(&info, &[b'a'; 24], || start);
        assert_eq!(clock.deadline(&info, &WAITS, || start), Some((after(start, 10), TimedOut::Header)));
        clock.bytes_came(&info, &[b'a'; 9], || start);
        assert_eq!(clock.deadline(&info, &WAITS, || start), None);
        assert!(!clock.has_partial_head(&info));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_fires_too_early_is_moved() {
        let start = Instant::now();
        let mut timer = Timer::default();
        std::future::poll_fn(|cx| {
            assert!(timer.poll(after(start, 1), cx).is_pending());
            Poll::Ready(())
        })
        .await;
        std::future::poll_fn(|cx| timer.poll(after(start, 9), cx)).await;
        assert!(Instant::now() >= after(start, 9));
        std::future::poll_fn(|cx| timer.poll(after(start, 9), cx)).await;
    }
}
