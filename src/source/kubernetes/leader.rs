//! Which of several replicas writes to the cluster: the one that holds a `coordination.k8s.io/v1` Lease.
//!
//! Only writing depends on it, never traffic. The Lease is written by PUT with the resourceVersion that was read, so
//! that of two replicas who try at once one gets 409. `candidate.rs` decides, this file asks and writes.

mod candidate;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub use candidate::Timing;
use candidate::{Candidate, Seen, Step};

/// What an election is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The spans.
    pub timing: Timing,
}

/// Tells whether this process may write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    held_until: watch::Receiver<Option<Instant>>,
}

/// Runs for a Lease; see [`Elector::run`].
pub(super) struct Elector {
    election: Election,
    identity: String,
    leases: Api<Lease>,
    candidate: Candidate,
    held_until: watch::Sender<Option<Instant>>,
}

/// Longer than any process runs.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Who writes with this name, in `managedFields`.
pub(super) const FIELD_MANAGER: &str = "tidegate";

// === impl Leadership ===

impl Leadership {
    /// That of a process which needs no Lease.
    pub(super) fn unchallenged() -> Self {
        let (held_until, receiver) = watch::channel(Some(Instant::now() + FOREVER));
        // The last word stays readable without a sender.
        drop(held_until);
        Self { held_until: receiver }
    }

    /// Whether this process may write now.
    pub fn is_held(&self) -> bool {
        self.held_until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Resolves when this process may write; never, when the election has ended.
    pub async fn gained(&mut self) {
        let is_held = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if self.held_until.wait_for(is_held).await.is_err() && !self.is_held() {
            std::future::pending::<()>().await;
        }
    }
}

// === impl Elector ===

impl Elector {
    /// Prepares an election, and the handle that tells its outcome. The identity is unique to the process, not only
    /// to the Pod, so that a restarted one is not taken for its past.
    pub(super) fn new(client: Client, election: Election, identity: String) -> (Self, Leadership) {
        let (held_until, receiver) = watch::channel(None);
        let leases = Api::namespaced(client, &election.namespace);
        let candidate = Candidate::new(identity.clone(), election.timing);
        (Self { election, identity, leases, candidate, held_until }, Leadership { held_until: receiver })
    }

    /// Runs for the Lease until `stop` turns true, then gives it back.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let was_held = self.is_held();
            // A failed attempt changes nothing; the hold runs out by itself.
            match timeout(self.patience(), self.attempt()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(error = %error, lease = %self.election.name, "lease not reached"),
                Err(_) => warn!(error = "no answer", lease = %self.election.name, "lease not reached"),
            }
            self.tell(was_held);
            tokio::select! {
                () = sleep(self.pause()) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.release().await;
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
        let seconds = self.election.timing.duration.as_secs();
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease
    }

    /// Gives the Lease back, so that another replica need not wait for it to run out.
    async fn release(&mut self) {
        let was_held = self.is_held();
        self.candidate.lost();
        self.tell(was_held);
        if !was_held {
            return;
        }
        let given_back = async {
            let Some(mut lease) = self.leases.get_opt(&self.election.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.replace(lease).await
        };
        if let Ok(Err(error)) = timeout(self.patience(), given_back).await {
            warn!(error = %error, lease = %self.election.name, "lease not given back; it runs out by itself");
        }
    }

    fn tell(&self, was_held: bool) {
        self.held_until.send_replace(self.candidate.held_until());
        match (was_held, self.is_held()) {
            (false, true) => info!(lease = %self.election.name, "leading: this process writes to the cluster"),
            (true, false) => info!(lease = %self.election.name, "not leading any more; traffic goes on"),
            _ => {}
        }
    }

    fn is_held(&self) -> bool {
        self.candidate.held_until().is_some_and(|until| Instant::now() < until)
    }

    /// How long one attempt may take: a holder wants a second one before its hold runs out.
    fn patience(&self) -> Duration {
        self.election.timing.renew / 2
    }

    /// Until the next attempt; a fifth of it is chance, so that replicas do not step on each other.
    fn pause(&self) -> Duration {
        self.election.timing.renew.mul_f64(0.8 + 0.2 * fastrand::f64())
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: seconds.map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests;
