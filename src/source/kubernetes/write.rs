//! Everything that is written to a cluster, started and stopped together.
//!
//! Whoever publishes gives an [`Outlet`] the statuses and what else there is to say, ready to be written: nothing is
//! decided here about what is served. Giving never waits. At stop the writers end before the Lease is given back.

mod call;
mod counts;
pub(crate) mod events;
pub(crate) mod leader;
pub(crate) mod status;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::resources::note::Note;
use crate::resources::status::Statuses;
pub(crate) use counts::Counts;
use events::{EventWriter, Findings, Notes};
use leader::{Election, Elector, Leadership};
use status::{StatusConfig, StatusWriter};

/// Configuration of what is written to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteConfig {
    /// Who writes; `None`: this process, without asking.
    pub election: Option<Election>,
    /// Name of this process: unique, also among its restarts.
    pub identity: String,
    /// Status of Ingresses; `None`: none is written.
    pub status: Option<StatusConfig>,
    /// Whether events are written.
    pub events: bool,
}

/// Queue of statuses and events to write.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    statuses: watch::Sender<Arc<Statuses>>,
    findings: watch::Sender<Findings>,
    /// `None`: events are not written.
    notes: Option<Arc<Notes>>,
    counts: Arc<Counts>,
}

/// The last input of an [`Outlet`].
#[derive(Debug)]
pub(crate) struct Given {
    /// The statuses of all objects.
    pub statuses: watch::Receiver<Arc<Statuses>>,
    /// What there is to say about the input.
    pub findings: watch::Receiver<Findings>,
}

/// Writers that run. Dropping it stops them without waiting.
#[derive(Debug)]
pub(crate) struct Writing {
    leadership: Leadership,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
}

/// How long writers may take to end: time to take statuses back.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Outlet ===

impl Outlet {
    /// Makes one, with the end where writers take what it is given.
    pub(crate) fn new(has_events: bool, counts: Arc<Counts>) -> (Self, Given) {
        let (statuses, statuses_given) = watch::channel(Arc::default());
        let (findings, findings_given) = watch::channel(Findings::default());
        let outlet = Self { statuses, findings, notes: has_events.then(Arc::<Notes>::default), counts };
        (outlet, Given { statuses: statuses_given, findings: findings_given })
    }

    /// Gives the statuses of all objects. Costs nothing: what changed is found out by the writer.
    pub(crate) fn statuses(&self, statuses: Arc<Statuses>) {
        self.statuses.send_replace(statuses);
    }

    /// Says what there is to say about the input.
    pub(crate) fn findings(&self, findings: Arc<Vec<Note>>) {
        self.findings.send_replace(findings);
    }

    /// Says something once. It is left out when too much of its namespace waits.
    pub(crate) fn note(&self, note: Note) {
        if self.notes.as_ref().is_some_and(|notes| !notes.push(note)) {
            Counts::add(&self.counts.events_dropped);
        }
    }
}

// === impl Writing ===

impl Writing {
    /// Starts to write as this process's turn comes.
    pub(crate) fn start(client: Client, config: WriteConfig) -> (Self, Outlet) {
        let counts = Arc::new(Counts::default());
        let (outlet, given) = Outlet::new(config.events, counts.clone());
        let (stop, stopped) = watch::channel(false);
        let (done, is_done) = watch::channel(false);
        let (yield_lease, yielded) = watch::channel(false);
        let (leadership, elected) = match config.election {
            Some(election) => {
                let (elector, leadership) = Elector::new(client.clone(), election, config.identity.clone());
                (leadership, Some(tokio::spawn(elector.run(yielded))))
            }
            None => (Leadership::unchallenged(), None),
        };
        let mut writers = JoinSet::new();
        if let Some(status) = config.status {
            let writer = StatusWriter::new(client.clone(), status, leadership.clone(), counts.clone());
            writers.spawn(writer.run(given.statuses, stopped.clone()));
        }
        if let Some(notes) = outlet.notes.clone() {
            let writer = EventWriter::new(client, &config.identity, leadership.clone(), counts.clone());
            writers.spawn(writer.run(given.findings, notes, stopped.clone()));
        }
        tokio::spawn(async move {
            end(writers, stopped).await;
            yield_lease.send_replace(true);
            if let Some(elected) = elected {
                // It gives the Lease back and bounds that itself.
                let _ = elected.await;
            }
            done.send_replace(true);
        });
        (Self { leadership, counts, stop, done: is_done }, outlet)
    }

    /// Tells whether this process leads.
    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// What was written so far.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Ends writing and gives the Lease back; takes fifteen seconds at most with a Lease of fifteen.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        // An error: the task is gone, so it is done.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }
}

/// Lets writers end when it is time, and ends those that do not.
async fn end(mut writers: JoinSet<()>, mut stopped: watch::Receiver<bool>) {
    // An error is the end too: nobody can ask for it any more.
    let _ = stopped.wait_for(|stop| *stop).await;
    let ended = async { while writers.join_next().await.is_some() {} };
    if timeout(PATIENCE, ended).await.is_err() {
        warn!("writes to the cluster aborted");
        // Nothing may be written once the Lease is given back.
        writers.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
