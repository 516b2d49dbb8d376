//! What a candidate for a Lease does next, decided without I/O and without comparing clocks of machines.
//!
//! A foreign holder is believed until the Lease has stood unchanged for its whole duration *by this candidate's own
//! clock, counted from when it saw the change*; times written in the Lease are for people. A holder believes in
//! itself only until `give_up` after it *began* the last write that the server took. Since `give_up` is shorter than
//! the duration, and a write counts only with the resourceVersion that was read, no two candidates hold at once.
//! A Lease that somebody deletes is believed for its duration too: its holder does not know yet. Only who never saw
//! it makes it at once; and one that is made again and deleted again between two looks is not noticed.

use std::time::Duration;

use tokio::time::Instant;

use super::timing::Timing;

/// State of the Lease, as far as the election reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseState {
    /// Who holds it; empty: nobody.
    pub(super) holder: String,
    /// Changes with every write; empty: it was deleted.
    pub(super) version: String,
    /// How long it keeps others away, as its holder wrote it.
    pub(super) duration: Option<Duration>,
}

/// Write to the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: somebody else holds it.
    Wait,
    /// Make the Lease.
    Create,
    /// Take it over from somebody, or from nobody.
    Take,
    /// Renew it.
    Renew,
}

/// Candidate of the election.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    identity: String,
    timing: Timing,
    /// What was seen last, and since when it stands so.
    seen: Option<(LeaseState, Instant)>,
    held_until: Option<Instant>,
}

// === impl Candidate ===

