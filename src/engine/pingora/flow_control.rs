//! How much of an endpoint's response is read before the client has taken what was read before.
//!
//! Pingora reads ahead as long as there is room for nine pieces of 64 KiB. A client of HTTP/1 has one response under way;
//! one of HTTP/2 may have a hundred and read none of them. So the streams to HTTP/1 endpoints have flow control, which
//! holds back nothing but what requests of HTTP/2 ask for. There is more in one poll than Pingora shows us: all that is
//! in its queue is taken out of it at once, and shown piece by piece; then it is written before any more is taken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::connection::ConnectionInfo;

/// The room that the engine has for a piece of a body. It has less for what it must have to go on: the rest of a head,
/// of a chunk's head, of trailers.
const PIECE: usize = 64 * 1024;

/// What is counted of all connections.
#[derive(Debug, Default)]
pub struct FlowControlCounts {
    /// Bytes of answers that were read and not taken by clients of HTTP/2.
    pub bytes: AtomicU64,
    /// Reads that had to wait.
    pub waits: AtomicU64,
}

/// What holds back one connection to an endpoint.
#[derive(Debug)]
pub(super) struct FlowControl {
    counts: Arc<FlowControlCounts>,
    /// Whether there is no limit, to be seen at no cost.
    is_open: AtomicBool,
    state: Mutex<State>,
}

/// The same while it belongs to one request.
#[derive(Debug)]
pub(super) struct Held {
    flow: Arc<FlowControl>,
    turn: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Counts whom it belonged to.
    turn: u64,
    client: Option<Arc<ConnectionInfo>>,
    /// Bytes that may wait on the client's connection.
    most: u64,
    /// Bytes that were read since the engine emptied its queue, and those that it took out of it.
    queued: u64,
    in_hand: u64,
    /// Whether the engine wanted to read since it emptied its queue.
    was_asked: bool,
    waker: Option<Waker>,
}

// === impl FlowControl ===

impl FlowControl {
    pub(super) fn new(counts: Arc<FlowControlCounts>) -> Arc<Self> {
        Arc::new(Self { counts, is_open: AtomicBool::new(true), state: Mutex::default() })
    }

    /// Has it belong to a request of that client.
    pub(super) fn hold(self: &Arc<Self>, client: Arc<ConnectionInfo>, most: u64) -> Held {
        let mut state = self.lock();
        self.end(&mut state);
        (state.client, state.most) = (Some(client), most);
        self.is_open.store(false, Ordering::Relaxed);
        Held { flow: Arc::clone(self), turn: state.turn }
    }

