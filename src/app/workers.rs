//! Threads for what plugins do that takes long, hashing passwords for instance.
//!
//! Namespaces of routes, the instances in them and the clients of each take turns by time, so that none of them closes
//! the others' routes by dear work. A piece that would wait too long is refused at once.

mod turns;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{panic, thread};

use tidegate_plugin::{Blocking, Ticket, Turn, Work, Workers};

use self::turns::{Cost, Fifo, Line, Micros, Piece, Round};

/// Longest wait that a piece is taken for. Whoever waits for a page longer than that tries again.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Estimates may be wrong: what has waited for so long is refused when its turn comes.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Pieces of one instance that may wait, however cheap they are: each holds some hundred bytes.
const MAX_PIECES: u64 = 1024;

/// What a piece of an instance is thought to take before one has been measured, in microseconds.
const UNKNOWN: Micros = 50_000;

/// The least that a piece is thought to take: handing it over has its price too.
const LEAST: Micros = 50;

/// Thread pool for blocking jobs. Its threads end when the pool and all its lanes are dropped.
pub(super) struct Pool {
    desk: Arc<Desk>,
}

/// Where work is handed over.
pub(super) struct Desk {
    queue: Mutex<Queue>,
    comes: Condvar,
    meters: Mutex<Vec<Weak<Meter>>>,
    threads: u64,
}

type Namespaces = Round<Arc<str>, Instances>;
type Instances = Round<u64, Clients>;
type Clients = Round<IpAddr, Fifo<Load>>;

#[derive(Default)]
struct Queue {
    line: Namespaces,
    next: Ticket,
    /// How many pieces are worked on, and what they are expected to take in all.
    busy: u64,
    under_way: Micros,
    has_ended: bool,
}

/// The work of one plugin instance.
struct Lane {
    id: u64,
    meter: Arc<Meter>,
    /// Keeps the threads.
    pool: Arc<Pool>,
}

/// Job counters and times of one plugin instance.
#[derive(Debug)]
pub(super) struct Meter {
    /// Name of the instance.
    pub(super) name: Arc<str>,
    /// Pieces that wait or are worked on.
    pub(super) waiting: AtomicU64,
    /// Pieces that were done.
    pub(super) done: AtomicU64,
    /// Pieces that were refused because they would have waited, or had waited, for too long.
    pub(super) refused: AtomicU64,
    /// Pieces that were left because nobody awaited them any more.
    pub(super) left: AtomicU64,
    /// Microseconds that pieces waited for their turn.
    pub(super) wait_us: AtomicU64,
    /// Microseconds that pieces took.
    pub(super) busy_us: AtomicU64,
    /// What a piece is expected to take, in microseconds.
    cost_us: AtomicU64,
    is_measured: AtomicBool,
}

/// A queued job.
struct Load {
    work: Work,
    meter: Arc<Meter>,
    since: Instant,
}

// === impl Pool ===

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// None can be started.
    pub(super) fn start(threads: usize) -> std::io::Result<Arc<Self>> {
        let threads = threads.max(1);
        let desk = Arc::new(Desk {
            queue: Mutex::default(),
            comes: Condvar::new(),
            meters: Mutex::default(),
            threads: threads as u64,
        });
        let pool = Arc::new(Self { desk: desk.clone() });
        for _ in 0..threads {
            let desk = desk.clone();
            thread::Builder::new().name("plugin-work".into()).spawn(move || desk.serve())?;
        }
        Ok(pool)
    }

    /// What a plugin instance of this name hands its work to.
    pub(super) fn lane(self: &Arc<Self>, name: &str) -> Blocking {
        let meter = Arc::new(Meter::new(name));
        let mut meters = self.desk.meters.lock().unwrap_or_else(PoisonError::into_inner);
        // Once in a while, so that many instances do not look at each other each time.
        if meters.len() == meters.capacity() {
            meters.retain(|meter| meter.strong_count() > 0);
        }
        meters.push(Arc::downgrade(&meter));
        drop(meters);
        let id = self.desk.queue().ticket();
        Blocking::new(Arc::new(Lane { id, meter, pool: Arc::clone(self) }))
    }

    /// What is told about them.
    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.desk.queue().has_ended = true;
        self.desk.comes.notify_all();
    }
}

// === impl Desk ===

