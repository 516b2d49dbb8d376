//! How long a client may take for its request's body: silence, and a rate.
//!
//! Pure arithmetic over instants. The guard of an HTTP/1 connection holds the same limits; this is for streams, which
//! the guard cannot see, and for silence that the rate would allow to a client that has sent much.

use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{Protocol, body_time};

/// The guard of an HTTP/1 connection counts what it cuts, so it goes first.
const AFTER_THE_GUARD: Duration = Duration::from_millis(100);

/// What a client has sent of its body, and how long it was waited for.
#[derive(Debug)]
pub(crate) struct Pace {
    timeout: Duration,
    protocol: Protocol,
    bytes: u64,
    /// Time that was waited in all, and since the last byte.
    waited: Duration,
    silent: Duration,
    waiting_since: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new(timeout: Duration, protocol: Protocol) -> Self {
        let (waited, silent) = (Duration::ZERO, Duration::ZERO);
        Self { timeout, protocol, bytes: 0, waited, silent, waiting_since: None }
    }

    /// Until when the wait that begins or goes on now may last. Once the answer has begun, the two are in a dialogue,
    /// which has no rate.
    pub(crate) fn deadline(&mut self, is_answered: bool, now: Instant) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        let silence = self.timeout.saturating_sub(self.silent);
        match self.protocol {
            Protocol::Http1 => since + silence + AFTER_THE_GUARD,
            Protocol::Http2 if is_answered => since + silence,
            Protocol::Http2 => since + silence.min(body_time(self.bytes, self.timeout).saturating_sub(self.waited)),
        }
    }

    /// Notes a piece of the body; an empty one ends no silence.
    pub(crate) fn came(&mut self, count: usize, now: Instant) {
        self.stop(now);
        if count > 0 {
            self.bytes = self.bytes.saturating_add(count as u64);
            self.silent = Duration::ZERO;
        }
    }

    /// Notes that the client took a piece of the answer: in a dialogue, whoever speaks ends the silence. Streams of gRPC
    /// are like that, where a server tells of changes to a client that has nothing more to ask.
    pub(crate) fn answered(&mut self) {
        self.silent = Duration::ZERO;
    }

    /// Notes that nobody wants the body for now: that time is not the client's.
    pub(crate) fn stop(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            let waited = now.saturating_duration_since(since);
            self.waited += waited;
            self.silent += waited;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_ends_with_a_byte_and_not_with_an_empty_piece() {
        let (mut pace, start) = (Pace::new(TIMEOUT, Protocol::Http2), Instant::now());
        assert_eq!(pace.deadline(false, start), after(start, 30));
        pace.came(0, after(start, 10));
        assert_eq!(pace.deadline(false, after(start, 10)), after(start, 30), "nothing came");
        pace.came(10_000, after(start, 20));
        assert_eq!(pace.deadline(false, after(start, 20)), after(start, 50));
    }

    #[test]
    fn a_drip_is_too_slow_until_the_answer_makes_it_a_dialogue() {
        let (mut pace, start) = (Pace::new(TIMEOUT, Protocol::Http2), Instant::now());
        for second in 0..20 {
            pace.deadline(false, after(start, second));
            pace.came(1, after(start, second + 1));
        }
        assert_eq!(pace.deadline(false, after(start, 20)), after(start, 30));
        assert_eq!(pace.deadline(true, after(start, 20)), after(start, 50));
    }

    #[test]
    fn a_piece_of_the_answer_ends_the_silence() {
        let (mut pace, start) = (Pace::new(TIMEOUT, Protocol::Http2), Instant::now());
        for turn in 0..10 {
            let now = after(start, 20 * turn);
            assert_eq!(pace.deadline(true, now), now + TIMEOUT);
            pace.stop(after(start, 20 * turn + 20));
            pace.answered();
        }
        assert_eq!(pace.deadline(true, after(start, 200)), after(start, 230), "and then nobody speaks");
    }

    #[test]
    fn time_in_which_nobody_wants_the_body_is_not_the_client_s() {
        let (mut pace, start) = (Pace::new(TIMEOUT, Protocol::Http2), Instant::now());
        pace.deadline(false, start);
        pace.stop(after(start, 5));
        assert_eq!(pace.deadline(false, after(start, 500)), after(start, 525));
    }

    #[test]
    fn the_guard_of_a_connection_goes_first() {
        let (mut pace, start) = (Pace::new(TIMEOUT, Protocol::Http1), Instant::now());
        assert!(pace.deadline(false, start) > after(start, 30));
        pace.came(1, after(start, 29));
        assert!(pace.deadline(false, after(start, 29)) > after(start, 59), "the rate is the guard's");
    }
}
