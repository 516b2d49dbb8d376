//! Whose turn it is in an exchange with a body, and whether an endpoint has let its turn pass.
//!
//! The engine's read timeout runs from the request's head on, whoever is waited for: it would end an upload whose
//! client pauses. This clock runs only while the client owes nothing. It is looked at when its bell rings: a timer,
//! whose waker puts a message into the engine's own loop, where an error ends the exchange as the engine's would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use std::{future::Future as _, pin::Pin};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::{Error, ErrorType, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::policy::Timeouts;

/// The engine rounds its own timers up, and a piece that it is about to hand over needs a moment.
const LEEWAY: Duration = Duration::from_millis(50);

/// How much later than the client's the engine's own wait for an endpoint ends, so that the client is blamed first.
const AFTER_THE_CLIENT: Duration = Duration::from_millis(250);

/// Who watches an exchange with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    /// Whether it has a clock.
    pub(super) has_clock: bool,
    /// The engine's own read timeout.
    pub(super) read_timeout: Option<Duration>,
}

/// Says who watches an exchange. Between HTTP/1 peers the engine begins both waits anew with each piece: where the
/// client's is the shorter one it always ends first, and a clock would be of no use.
pub(super) fn watch(timeouts: &Timeouts, body_timeout: Duration, client_is_h2: bool, is_h2: bool) -> Watch {
    let read = timeouts.read;
    // Whoever takes nothing is given up by the engine after another wait of `read`, for an answer that says why.
    if !client_is_h2 && !is_h2 && body_timeout <= read && read <= timeouts.send {
        let read_timeout = Some(read.max(body_timeout.saturating_add(AFTER_THE_CLIENT)));
        return Watch { has_clock: false, read_timeout };
    }
    // Longer than whatever the clock allows. Over HTTP/2 it would run from the head to the answer, so there is none.
    let longest = body_timeout.saturating_add(read).saturating_add(timeouts.send).saturating_add(AFTER_THE_CLIENT);
    Watch { has_clock: true, read_timeout: (!is_h2).then_some(longest) }
}

/// Whom an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client, for more of its body.
    Client = 0,
    /// The endpoint, to take what came of the body.
    Taking = 1,
    /// The endpoint, to answer.
    Answering = 2,
}

/// The clock of one exchange. One task runs the exchange; only the bell's timer comes from elsewhere.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    read: Duration,
    send: Duration,
    turn: AtomicU8,
    /// When the turn began, and when the client had taken the last piece of the answer; in nanoseconds from `start`.
    since: AtomicU64,
    answered: AtomicU64,
    /// Where the bell rings; nowhere before the exchange has begun and after the answer is complete.
    rope: ArcSwapOption<mpsc::Sender<Bytes>>,
}

/// Looks at the clock when it rings. What the engine takes for a writer of messages to the client.
pub(super) struct Bell {
    clock: Arc<Clock>,
    timer: Pin<Box<Sleep>>,
    waker: Waker,
    /// The turn that had passed at the last look. The engine may have been busy until then, so it gets one more.
    doubted: Option<Duration>,
}

// === impl Clock ===

impl Clock {
    pub(super) fn new(timeouts: &Timeouts) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            // A look for each shorter time would be all that is done.
            read: timeouts.read.max(LEEWAY),
            send: timeouts.send.max(LEEWAY),
            turn: AtomicU8::new(Turn::Taking as u8),
            since: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            rope: ArcSwapOption::empty(),
        })
    }

    /// Lets the bell ring there.
    pub(super) fn begin(&self, rope: mpsc::Sender<Bytes>) {
        self.rope.store(Some(Arc::new(rope)));
        // It may have rung before there was a place for it.
        if self.start.elapsed() >= self.shortest() {
            self.ring();
        }
    }

    /// The client is waited for.
    pub(super) fn client_owes(&self) {
        self.turn.store(Turn::Client as u8, Ordering::Relaxed);
    }

    /// A piece of the body came.
    pub(super) fn piece_came(&self, now: Instant) {
        self.enter(Turn::Taking, now);
    }

    /// All of the body was handed over, and only the answer is waited for.
    pub(super) fn answer_is_due(&self) {
        if self.turn() != Turn::Answering {
            self.enter(Turn::Answering, Instant::now());
        }
    }

    /// The client has taken pieces of the answer.
    pub(super) fn answered(&self, is_complete: bool) {
        self.answered.store(self.nanos(Instant::now()), Ordering::Relaxed);
        if is_complete {
            // The engine waits for the end of its messages.
            self.rope.store(None);
        }
    }

    fn enter(&self, turn: Turn, now: Instant) {
        self.since.store(self.nanos(now), Ordering::Relaxed);
        self.turn.store(turn as u8, Ordering::Relaxed);
    }

    fn turn(&self) -> Turn {
        let stored = self.turn.load(Ordering::Relaxed);
        [Turn::Client, Turn::Taking].into_iter().find(|turn| *turn as u8 == stored).unwrap_or(Turn::Answering)
    }

    /// When the turn ends, counted from the start; `None`: it is the client's, whose limits are not held here.
    fn due(&self) -> Option<Duration> {
        let since = Duration::from_nanos(self.since.load(Ordering::Relaxed));
        let answered = Duration::from_nanos(self.answered.load(Ordering::Relaxed));
        match self.turn() {
            Turn::Client => None,
            Turn::Taking if answered.is_zero() => Some(since.saturating_add(self.send) + LEEWAY),
            Turn::Taking => Some(since.saturating_add(self.send).max(answered.saturating_add(self.read)) + LEEWAY),
            Turn::Answering => Some(since.max(answered).saturating_add(self.read)),
        }
    }

    /// No turn that begins now ends before.
    fn shortest(&self) -> Duration {
        self.read.min(self.send)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    fn ring(&self) {
        if let Some(rope) = self.rope.load_full() {
            // There is room: one message at a time is under way.
            let _ = rope.try_send(Bytes::new());
        }
    }
}