impl Desk {
    /// What is measured of the instances that have lanes.
    pub(super) fn meters(&self) -> Vec<Arc<Meter>> {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.iter().filter_map(Weak::upgrade).collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while let Some((load, expected)) = self.next() {
            load.settle();
            let mut queue = self.queue();
            queue.busy -= 1;
            queue.under_way -= expected;
        }
    }

    /// Waits for the next piece; `None`: no more will come.
    fn next(&self) -> Option<(Load, Micros)> {
        let mut queue = self.queue();
        loop {
            if queue.has_ended {
                return None;
            }
            if let Some(piece) = queue.line.pop() {
                queue.busy += 1;
                queue.under_way += piece.expected;
                return Some((piece.payload, piece.expected));
            }
            queue = self.comes.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

// === impl Queue ===

impl Queue {
    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }
}

// === impl Lane ===

impl Lane {
    fn place(&self, turn: &Turn) -> (Arc<str>, (u64, (IpAddr, ()))) {
        (turn.namespace.clone(), (self.id, (turn.client, ())))
    }

    /// How long a piece that comes now would wait.
    fn wait(&self, queue: &Queue, turn: &Turn) -> Duration {
        let threads = self.pool.desk.threads;
        if queue.busy < threads {
            return Duration::ZERO;
        }
        Duration::from_micros((queue.line.ahead(self.place(turn)) + queue.under_way) / threads)
    }
}

impl Workers for Lane {
    fn take(&self, turn: &Turn, work: Work) -> Option<Ticket> {
        let mut queue = self.pool.desk.queue();
        if self.meter.waiting.load(Ordering::Relaxed) >= MAX_PIECES || self.wait(&queue, turn) > MAX_WAIT {
            drop(queue);
            self.meter.refused.fetch_add(1, Ordering::Relaxed);
            work.refuse();
            return None;
        }
        let ticket = queue.ticket();
        self.meter.waiting.fetch_add(1, Ordering::Relaxed);
        let payload = Load { work, meter: self.meter.clone(), since: Instant::now() };
        queue.line.push(self.place(turn), Piece { ticket, expected: self.meter.cost(), payload });
        drop(queue);
        self.pool.desk.comes.notify_one();
        Some(ticket)
    }

    fn leave(&self, turn: &Turn, ticket: Ticket) {
        let piece = self.pool.desk.queue().line.take(self.place(turn), ticket);
        if let Some(piece) = piece {
            piece.payload.meter.waiting.fetch_sub(1, Ordering::Relaxed);
            piece.payload.meter.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Meter ===

impl Meter {
    fn new(name: &str) -> Self {
        let zero = AtomicU64::default;
        Self {
            name: name.into(),
            waiting: zero(),
            done: zero(),
            refused: zero(),
            left: zero(),
            wait_us: zero(),
            busy_us: zero(),
            cost_us: AtomicU64::new(UNKNOWN),
            is_measured: AtomicBool::new(false),
        }
    }

    fn cost(&self) -> Micros {
        self.cost_us.load(Ordering::Relaxed).max(LEAST)
    }

    /// Follows dear pieces at once and cheap ones slowly: what is refused in vain comes again, what waits in vain does not.
    fn measure(&self, took: Micros) {
        let before = self.cost_us.load(Ordering::Relaxed);
        let first = !self.is_measured.swap(true, Ordering::Relaxed);
        let next = match first || took > before {
            true => took,
            false => before - (before - took) / 16,
        };
        // Two threads may store at once; either is a fair guess.
        self.cost_us.store(next.min(micros(MAX_WAIT)), Ordering::Relaxed);
        self.busy_us.fetch_add(took, Ordering::Relaxed);
    }
}

// === impl Load ===

impl Load {
    /// Does it, or refuses it where it has waited for too long.
    fn settle(self) {
        let Self { work, meter, since } = self;
        let waited = since.elapsed();
        meter.wait_us.fetch_add(micros(waited), Ordering::Relaxed);
        if waited > GIVE_UP {
            meter.refused.fetch_add(1, Ordering::Relaxed);
            meter.waiting.fetch_sub(1, Ordering::Relaxed);
            return work.refuse();
        }
        let began = Instant::now();
        // A panic ends that piece only; whoever awaits it learns that it was not done.
        let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| work.run()));
        meter.measure(micros(began.elapsed()));
        meter.done.fetch_add(1, Ordering::Relaxed);
        meter.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cost for Load {
    fn cost(&self) -> Micros {
        self.meter.cost()
    }
}

fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