    /// Bytes that may be read now into so much room; pending: none until the client has taken some.
    pub(super) fn poll_allowance(&self, room: usize, cx: &mut Context<'_>) -> Poll<usize> {
        if self.is_open.load(Ordering::Relaxed) {
            return Poll::Ready(room);
        }
        let mut state = self.lock();
        state.was_asked = true;
        if room < PIECE {
            return Poll::Ready(room);
        }
        let Some(client) = &state.client else { return Poll::Ready(room) };
        let left = client.stalled().allowance(state.most).saturating_sub(state.queued);
        if left == 0 {
            self.counts.waits.fetch_add(1, Ordering::Relaxed);
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(usize::try_from(left).map_or(room, |left| left.min(room)))
    }

    /// Notes bytes that were read.
    pub(super) fn read(&self, bytes: usize) {
        if self.is_open.load(Ordering::Relaxed) {
            return;
        }
        let (mut state, bytes) = (self.lock(), bytes as u64);
        let Some(client) = &state.client else { return };
        client.stalled().add(bytes);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        state.queued += bytes;
    }

    /// Nobody's any more, and open.
    fn end(&self, state: &mut State) {
        let rest = state.queued + state.in_hand;
        self.counts.bytes.fetch_sub(rest, Ordering::Relaxed);
        if let Some(client) = state.client.take() {
            client.stalled().remove(rest);
        }
        let (turn, waker) = (state.turn.wrapping_add(1), state.waker.take());
        *state = State { turn, ..State::default() };
        self.is_open.store(true, Ordering::Relaxed);
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    /// The engine shows a piece that it took out of its queue. If it is the first of several, the client has taken all
    /// that was shown before.
    pub(super) fn shown(&self) {
        let mut state = self.flow.lock();
        if state.turn != self.turn || !state.was_asked {
            return;
        }
        let taken = state.in_hand;
        (state.in_hand, state.queued, state.was_asked) = (state.queued, 0, false);
        self.flow.counts.bytes.fetch_sub(taken, Ordering::Relaxed);
        if let Some(client) = &state.client {
            client.stalled().remove(taken);
        }
        state.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.flow.lock();
        // The connection may serve another request by now.
        if state.turn == self.turn {
            self.flow.end(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Protocol;
    use crate::listener::Serves;

    fn client() -> Arc<ConnectionInfo> {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        let now = std::time::Instant::now();
        Arc::new(ConnectionInfo::new("https".into(), Serves::Common, address, now, None, Protocol::Http2))
    }

    fn ask(flow: &FlowControl, room: usize) -> Option<usize> {
        match flow.poll_allowance(room, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(bytes) => Some(bytes),
            Poll::Pending => None,
        }
    }

    /// Reads until it holds back; gives how much that was.
    fn fill(flow: &FlowControl) -> usize {
        let mut all = 0;
        while let Some(bytes) = ask(flow, PIECE) {
            flow.read(bytes);
            all += bytes;
        }
        all
    }

    fn fill_of(flow: &Arc<FlowControl>) -> usize {
        fill(flow)
    }

    #[test]
    fn an_answer_that_is_not_taken_is_read_no_further() {
        let (flow, client) = (FlowControl::new(Arc::default()), client());
        assert_eq!(ask(&flow, 9 * PIECE), Some(9 * PIECE), "open while it is nobody's");
        let held = flow.hold(client.clone(), 1 << 30);
        assert_eq!(fill(&flow), PIECE);
        held.shown();
        held.shown();
        assert_eq!(client.stalled().bytes(), PIECE as u64, "it is on its way to the client");
        assert_eq!(fill(&flow), PIECE, "one more may wait in the queue");
        assert_eq!(client.stalled().bytes(), 2 * PIECE as u64);
        held.shown();
        assert_eq!(client.stalled().bytes(), PIECE as u64, "the client has taken the first");
        assert_eq!(ask(&flow, PIECE - 1), Some(PIECE - 1), "what the engine must have to go on");
        drop(held);
        assert_eq!((client.stalled().bytes(), flow.counts.bytes.load(Ordering::Relaxed)), (0, 0));
        assert_eq!(ask(&flow, PIECE), Some(PIECE));
    }

    #[test]
    fn all_streams_of_a_connection_share_what_may_wait() {
        let (client, most) = (client(), 256 * 1024);
        let flows: Vec<_> = (0..100).map(|_| FlowControl::new(Arc::default())).collect();
        let held: Vec<_> = flows.iter().map(|flow| flow.hold(client.clone(), most)).collect();
        for _ in 0..3 {
            let filled: usize = flows.iter().map(fill_of).sum();
            let waiting = client.stalled().bytes();
            assert!(filled > 0 && waiting < most + 100 * 2048, "{filled} read, {waiting} wait");
            held.iter().for_each(Held::shown);
        }
        drop(held);
        assert_eq!(client.stalled().bytes(), 0);
    }

    #[test]
    fn a_request_that_is_over_does_not_touch_the_next_one_of_its_connection() {
        let (flow, client) = (FlowControl::new(Arc::default()), client());
        let old = flow.hold(client.clone(), 1 << 20);
        fill(&flow);
        let new = flow.hold(client.clone(), 1 << 20);
        assert_eq!(client.stalled().bytes(), 0);
        let filled = fill(&flow) as u64;
        old.shown();
        drop(old);
        assert_eq!(client.stalled().bytes(), filled);
        drop(new);
        assert_eq!(client.stalled().bytes(), 0);
    }
}
