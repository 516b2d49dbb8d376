//! Which of several replicas writes to the cluster: the one that holds a `coordination.k8s.io/v1` Lease.
//!
//! Only writing depends on it, never traffic. The Lease is written by PUT with the resourceVersion that was read, so
//! that of two replicas who try at once one gets 409. `candidate.rs` decides, this file asks and writes.

mod candidate;
mod leadership;
mod timing;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::call::{params, within};
use candidate::{Candidate, LeaseState, Step};
pub(crate) use leadership::Leadership;
pub(super) use leadership::LeaseSender;
pub(crate) use timing::Timing;

/// Configuration of a leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The spans.
    pub timing: Timing,
}

/// Runs for a Lease; see [`Elector::run`].
pub(super) struct Elector {
    election: Election,
    identity: String,
    leases: Api<Lease>,
    candidate: Candidate,
    held: LeaseSender,
    /// Whether it was told last that this process leads.
    has_led: bool,
    /// Attempts in a row that failed.
    failures: u32,
}

// === impl Elector ===

impl Elector {
    /// Prepares an election, and the handle that tells its outcome. The identity is unique to the process, not only
    /// to the Pod, so that a restarted one is not taken for its past.
    pub(super) fn new(client: Client, election: Election, identity: String) -> (Self, Leadership) {
        let (held, leadership) = Leadership::none_yet();
        let leases = Api::namespaced(client, &election.namespace);
        let candidate = Candidate::new(identity.clone(), election.timing);
        (Self { election, identity, leases, candidate, held, has_led: false, failures: 0 }, leadership)
    }

    /// Runs for the Lease until `stop` turns true, then gives it back.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            self.try_once().await;
            tokio::select! {
                () = sleep(self.pause()) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.release().await;
    }

    /// One attempt, and what it says. One that fails changes nothing: the hold runs out by itself.
    async fn try_once(&mut self) {
        let attempt = within(self.election.timing.patience(), self.attempt()).await;
        let lease = &self.election.name;
        match attempt {
            Ok(()) => self.failures = 0,
            Err(error) => {
                // Said once: an API server may be away for long.
                if self.failures == 0 {
                    warn!(error, lease, "lease not updated");
                } else {
                    debug!(error, lease, failures = self.failures, "lease not updated");
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
        self.tell();
    }

    /// Reads the Lease and writes it when that is this candidate's turn.
    async fn attempt(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let lease = self.leases.get_opt(&self.election.name).await?;
        let step = self.candidate.decide(lease.as_ref().map(seen), Instant::now());
        let done = match (step, lease) {
            (Step::Wait, _) => return Ok(()),
            (Step::Take, Some(lease)) => self.replace(self.taken(lease)).await,
            (Step::Renew, Some(lease)) => self.replace(self.renewed(lease)).await,
            (_, None) | (Step::Create, _) => self.create().await,
        };
        match done {
            Ok(()) => self.candidate.wrote(begun),
            Err(Error::Api(status)) if status.code == 409 || status.code == 404 => self.candidate.lost(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn create(&self) -> Result<(), Error> {
        let metadata = ObjectMeta { name: Some(self.election.name.clone()), ..ObjectMeta::default() };
        let lease = self.taken(Lease { metadata, spec: None });
        self.leases.create(&params(), &lease).await.map(drop)
    }

    async fn replace(&self, lease: Lease) -> Result<(), Error> {
        self.leases.replace(&self.election.name, &params(), &lease).await.map(drop)
    }

    fn taken(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        let transitions = match spec.holder_identity {
            Some(_) => spec.lease_transitions.unwrap_or(0).saturating_add(1),
            None => 0,
        };
        *spec = LeaseSpec {
            acquire_time: Some(now),
            holder_identity: Some(self.identity.clone()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        self.renewed(lease)
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        let seconds = self.election.timing.duration().as_secs();
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease
    }

    /// Gives the Lease back, so that another replica need not wait for it to run out.
    async fn release(&mut self) {
        let was_held = self.is_held();
        self.candidate.lost();
        self.tell();
        if !was_held {
            return;
        }
        if let Err(error) = within(self.election.timing.patience(), self.give_back()).await {
            warn!(error, lease = %self.election.name, "lease not released; it expires by itself");
        }
    }

    async fn give_back(&self) -> Result<(), Error> {
        let Some(mut lease) = self.leases.get_opt(&self.election.name).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        self.replace(lease).await
    }

    fn tell(&mut self) {
        self.held.send_replace(self.candidate.held_until());
        let leads = self.is_held();
        match (std::mem::replace(&mut self.has_led, leads), leads) {
            (false, true) => info!(lease = %self.election.name, "leading: this process writes to the cluster"),
            (true, false) => info!(lease = %self.election.name, "not leading any more; traffic is not affected"),
            _ => {}
        }
    }

    fn is_held(&self) -> bool {
        self.candidate.held_until().is_some_and(|until| Instant::now() < until)
    }

    /// Until the next attempt; a fifth of it is chance, so that replicas do not step on each other.
    fn pause(&self) -> Duration {
        let timing = self.election.timing;
        let pause = if self.failures > 0 && self.is_held() { timing.retry() } else { timing.renew() };
        pause.mul_f64(0.8 + 0.2 * fastrand::f64())
    }
}

fn seen(lease: &Lease) -> LeaseState {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    LeaseState {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: seconds.map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests;
