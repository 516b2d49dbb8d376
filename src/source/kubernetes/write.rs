//! Everything that is written to a cluster, started and stopped together.
//!
//! Whoever publishes tells an [`Outlet`] what is served and what there is to say; telling never waits. At stop the
//! writers end before the Lease is given back.

use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::warn;

use super::events::{EventWriter, Findings, Note};
use super::leader::{Election, Elector, Leadership};
use super::status::{Served, StatusConfig, StatusWriter};

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteConfig {
    /// Who writes.
    pub election: Election,
    /// Status of Ingresses; `None`: none is written.
    pub status: Option<StatusConfig>,
    /// Whether events are written.
    pub events: bool,
}

/// Takes what is to be written.
#[derive(Clone, Debug)]
pub struct Outlet {
    served: watch::Sender<Served>,
    findings: watch::Sender<Findings>,
    notes: mpsc::Sender<Note>,
}

/// Writers that run. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct Writing {
    leadership: Leadership,
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
}

/// Notes that may wait.
const MAX_NOTES: usize = 256;
/// How long writers may take to end: time to take statuses back.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Outlet ===

impl Outlet {
    /// Says which Ingresses are served.
    pub fn served(&self, served: Served) {
        self.served.send_if_modified(|now| {
            let is_new = **now != *served;
            *now = served;
            is_new
        });
    }

    /// Says what there is to say about the input.
    pub fn findings(&self, findings: Findings) {
        self.findings.send_replace(findings);
    }

    /// Says something once. It is left out when too much waits.
    pub fn note(&self, note: Note) {
        // A full queue loses a courtesy, nothing more.
        let _ = self.notes.try_send(note);
    }
}

// === impl Writing ===

impl Writing {
    /// Starts to write as this process's turn comes.
    pub fn start(client: Client, config: WriteConfig) -> (Self, Outlet) {
        let (served, served_told) = watch::channel(Served::default());
        let (findings, findings_told) = watch::channel(Findings::default());
        let (notes, notes_told) = mpsc::channel(MAX_NOTES);
        let (stop, stopped) = watch::channel(false);
        let (done, is_done) = watch::channel(false);
        let instance = config.election.identity.clone();
        let (elector, leadership) = Elector::new(client.clone(), config.election);
        let (yield_lease, yielded) = watch::channel(false);
        let elected = tokio::spawn(elector.run(yielded));
        let mut writers = Vec::new();
        if let Some(status) = config.status {
            let writer = StatusWriter::new(client.clone(), status, leadership.clone());
            writers.push(tokio::spawn(writer.run(served_told, stopped.clone())));
        }
        if config.events {
            let writer = EventWriter::new(client, instance, leadership.clone());
            writers.push(tokio::spawn(writer.run(findings_told, notes_told, stopped.clone())));
        }
        tokio::spawn(async move {
            let mut stopped = stopped;
            // An error is the end too: nobody can ask for it any more.
            let _ = stopped.wait_for(|stop| *stop).await;
            let ended = async { futures::future::join_all(writers).await };
            if timeout(PATIENCE, ended).await.is_err() {
                warn!("writing to the cluster cut off");
            }
            yield_lease.send_replace(true);
            let _ = elected.await;
            done.send_replace(true);
        });
        (Self { leadership, stop, done: is_done }, Outlet { served, findings, notes })
    }

    /// Tells whether this process leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Ends writing and gives the Lease back.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // An error: the task is gone, so it is done.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }
}
