//! The places of a server: so many connections at once, and so many of one source.
//!
//! Whoever comes when all are taken gets the place of the one that has waited or written longest: who is new is let
//! in, and clients that hold connections only take places from each other. A connection whose answer is being made is
//! never closed for another.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Connections at once.
    pub all: usize,
    /// Connections at once from one address; of IPv6, from one network of 64 bits.
    pub of_source: usize,
}

/// Connection counters of a server, for metrics.
#[derive(Debug, Default)]
pub(crate) struct SeatCounts {
    /// Connections that are open.
    pub open: AtomicUsize,
    /// Closed because all places were taken.
    pub closed_full: AtomicU64,
    /// Closed because one source had too many.
    pub closed_source: AtomicU64,
    /// Closed because there were no descriptors.
    pub closed_descriptors: AtomicU64,
}

/// The connections of a server.
pub(crate) struct Seats {
    places: Places,
    taken: HashMap<Id, Seat>,
    tasks: JoinSet<()>,
    counts: Arc<SeatCounts>,
}

/// A connection.
struct Seat {
    source: IpAddr,
    mark: Arc<Mark>,
    task: AbortHandle,
}

/// Idle or write time of a connection, and whether its response is being rendered.
#[derive(Debug)]
pub(crate) struct Mark {
    begun: Instant,
    /// Microseconds after `begun`.
    since: AtomicU64,
    is_working: AtomicBool,
}

/// A response that is being rendered; over when it is dropped.
pub(crate) struct Working(Arc<Mark>);

// === impl Seats ===

impl Seats {
    pub(crate) fn new(places: Places, counts: Arc<SeatCounts>) -> Self {
        Self { places, taken: HashMap::new(), tasks: JoinSet::new(), counts }
    }

    /// Serves a connection, and closes another one for it where needed. It is dropped where no other can be closed.
    pub(crate) fn seat<F>(&mut self, peer: IpAddr, serve: impl FnOnce(Arc<Mark>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let source = source(peer);
        if !self.make_room(source) {
            return;
        }
        let mark =
            Arc::new(Mark { begun: Instant::now(), since: AtomicU64::new(0), is_working: AtomicBool::new(false) });
        let task = self.tasks.spawn(serve(Arc::clone(&mark)));
        self.taken.insert(task.id(), Seat { source, mark, task });
        self.counts.open.store(self.taken.len(), Ordering::Relaxed);
    }

    /// Waits until a connection has ended; for ever where there is none.
    pub(crate) async fn vacated(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => self.vacate(id),
            Some(Err(error)) => self.vacate(error.id()),
            None => std::future::pending().await,
        }
    }

    /// Closes the one that has waited or written longest, because there are no descriptors.
    pub(crate) fn close_for_descriptors(&mut self) {
        if self.close_longest(|_| true) {
            self.counts.closed_descriptors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets connections end by themselves, for so long; then they are cut.
    pub(crate) async fn end(mut self, deadline: Duration) {
        let _ = timeout(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
        self.counts.open.store(0, Ordering::Relaxed);
    }

    fn make_room(&mut self, source: IpAddr) -> bool {
        let is_of_source = |seat: &Seat| seat.source == source;
        if self.taken.values().filter(|seat| is_of_source(seat)).count() >= self.places.of_source {
            self.counts.closed_source.fetch_add(1, Ordering::Relaxed);
            return self.close_longest(is_of_source);
        }
        if self.taken.len() >= self.places.all {
            self.counts.closed_full.fetch_add(1, Ordering::Relaxed);
            return self.close_longest(|_| true);
        }
        true
    }

    fn close_longest(&mut self, may_close: impl Fn(&Seat) -> bool) -> bool {
        let idle = self.taken.iter().filter(|(_, seat)| may_close(seat) && !seat.mark.is_working());
        let Some(id) = idle.min_by_key(|(_, seat)| seat.mark.since()).map(|(id, _)| *id) else { return false };
        if let Some(seat) = self.taken.get(&id) {
            seat.task.abort();
        }
        self.vacate(id);
        true
    }

    fn vacate(&mut self, id: Id) {
        self.taken.remove(&id);
        self.counts.open.store(self.taken.len(), Ordering::Relaxed);
    }
}

/// Whoever has an IPv6 address has a network of them.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

// === impl Mark, Working ===

impl Mark {
    /// From now on it is not closed for others, until the result is dropped.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        self.is_working.store(true, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    /// It waits from now on.
    pub(crate) fn touch(&self) {
        let since = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
    }

    fn is_working(&self) -> bool {
        self.is_working.load(Ordering::Relaxed)
    }

    fn since(&self) -> Instant {
        self.begun + Duration::from_micros(self.since.load(Ordering::Relaxed))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.touch();
        self.0.is_working.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn seats(all: usize, of_source: usize) -> Seats {
        Seats::new(Places { all, of_source }, Arc::default())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Seats a connection that goes on for ever, and gives its mark.
    fn sit(seats: &mut Seats, last: u8) -> Option<Arc<Mark>> {
        let mut given = None;
        seats.seat(address(last), |mark| {
            given = Some(mark);
            pending()
        });
        given
    }

    fn sources(seats: &Seats) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = seats.taken.values().map(|seat| seat.source).collect();
        all.sort();
        all
    }

    #[tokio::test]
    async fn whoever_comes_gets_the_place_of_the_one_that_waited_longest() {
        let mut seats = seats(2, 2);
        let first = sit(&mut seats, 1).unwrap();
        sit(&mut seats, 2);
        first.touch();
        sit(&mut seats, 3);
        assert_eq!(sources(&seats), [address(1), address(3)], "2 has waited longer than 1, which had an answer");
        sit(&mut seats, 4);
        assert_eq!(sources(&seats), [address(3), address(4)]);
        let counts = Arc::clone(&seats.counts);
        assert_eq!((counts.open.load(Ordering::Relaxed), counts.closed_full.load(Ordering::Relaxed)), (2, 2));
        seats.end(Duration::ZERO).await;
        assert_eq!(counts.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_source_with_all_its_places_loses_one_of_its_own() {
        let mut seats = seats(4, 2);
        sit(&mut seats, 1);
        (0..5).for_each(|_| drop(sit(&mut seats, 2)));
        assert_eq!(sources(&seats), [address(1), address(2), address(2)]);
        assert_eq!(seats.counts.closed_source.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn an_answer_that_is_being_made_is_not_cut_off() {
        let mut seats = seats(1, 1);
        let working = sit(&mut seats, 1).unwrap().work();
        assert!(sit(&mut seats, 2).is_none(), "nobody can be closed");
        assert_eq!(sources(&seats), [address(1)]);
        drop(working);
        assert!(sit(&mut seats, 2).is_some());
    }

    #[tokio::test]
    async fn a_place_is_free_when_its_connection_ends_or_panics() {
        let mut seats = seats(2, 2);
        seats.seat(address(1), |_| async {});
        seats.seat(address(2), |_| async { panic!("as the test wants") });
        seats.vacated().await;
        seats.vacated().await;
        assert!(seats.taken.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let source = |text: &str| source(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), address(1));
    }
}
