//! Work that takes long, beside the threads that serve.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::RequestContext;

/// Runs what would hold up other requests: hashing a password, say. Made by the proxy, one for each instance, see
/// [`crate::BuildContext::blocking`].
#[derive(Clone)]
pub struct Blocking(Arc<dyn Workers>);

/// Threads that take the work of one plugin instance; implemented by the proxy.
pub trait Workers: Send + Sync {
    /// Takes a piece of work and gives it a number, or refuses it because it would wait too long. What is not taken is
    /// told so by [`Work::refuse`], and work that is dropped has not been done.
    fn take(&self, turn: &Turn, work: Work) -> Option<Ticket>;

    /// Nobody awaits that piece any more; it need not be done if it has not begun.
    fn leave(&self, turn: &Turn, ticket: Ticket);
}

/// Whose turn a piece of work takes: those of one namespace, and in it those of one client, wait for each other first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Namespace of the request's route; empty for routes of the conf.
    pub namespace: Arc<str>,
    /// Network of the client: its address, or the /64 of an IPv6 one.
    pub client: IpAddr,
}

/// The number of a piece of work that waits.
pub type Ticket = u64;

/// A piece of work.
pub struct Work(Box<dyn FnOnce(bool) + Send>);

/// Why work was not done: a plugin that guards something must then refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// It would have waited too long.
    #[error("the work would have waited too long")]
    Refused,
    /// It panicked, or the proxy is about to end.
    #[error("the work was not done")]
    Lost,
}

/// The result of work that is done elsewhere. Dropping it leaves the work, unless that has begun.
#[must_use = "work that nobody awaits is left"]
pub struct Waiting<T> {
    slot: Arc<Mutex<Slot<T>>>,
    workers: Arc<dyn Workers>,
    turn: Turn,
    /// None once there is a result.
    ticket: Option<Ticket>,
}

/// A thread for each piece of work: for tests.
struct Threads;

/// Where a result is awaited.
struct Slot<T> {
    result: Option<Result<T, NotDone>>,
    waker: Option<Waker>,
}

/// Says that the work was not done unless it is told otherwise.
struct Promise<T>(Arc<Mutex<Slot<T>>>);

// === impl Blocking ===

impl Blocking {
    /// Work goes to these.
    pub fn new(workers: Arc<dyn Workers>) -> Self {
        Self(workers)
    }

    /// Does the work elsewhere and gives its result. Namespaces, instances and clients take turns, each with the same
    /// share of time. Work is left when its result is awaited no more, as when the client has gone.
    ///
    /// # Errors
    /// The result is an error when the work would have waited too long, or panicked.
    pub fn run<T: Send + 'static>(
        &self,
        cx: &RequestContext<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Waiting<T> {
        let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
        let promise = Promise(slot.clone());
        let turn = Turn { namespace: cx.route().namespace.clone(), client: network(cx.client_addr()) };
        let work = Work(Box::new(move |may_begin| {
            let result = match may_begin {
                true => Ok(work()),
                false => Err(NotDone::Refused),
            };
            promise.keep(result);
        }));
        let ticket = self.0.take(&turn, work);
        Waiting { slot, workers: Arc::clone(&self.0), turn, ticket }
    }
}

impl Default for Blocking {
    /// A thread for each piece of work, without limit: for tests.
    fn default() -> Self {
        Self(Arc::new(Threads))
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

impl Workers for Threads {
    fn take(&self, _: &Turn, work: Work) -> Option<Ticket> {
        std::thread::Builder::new().spawn(|| work.run()).ok().map(|_| 0)
    }

    fn leave(&self, _: &Turn, _: Ticket) {}
}

/// The network that a client is counted by: its address, or the /64 of an IPv6 one, which is what one customer gets.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

// === impl Work ===

impl Work {
    /// Does it.
    pub fn run(self) {
        (self.0)(true);
    }

    /// Does not do it, and says so to whoever awaits it.
    pub fn refuse(self) {
        (self.0)(false);
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

// === impl Promise ===

impl<T> Promise<T> {
    fn keep(&self, result: Result<T, NotDone>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.result.get_or_insert(result);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.keep(Err(NotDone::Lost));
    }
}

// === impl Waiting ===

impl<T> Future for Waiting<T> {
    type Output = Result<T, NotDone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(result) = slot.result.take() else {
            slot.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(slot);
        self.ticket = None;
        Poll::Ready(result)
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.workers.leave(&self.turn, ticket);
        }
    }
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("turn", &self.turn).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Request, block_on};

    /// What the work of a request from there gives.
    fn run<T: Send + 'static>(
        blocking: &Blocking,
        client: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Waiting<T> {
        Request::get("/").from(client).with_context(|cx| blocking.run(cx, work))
    }

    struct Refuses;

    impl Workers for Refuses {
        fn take(&self, _: &Turn, work: Work) -> Option<Ticket> {
            work.refuse();
            None
        }

        fn leave(&self, _: &Turn, _: Ticket) {
            panic!("was never taken");
        }
    }

    /// Keeps work until it is asked for.
    #[derive(Default)]
    struct Keeps(Mutex<Vec<(Turn, Option<Work>)>>);

    impl Workers for Keeps {
        fn take(&self, turn: &Turn, work: Work) -> Option<Ticket> {
            let mut kept = self.0.lock().unwrap();
            kept.push((turn.clone(), Some(work)));
            Some(kept.len() as u64 - 1)
        }

        fn leave(&self, turn: &Turn, ticket: Ticket) {
            let mut kept = self.0.lock().unwrap();
            let (whose, work) = &mut kept[usize::try_from(ticket).unwrap()];
            assert_eq!(whose, turn);
            *work = None;
        }
    }

    #[test]
    fn a_result_comes_back() {
        assert_eq!(block_on(Box::pin(run(&Blocking::default(), "10.0.0.1", || 6 * 7))), Ok(42));
    }

    #[test]
    fn work_that_nobody_awaits_any_more_is_left() {
        let (keeps, done) = (Arc::new(Keeps::default()), Arc::new(Mutex::new(Vec::new())));
        let blocking = Blocking::new(keeps.clone());
        let [first, second] = [1, 2].map(|number| {
            let done = done.clone();
            run(&blocking, "10.0.0.1", move || done.lock().unwrap().push(number))
        });
        drop(first);
        let kept: Vec<_> = keeps.0.lock().unwrap().drain(..).collect();
        kept.into_iter().filter_map(|(_, work)| work).for_each(Work::run);
        assert_eq!(block_on(Box::pin(second)), Ok(()));
        assert_eq!(*done.lock().unwrap(), [2]);
    }

    #[test]
    fn clients_of_one_network_take_one_turn() {
        let keeps = Arc::new(Keeps::default());
        let blocking = Blocking::new(keeps.clone());
        for client in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"] {
            drop(run(&blocking, client, || ()));
        }
        let kept = keeps.0.lock().unwrap();
        let clients: Vec<_> = kept.iter().map(|(turn, _)| turn.client.to_string()).collect();
        assert_eq!(clients, ["10.0.0.1", "10.0.0.1", "2001:db8::", "2001:db8::", "2001:db8:0:1::"]);
    }

    #[test]
    fn refused_work_and_work_that_panics_are_not_done() {
        let refuses = Blocking::new(Arc::new(Refuses));
        assert_eq!(block_on(Box::pin(run(&refuses, "10.0.0.1", || ()))), Err(NotDone::Refused));
        let panics = || -> u8 { panic!("as the test wants") };
        assert_eq!(block_on(Box::pin(run(&Blocking::default(), "10.0.0.1", panics))), Err(NotDone::Lost));
    }
}
