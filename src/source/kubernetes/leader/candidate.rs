//! What a candidate for a Lease does next, decided without I/O and without comparing clocks of machines.
//!
//! A foreign holder is believed until the Lease has stood unchanged for its whole duration *by this candidate's own
//! clock, counted from when it saw the change*; times written in the Lease are for people. A holder believes in
//! itself only until `give_up` after it *began* the last write that the server took. Since `give_up` is shorter than
//! the duration, and a write counts only with the resourceVersion that was read, no two candidates hold at once.

use std::time::Duration;

use tokio::time::Instant;

/// The spans of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease that nobody renews keeps others away.
    pub duration: Duration,
    /// How often the holder renews, and others look.
    pub renew: Duration,
    /// How long after its last renewal a holder stops believing in itself; shorter than `duration`.
    pub give_up: Duration,
}

/// What the Lease says, as far as the election goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who holds it; empty: nobody.
    pub(super) holder: String,
    /// Changes with every write.
    pub(super) version: String,
    /// How long it keeps others away, as its holder wrote it.
    pub(super) duration: Option<Duration>,
}

/// What to write.
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

/// One who would hold the Lease.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    identity: String,
    timing: Timing,
    /// What was seen last, and since when it stands so.
    seen: Option<(Seen, Instant)>,
    held_until: Option<Instant>,
}

// === impl Timing ===

impl Timing {
    /// Spans that fit a duration: a third of it to renew, two thirds to give up; a write may take the rest.
    pub fn new(duration: Duration) -> Self {
        Self { duration, renew: duration / 3, give_up: duration * 2 / 3 }
    }
}

// === impl Candidate ===

impl Candidate {
    /// A candidate who has seen nothing yet. No two may have the same identity.
    pub(super) fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, held_until: None }
    }

    /// What to write after the Lease was read; `None`: there is no Lease.
    pub(super) fn decide(&mut self, lease: Option<Seen>, now: Instant) -> Step {
        let Some(lease) = lease else {
            self.seen = None;
            return Step::Create;
        };
        if lease.holder == self.identity {
            return Step::Renew;
        }
        self.held_until = None;
        if lease.holder.is_empty() {
            return Step::Take;
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            _ => now,
        };
        // A holder with longer spans than ours has a right to them.
        let duration = lease.duration.unwrap_or_default().max(self.timing.duration);
        self.seen = Some((lease, since));
        if now.saturating_duration_since(since) >= duration { Step::Take } else { Step::Wait }
    }

    /// The server took a write that was begun then.
    pub(super) fn wrote(&mut self, begun: Instant) {
        self.held_until = Some(begun + self.timing.give_up);
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

    const TIMING: Timing =
        Timing { duration: Duration::from_secs(15), renew: Duration::from_secs(5), give_up: Duration::from_secs(10) };

    /// The API server's part: one Lease, and writes only upon the version that they were made for.
    #[derive(Default)]
    struct Server {
        lease: Option<Seen>,
        writes: u64,
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
    }

    impl Server {
        fn write(&mut self, holder: &str, version: Option<&str>) -> bool {
            if self.lease.as_ref().map(|lease| lease.version.as_str()) != version {
                return false;
            }
            self.writes += 1;
            let version = self.writes.to_string();
            self.lease = Some(Seen { holder: holder.to_owned(), version, duration: Some(TIMING.duration) });
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
                        let taken = server.write(&self.candidate.identity, pending.version.as_deref());
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
                        server.write("", version.as_deref());
                    }
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
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever is delayed or lost, and however far clocks stand apart.
        #[test]
        fn no_two_candidates_ever_hold_the_lease(
            ahead in proptest::collection::vec(0u64..100_000, 3),
            script in proptest::collection::vec((0usize..3, action(), 0u64..6_000), 1..200),
        ) {
            let mut time = Instant::now();
            let mut server = Server::default();
            let mut replicas: Vec<Replica> = ahead.iter().enumerate().map(|(index, ahead)| Replica {
                candidate: Candidate::new(format!("replica-{index}"), TIMING),
                ahead: Duration::from_secs(*ahead),
                pending: None,
            }).collect();
            for (who, action, pause_ms) in &script {
                replicas[*who].act(action, &mut server, time);
                let holders = replicas.iter().filter(|replica| replica.holds(time)).count();
                prop_assert!(holders <= 1, "{holders} hold the lease after {action:?} of {who}");
                time += Duration::from_millis(*pause_ms);
            }
        }
    }

    fn foreign(version: &str) -> Option<Seen> {
        Some(Seen { holder: "other".to_owned(), version: version.to_owned(), duration: Some(TIMING.duration) })
    }

    #[test]
    fn takes_over_only_what_stood_unchanged_for_the_whole_duration() {
        let mut candidate = Candidate::new("me".to_owned(), TIMING);
        let start = Instant::now();
        assert_eq!(candidate.decide(foreign("1"), start), Step::Wait);
        assert_eq!(candidate.decide(foreign("1"), start + Duration::from_secs(14)), Step::Wait);
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(14)), Step::Wait, "it was renewed");
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(28)), Step::Wait);
        assert_eq!(candidate.decide(foreign("2"), start + Duration::from_secs(29)), Step::Take);
    }

    #[test]
    fn takes_over_at_once_what_was_given_back() {
        let mut candidate = Candidate::new("me".to_owned(), TIMING);
        assert_eq!(candidate.decide(Some(Seen::default()), Instant::now()), Step::Take);
    }

    #[test]
    fn a_holder_stops_believing_in_itself_before_others_may_take_over() {
        let mut candidate = Candidate::new("me".to_owned(), TIMING);
        let begun = Instant::now();
        candidate.wrote(begun);
        assert_eq!(candidate.held_until(), Some(begun + TIMING.give_up));
        candidate.lost();
        assert_eq!(candidate.held_until(), None);
    }
}
