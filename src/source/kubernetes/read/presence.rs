//! Kinds that a server may not know, or not yet.
//!
//! Asks the server now and then which kinds it has, once a kind and not once a namespace: a kind that is not there
//! costs one small answer each time, and no list that fails. What follows from the answers is decided here too, in
//! [`Presence`], with values only.

use std::time::Duration;

use futures::stream::{Stream, unfold};
use kube::Client;
use tokio::time::{sleep, timeout};

use super::decode::cause;
use super::fault::{Cause, Failure};
use crate::resources::Row;
use crate::source::kubernetes::client::chain;

/// Whether a server serves a kind.
#[derive(Clone, Debug)]
pub(super) enum Availability {
    /// It has it, or does not tell everybody: whether it has then shows when it is listed.
    Served,
    /// It has not.
    Absent,
    /// It does not say; it is asked again.
    Unknown(Failure),
}

/// Presence of a kind, over several checks.
#[derive(Debug, Default)]
pub(super) struct Presence {
    is_served: bool,
    is_settled: bool,
    /// Answers in a row that it is not there, or no answers.
    in_a_row: u32,
}

/// Change of the presence of a kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The kind is there: it is to be followed.
    Appeared,
    /// It is not there any more.
    Gone,
    /// Nobody has to wait for it: it is not there, or nobody knows for too long.
    Settled,
}

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause after no answer; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A kind that is there is asked for so many times less often.
const SERVED_PAUSES: u32 = 4;
/// A server that begins anew may not know a kind for a moment: one that was there is gone only after so many answers.
const ANSWERS_UNTIL_GONE: u32 = 3;
/// Whoever waits for the kind at start does so no longer after so many questions without an answer.
const QUESTIONS_UNTIL_SETTLED: u32 = 5;

/// Asks a server for a kind again and again, with a pause of `pause` while it is not there.
pub(super) fn ask(client: Client, row: &'static Row, pause: Duration) -> impl Stream<Item = Availability> {
    unfold((Duration::ZERO, 0), move |(wait, unanswered): (Duration, u32)| {
        let client = client.clone();
        async move {
            // A quarter is chance, so that replicas do not ask together.
            sleep(wait.mul_f64(0.75 + 0.25 * fastrand::f64())).await;
            let answer = ask_once(&client, row).await;
            let (wait, unanswered) = match &answer {
                Availability::Served => (pause * SERVED_PAUSES, 0),
                Availability::Absent => (pause, 0),
                Availability::Unknown(_) => {
                    ((FIRST_PAUSE * 2_u32.saturating_pow(unanswered)).min(pause), unanswered + 1)
                }
            };
            Some((answer, (wait, unanswered)))
        }
    })
}

async fn ask_once(client: &Client, row: &Row) -> Availability {
    let version = row.api_version();
    let listed = async {
        match row.group {
            "" => client.list_core_api_resources(version).await,
            _ => client.list_api_group_resources(version).await,
        }
    };
    match timeout(PATIENCE, listed).await {
        Ok(Ok(list)) if list.resources.iter().any(|it| it.name == row.plural) => Availability::Served,
        Ok(Ok(_)) => Availability::Absent,
        Ok(Err(error)) => match cause(&error) {
            Cause::Forbidden => Availability::Served,
            Cause::Missing => Availability::Absent,
            Cause::Other => Availability::Unknown(Failure { error: chain(&error), cause: Cause::Other }),
        },
        Err(_) => {
            let error = format!("no response within {} s", PATIENCE.as_secs());
            Availability::Unknown(Failure { error, cause: Cause::Other })
        }
    }
}

// === impl Presence ===

impl Presence {
    /// Takes an answer in.
    pub(super) fn take(&mut self, answer: &Availability) -> Option<Change> {
        match answer {
            Availability::Served => {
                self.in_a_row = 0;
                self.is_settled = true;
                (!std::mem::replace(&mut self.is_served, true)).then_some(Change::Appeared)
            }
            Availability::Absent if self.is_served => {
                self.in_a_row += 1;
                let is_gone = self.in_a_row >= ANSWERS_UNTIL_GONE;
                self.is_served = !is_gone;
                is_gone.then_some(Change::Gone)
            }
            Availability::Absent => self.settle(),
            Availability::Unknown(_) if self.is_served => None,
            Availability::Unknown(_) => {
                self.in_a_row += 1;
                if self.in_a_row < QUESTIONS_UNTIL_SETTLED { None } else { self.settle() }
            }
        }
    }

    /// Nobody waits for it from now on, if anybody did.
    fn settle(&mut self) -> Option<Change> {
        (!std::mem::replace(&mut self.is_settled, true)).then_some(Change::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Availability {
        Availability::Unknown(Failure { error: "no".into(), cause: Cause::Other })
    }

    fn changes(answers: &[Availability]) -> Vec<Option<Change>> {
        let mut presence = Presence::default();
        answers.iter().map(|answer| presence.take(answer)).collect()
    }

    #[test]
    fn a_kind_that_is_there_is_followed_once() {
        assert_eq!(changes(&[Availability::Served, Availability::Served]), [Some(Change::Appeared), None]);
    }

    #[test]
    fn a_kind_that_is_not_there_holds_up_nothing_and_is_followed_later() {
        let told = changes(&[Availability::Absent, Availability::Absent, unknown(), Availability::Served]);
        assert_eq!(told, [Some(Change::Settled), None, None, Some(Change::Appeared)]);
    }

    #[test]
    fn a_kind_that_was_there_is_gone_only_when_that_is_said_again_and_again() {
        let (yes, no) = (|| Availability::Served, || Availability::Absent);
        let told = changes(&[yes(), no(), no(), unknown(), yes(), no(), no(), no(), no(), yes()]);
        let told: Vec<_> = told.into_iter().map(|change| change.is_some()).collect();
        assert_eq!(told, [true, false, false, false, false, false, false, true, false, true]);
    }

    #[test]
    fn a_server_that_does_not_say_is_waited_for_and_not_for_ever() {
        let told = changes(&[unknown(), unknown(), unknown(), unknown(), unknown(), unknown(), Availability::Absent]);
        assert_eq!(told, [None, None, None, None, Some(Change::Settled), None, None]);
    }
}
