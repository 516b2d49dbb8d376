//! Whether this process may write, as its writers see it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Leadership: whether this process may write. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    held_until: watch::Receiver<Option<Instant>>,
}

/// Sender of the time until which this process leads; `None`: it does not.
pub(in crate::source::kubernetes) type LeaseSender = watch::Sender<Option<Instant>>;

/// Longer than any process runs.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

// === impl Leadership ===

impl Leadership {
    /// That of a process which holds nothing yet, and what says that it does.
    pub(in crate::source::kubernetes) fn none_yet() -> (LeaseSender, Self) {
        let (held, held_until) = watch::channel(None);
        (held, Self { held_until })
    }

    /// That of a process which needs no Lease.
    pub(in crate::source::kubernetes) fn unchallenged() -> Self {
        let (_gone, held_until) = watch::channel(Some(Instant::now() + FOREVER));
        // The last word stays readable without a sender.
        Self { held_until }
    }

    /// Whether this process may write now.
    pub(crate) fn is_held(&self) -> bool {
        is_ahead(*self.held_until.borrow())
    }

    /// Until when this process may write, as far as it is known now.
    #[cfg(test)]
    pub(super) fn until(&self) -> Option<Instant> {
        *self.held_until.borrow()
    }

    /// Resolves when this process may write; never, when the election has ended without.
    pub(crate) async fn gained(&self) {
        let mut held_until = self.held_until.clone();
        let is_over = held_until.wait_for(|until| is_ahead(*until)).await.is_err();
        if is_over && !self.is_held() {
            std::future::pending::<()>().await;
        }
    }

    /// Works for as long as this process may write; `None`: it may not any more, and the work was cut off.
    pub(crate) async fn while_held<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // Before each step of the work it is asked whether it may go on.
            biased;
            () = self.lost() => None,
            done = work => Some(done),
        }
    }

    /// Resolves when this process may not write.
    async fn lost(&self) {
        let mut held_until = self.held_until.clone();
        loop {
            let until = *held_until.borrow_and_update();
            let Some(until) = until.filter(|until| is_ahead(Some(*until))) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                Ok(()) = held_until.changed() => {}
            }
        }
    }
}

fn is_ahead(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// What becomes of work without end.
    async fn endless(leadership: &Leadership) -> Option<()> {
        let cut_off = leadership.while_held(pending());
        tokio::time::timeout(Duration::from_secs(100), cut_off).await.expect("it is cut off")
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_cut_off_when_the_hold_runs_out_and_not_before() {
        let (held, leadership) = Leadership::none_yet();
        assert_eq!(leadership.while_held(async {}).await, None, "it does not begin without a hold");
        let begun = Instant::now();
        held.send_replace(Some(begun + Duration::from_secs(10)));
        let renewal = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            held.send_replace(Some(begun + Duration::from_secs(15)));
        };
        let (cut_off, ()) = tokio::join!(endless(&leadership), renewal);
        assert_eq!(cut_off, None);
        assert_eq!(begun.elapsed().as_secs(), 15);
        assert!(!leadership.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_cut_off_at_once_when_the_hold_is_taken_away() {
        let (held, leadership) = Leadership::none_yet();
        let begun = Instant::now();
        held.send_replace(Some(begun + Duration::from_secs(10)));
        let (cut_off, _) = tokio::join!(endless(&leadership), async { held.send_replace(None) });
        assert_eq!((cut_off, begun.elapsed()), (None, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_a_lease_leads_at_once() {
        let leadership = Leadership::unchallenged();
        leadership.gained().await;
        assert_eq!(leadership.while_held(async { 7 }).await, Some(7));
    }
}