impl Wake for Clock {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

// === impl Bell ===

impl Bell {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        let waker = Waker::from(clock.clone());
        let timer = Box::pin(sleep_until(clock.start + clock.shortest()));
        let mut bell = Self { clock, timer, waker, doubted: None };
        bell.arm();
        bell
    }

    /// Whether the endpoint has let its turn pass; if not, the bell rings again when it may have.
    fn look(&mut self, now: Instant) -> bool {
        let at = now.saturating_duration_since(self.clock.start);
        let due = self.clock.due();
        let next = match due {
            Some(due) if due <= at && self.doubted == Some(due) => return true,
            Some(due) if due <= at => at + LEEWAY,
            // No turn that begins from now on ends before.
            Some(due) => due.min(at + self.clock.shortest()),
            None => at + self.clock.shortest(),
        };
        self.doubted = due.filter(|due| *due <= at);
        self.timer.as_mut().reset(self.clock.start + next);
        self.arm();
        false
    }

    fn arm(&mut self) {
        if self.timer.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.clock.ring();
        }
    }
}

#[async_trait]
impl CustomMessageWrite for Bell {
    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    async fn write_custom_message(&mut self, _: Bytes) -> Result<()> {
        match self.look(Instant::now()) {
            true => Err(Error::explain(ErrorType::ReadTimedout, "the endpoint owes its answer").into_up()),
            false => Ok(()),
        }
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Duration = Duration::from_secs(2);
    const SEND: Duration = Duration::from_secs(5);

    fn bell() -> (Arc<Clock>, Bell, mpsc::Receiver<Bytes>) {
        let timeouts = Timeouts { read: READ, send: SEND, ..Timeouts::default() };
        let clock = Clock::new(&timeouts);
        let bell = Bell::new(clock.clone());
        let (rope, rings) = mpsc::channel(1);
        clock.begin(rope);
        (clock, bell, rings)
    }

    /// Looks whenever the bell rings, until the endpoint's turn has passed; gives how long that took.
    async fn passed(bell: &mut Bell, rings: &mut mpsc::Receiver<Bytes>) -> Duration {
        let start = Instant::now();
        while let Some(ring) = rings.recv().await {
            if bell.write_custom_message(ring).await.is_err() {
                return start.elapsed();
            }
        }
        panic!("it never rang");
    }

    fn is_about(took: Duration, expected: Duration) -> bool {
        took >= expected && took < expected + 4 * LEEWAY
    }

    #[test]
    fn a_clock_is_there_where_the_engine_would_blame_the_wrong_one() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { read: READ, send: SEND, ..Timeouts::default() };
        let of = |body_timeout, client_is_h2, is_h2| watch(&timeouts, body_timeout, client_is_h2, is_h2);
        let engine = |read_timeout| Watch { has_clock: false, read_timeout: Some(read_timeout) };
        assert_eq!(of(second, false, false), engine(READ));
        assert_eq!(of(READ, false, false), engine(READ + AFTER_THE_CLIENT));
        for (body_timeout, client_is_h2) in [(READ * 2, false), (second, true)] {
            let watch = of(body_timeout, client_is_h2, false);
            assert!(watch.has_clock && watch.read_timeout > Some(body_timeout + READ), "{watch:?}");
        }
        for client_is_h2 in [false, true] {
            assert_eq!(of(second, client_is_h2, true), Watch { has_clock: true, read_timeout: None });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_from_the_end_of_the_body_on() {
        let (clock, mut bell, mut rings) = bell();
        clock.client_owes();
        let watching = passed(&mut bell, &mut rings);
        let pausing = async {
            tokio::time::sleep(READ * 10).await;
            clock.piece_came(Instant::now());
            clock.answer_is_due();
        };
        let (took, ()) = tokio::join!(watching, pausing);
        assert!(is_about(took, READ * 11), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_taken_is_the_business_of_the_other_wait() {
        let (clock, mut bell, mut rings) = bell();
        clock.client_owes();
        clock.piece_came(Instant::now());
        let took = passed(&mut bell, &mut rings).await;
        assert!(is_about(took, SEND + LEEWAY), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_of_an_answer_begins_the_wait_anew() {
        let (clock, mut bell, mut rings) = bell();
        clock.answer_is_due();
        let watching = passed(&mut bell, &mut rings);
        let answering = async {
            for _ in 0..3 {
                tokio::time::sleep(READ * 3 / 4).await;
                clock.answered(false);
            }
        };
        let (took, ()) = tokio::join!(watching, answering);
        assert!(is_about(took, READ * 9 / 4 + READ), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_passed_while_the_engine_was_busy_gets_another_look() {
        let (clock, mut bell, mut rings) = bell();
        clock.answer_is_due();
        tokio::time::sleep(READ * 5).await;
        assert!(!bell.look(Instant::now()), "the answer may be there, unread");
        clock.answered(false);
        let took = passed(&mut bell, &mut rings).await;
        assert!(is_about(took, READ), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_bell_s_rope_goes_with_the_answer_s_end() {
        let (clock, _bell, mut rings) = bell();
        clock.answered(true);
        assert_eq!(rings.recv().await, None, "the engine waits for that");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_before_there_is_a_rope_is_not_lost() {
        let (clock, mut bell, _) = bell();
        clock.answered(true);
        tokio::time::sleep(READ * 2).await;
        let (rope, mut rings) = mpsc::channel(1);
        clock.begin(rope);
        assert!(bell.write_custom_message(rings.recv().await.unwrap()).await.is_ok());
    }
}