impl Candidate {
    /// A candidate who has seen nothing yet. No two may have the same identity.
    pub(super) fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, held_until: None }
    }

    /// What to write after the Lease was read; `None`: there is no Lease.
    pub(super) fn decide(&mut self, lease: Option<LeaseState>, now: Instant) -> Step {
        let Some(lease) = lease else { return self.decide_without(now) };
        let is_own = lease.holder == self.identity;
        let is_free = lease.holder.is_empty();
        let has_run_out = self.has_run_out(lease, now);
        if is_own {
            return Step::Renew;
        }
        self.held_until = None;
        if is_free || has_run_out { Step::Take } else { Step::Wait }
    }

    /// There is no Lease: there never was one, or it was deleted.
    fn decide_without(&mut self, now: Instant) -> Step {
        let is_held = self.held_until.is_some_and(|until| now < until);
        let Some((seen, _)) = &self.seen else { return Step::Create };
        let gone = LeaseState { version: String::new(), ..seen.clone() };
        if self.has_run_out(gone, now) || is_held { Step::Create } else { Step::Wait }
    }

    /// Whether the Lease has stood so for as long as it keeps others away.
    fn has_run_out(&mut self, lease: LeaseState, now: Instant) -> bool {
        let since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            _ => now,
        };
        let respected = self.timing.respect(lease.duration);
        self.seen = Some((lease, since));
        now.saturating_duration_since(since) >= respected
    }

    /// The server took a write that was begun then.
    pub(super) fn wrote(&mut self, begun: Instant) {
        self.held_until = Some(begun + self.timing.give_up());
    }

    /// The server refused a write because somebody else wrote first: what was believed is worth nothing.
    pub(super) fn lost(&mut self) {
        self.held_until = None;
    }

    /// Until when it holds the Lease unless it renews.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timing() -> Timing {
        Timing::default()
    }

    /// The API server's part: one Lease, and writes only upon the version that they were made for.
    #[derive(Default)]
    struct Server {
        lease: Option<LeaseState>,
        writes: u64,
        was_deleted: bool,
    }

    /// A candidate with a clock of its own and at most one write under way.
    struct Replica {
        candidate: Candidate,
        ahead: Duration,
        pending: Option<Pending>,
    }

    struct Pending {
        version: Option<String>,
        begun: Instant,
        result: Option<bool>,
    }

    #[derive(Clone, Debug)]
    enum Action {
        /// Reads and decides.
        Look,
        /// The write reaches the server.
        Land,
        /// The answer reaches the candidate.
        Answer,
        /// The request or its answer is lost.
        Drop,
        /// Gives the Lease back, as at stop.
        Release,
        /// Somebody deletes the Lease; only the first time.
        Delete,
    }

    impl Server {
        fn write(&mut self, holder: &str, timing: Timing, version: Option<&str>) -> bool {
            if self.lease.as_ref().map(|lease| lease.version.as_str()) != version {
                return false;
            }
            self.writes += 1;
            let version = self.writes.to_string();
            self.lease = Some(LeaseState { holder: holder.to_owned(), version, duration: Some(timing.duration()) });
            true
        }
    }

    impl Replica {
        fn act(&mut self, action: &Action, server: &mut Server, time: Instant) {
            let now = time + self.ahead;
            match action {
                Action::Look if self.pending.is_none() => {
                    let version = server.lease.as_ref().map(|lease| lease.version.clone());
                    if self.candidate.decide(server.lease.clone(), now) != Step::Wait {
                        self.pending = Some(Pending { version, begun: now, result: None });
                    }
                }
                Action::Land => {
                    if let Some(pending) = self.pending.as_mut().filter(|pending| pending.result.is_none()) {
                        let taken =
                            server.write(&self.candidate.identity, self.candidate.timing, pending.version.as_deref());
                        pending.result = Some(taken);
                    }
                }
                Action::Answer if self.pending.as_ref().is_some_and(|pending| pending.result.is_some()) => {
                    let pending = self.pending.take().unwrap();
                    match pending.result {
                        Some(true) => self.candidate.wrote(pending.begun),
                        _ => self.candidate.lost(),
                    }
                }
                Action::Drop => self.pending = None,
                Action::Release if self.pending.is_none() && self.holds(time) => {
                    self.candidate.lost();
                    let version = server.lease.as_ref().map(|lease| lease.version.clone());
                    if server.lease.as_ref().is_some_and(|lease| lease.holder == self.candidate.identity) {
                        server.write("", self.candidate.timing, version.as_deref());
                    }
                }
                Action::Delete if !server.was_deleted => {
                    server.lease = None;
                    server.was_deleted = true;
                }
                _ => {}
            }
        }

        fn holds(&self, time: Instant) -> bool {
            self.candidate.held_until().is_some_and(|until| time + self.ahead < until)
        }
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            6 => Just(Action::Look),
            6 => Just(Action::Land),
            6 => Just(Action::Answer),
            1 => Just(Action::Drop),
            1 => Just(Action::Release),
            1 => Just(Action::Delete),
        ]
    }

    /// Mostly as quick as an API server is, sometimes longer than a Lease lasts.
    fn pause_ms() -> impl Strategy<Value = u64> {
        prop_oneof![5 => 0u64..200, 1 => 0u64..20_000]
    }

    /// A clock that is ahead by so much, and the spans it goes by, both in seconds.
    fn replica(index: usize, ahead: u64, duration: u64) -> Replica {
        let timing = Timing::new(Duration::from_secs(duration));
        let candidate = Candidate::new(format!("replica-{index}"), timing);
        Replica { candidate, ahead: Duration::from_secs(ahead), pending: None }
    }

    /// Plays a script of who does what, and how long it is until the next; tells what let two hold at once.
    fn play(mut replicas: Vec<Replica>, script: &[(usize, Action, u64)]) -> Result<(), String> {
        let mut time = Instant::now();
        let mut server = Server::default();
        // Everybody has seen the Lease once: who never did makes it at once when it is gone.
        server.write("", timing(), None);
        for replica in &mut replicas {
            replica.candidate.decide(server.lease.clone(), time + replica.ahead);
        }
        for (who, action, pause_ms) in script {
            replicas[*who].act(action, &mut server, time);
            let holders = replicas.iter().filter(|replica| replica.holds(time)).count();
            if holders > 1 {
                return Err(format!("{holders} hold the lease after {action:?} of {who}"));
            }
            time += Duration::from_millis(*pause_ms);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever is delayed, lost or deleted, and however far clocks stand apart.
        #[test]
        fn no_two_candidates_ever_hold_the_lease(
            ahead in proptest::collection::vec(0u64..100_000, 3),
            script in proptest::collection::vec((0usize..3, action(), pause_ms()), 1..200),
        ) {
            let replicas = ahead.iter().enumerate().map(|(index, ahead)| replica(index, *ahead, 15)).collect();
            prop_assert_eq!(play(replicas, &script), Ok(()));
        }

        /// Nor while the spans are being changed; a Lease that is gone does not tell any more whose it was.
        #[test]
        fn nor_do_two_with_different_spans(
            durations in proptest::collection::vec(1u64..40, 3),
            script in proptest::collection::vec((0usize..3, action(), pause_ms()), 1..200),
        ) {
            let replicas = durations.iter().enumerate().map(|(index, it)| replica(index, 0, *it)).collect();
            let script: Vec<_> = script.into_iter().filter(|(_, action, _)| !matches!(action, Action::Delete)).collect();
            prop_assert_eq!(play(replicas, &script), Ok(()));
        }
    }

    fn foreign(version: &str) -> Option<LeaseState> {
        Some(LeaseState {
            holder: "other".to_owned(),
            version: version.to_owned(),
            duration: Some(timing().duration()),
        })
    }

    #[test]
    fn takes_over_only_what_stood_unchanged_for_the_whole_duration() {
        let mut candidate = Candidate::new("me".to_owned(), timing());
        let start = Instant::now();
        assert_eq!(candidate.decide(foreign("1"), start), Step::Wait);
        assert_eq!(candidate.decide(foreign("1"), start + Duration::from_secs(14)), Step::Wait);
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(14)), Step::Wait, "it was renewed");
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(28)), Step::Wait);
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(29)), Step::Take);
    }

    #[test]
    fn takes_over_at_once_what_was_given_back() {
        let mut candidate = Candidate::new("me".to_owned(), timing());
        assert_eq!(candidate.decide(Some(LeaseState::default()), Instant::now()), Step::Take);
    }

    #[test]
    fn a_lease_that_was_deleted_is_believed_for_its_duration_by_all_but_its_holder() {
        let start = Instant::now();
        let mut holder = Candidate::new("other".to_owned(), timing());
        holder.wrote(start);
        assert_eq!(holder.decide(foreign("1"), start), Step::Renew);
        assert_eq!(holder.decide(None, start), Step::Create);
        let mut candidate = Candidate::new("me".to_owned(), timing());
        assert_eq!(candidate.clone().decide(None, start), Step::Create, "who never saw one makes it at once");
        assert_eq!(candidate.decide(foreign("1"), start), Step::Wait);
        assert_eq!(candidate.decide(None, start + Duration::from_secs(5)), Step::Wait);
        assert_eq!(candidate.decide(None, start + Duration::from_secs(19)), Step::Wait);
        assert_eq!(candidate.decide(None, start + Duration::from_secs(20)), Step::Create);
    }

    #[test]
    fn a_holder_stops_believing_in_itself_before_others_may_take_over() {
        let mut candidate = Candidate::new("me".to_owned(), timing());
        let begun = Instant::now();
        candidate.wrote(begun);
        assert_eq!(candidate.held_until(), Some(begun + timing().give_up()));
        candidate.lost();
        assert_eq!(candidate.held_until(), None);
    }
}
