//! Tells in `status.loadBalancer.ingress` of the Ingresses that are served where their traffic comes in.
//!
//! Only the leader writes, with JSON merge patches on `/status`: the list of addresses is one atomic value, so that a
//! merge patch takes it over whole from a controller before us, without the conflicts and the forcing of
//! server-side apply. Nothing is written that stands there already. Writing has its own queue, one entry an Ingress,
//! and its own pace: routes never wait for it. An address that cannot be found out leaves everything as it is.

mod address;
mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::leader::Leadership;
use super::pace::Pace;
use super::write::Counts;
use crate::resources::ObjectName;
pub use address::{Address, NodeAddress};
use cluster::Cluster;

/// Ingresses that are served, by name.
pub type Served = Arc<BTreeSet<ObjectName>>;

/// What is told, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// Where the addresses are known from.
    pub from: AddressSource,
    /// The Pods of this controller: which nodes are told, and whether another replica stays when this one stops.
    pub pods: Option<Replicas>,
    /// Namespaces that are looked at; empty: all.
    pub namespaces: Vec<String>,
    /// Whether the last replica takes the addresses back when it stops.
    pub clear_on_stop: bool,
    /// Writes a second at most.
    pub writes_per_second: u32,
    /// How often addresses are looked up again.
    pub refresh: Duration,
}

/// Where the addresses are known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// A Service in front of the controller.
    Service(ObjectName),
    /// They are given.
    Given(Vec<Address>),
    /// The nodes where ready Pods of the controller run.
    Nodes(NodeAddress),
}

/// The Pods of this controller: those with the labels of this process's own Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Their namespace.
    pub namespace: String,
    /// Name of this process's own Pod.
    pub own: String,
}

/// Writes status while it may; see [`StatusWriter::run`].
pub(super) struct StatusWriter {
    cluster: Cluster,
    config: StatusConfig,
    leadership: Leadership,
    pace: Pace,
    /// What stands on Ingresses, as far as it was seen or written.
    known: BTreeMap<ObjectName, Vec<Address>>,
    /// What is to stand there; `None` until it is known.
    wanted: Option<Vec<Address>>,
    /// Ingresses to be looked at.
    queue: BTreeMap<ObjectName, Attempt>,
    counts: Arc<Counts>,
}

/// An entry of the queue.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    not_before: Instant,
    failures: u32,
}

/// How long one write may take. A hold that is about to run out is over before others may take the Lease.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a lookup may take; all Ingresses of a big cluster are many pages.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(30);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Writes at once; more are spread by the pace.
const BURST: u32 = 20;
/// Refreshes after which everything is listed again, so that what others overwrote is mended.
const REFRESHES_PER_LIST: u32 = 60;
/// How many are cleared at the same time when the process stops.
const CLEARED_AT_ONCE: usize = 16;

// === impl StatusWriter ===

impl StatusWriter {
    /// Prepares to write.
    pub(super) fn new(client: Client, config: StatusConfig, leadership: Leadership, counts: Arc<Counts>) -> Self {
        Self {
            cluster: Cluster::new(client),
            pace: Pace::new(config.writes_per_second, BURST),
            config,
            leadership,
            known: BTreeMap::new(),
            wanted: None,
            queue: BTreeMap::new(),
            counts,
        }
    }

    /// Writes until `stop` turns true; then clears, if that was chosen and this is the last replica.
    pub(super) async fn run(mut self, mut served: watch::Receiver<Served>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.leadership.gained() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = self.lead(&mut served) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if self.config.clear_on_stop && self.leadership.is_held() {
            let served = Arc::clone(&served.borrow());
            self.clear(&served).await;
        }
    }

    /// Writes until the leadership is lost, or nobody says any more what is served.
    async fn lead(&mut self, served: &mut watch::Receiver<Served>) {
        self.known.clear();
        self.queue.clear();
        let mut refreshes = 0;
        let mut next_refresh = Instant::now();
        while self.leadership.is_held() {
            if Instant::now() >= next_refresh {
                self.refresh(refreshes % REFRESHES_PER_LIST == 0 || self.known.is_empty()).await;
                let now = Arc::clone(&served.borrow_and_update());
                self.plan(&now);
                refreshes += 1;
                next_refresh = Instant::now() + self.config.refresh;
            }
            self.counts.status_waiting.store(self.queue.len() as u64, Ordering::Relaxed);
            let due = self.next_due();
            let wake = due.as_ref().map_or(next_refresh, |(at, _)| (*at).min(next_refresh));
            tokio::select! {
                changed = served.changed() => match changed {
                    Ok(()) => {
                        let now = Arc::clone(&served.borrow_and_update());
                        self.plan(&now);
                    }
                    Err(_) => return,
                },
                () = sleep_until(wake) => if let Some((at, name)) = due && at <= wake {
                    self.pace.wait().await;
                    self.attend(&name).await;
                },
            }
        }
    }

    /// Looks up the addresses again, and all Ingresses when `everything` is to be compared.
    async fn refresh(&mut self, everything: bool) {
        self.look_up_addresses().await;
        if everything {
            match within(self.cluster.statuses(&self.config.namespaces)).await {
                Ok(known) => self.known = known,
                Err(error) => warn!(error = %error, "statuses not listed"),
            }
        }
    }

    async fn look_up_addresses(&mut self) {
        match within(self.cluster.addresses(&self.config)).await {
            Ok(found) if found.is_empty() => debug!("no address to publish yet"),
            Ok(found) if self.wanted.as_ref() == Some(&found) => {}
            Ok(found) => {
                info!(addresses = ?found, "addresses to publish");
                self.wanted = Some(found);
            }
            Err(error) => warn!(error = %error, "addresses not found out; statuses stay as they are"),
        }
    }

    /// Puts into the queue what does not stand as it should.
    fn plan(&mut self, served: &Served) {
        let Some(wanted) = &self.wanted else { return };
        self.queue.retain(|name, _| served.contains(name));
        self.known.retain(|name, _| served.contains(name));
        for name in served.iter() {
            if self.known.get(name) == Some(wanted) {
                continue;
            }
            self.queue.entry(name.clone()).or_insert_with(|| Attempt { not_before: Instant::now(), failures: 0 });
        }
    }

    fn next_due(&self) -> Option<(Instant, ObjectName)> {
        let earliest = self.queue.iter().min_by_key(|(_, attempt)| attempt.not_before)?;
        Some((earliest.1.not_before, earliest.0.clone()))
    }

    /// Brings one Ingress to what is wanted; a failure is tried again later.
    async fn attend(&mut self, name: &ObjectName) {
        let (Some(wanted), Some(attempt)) = (self.wanted.clone(), self.queue.remove(name)) else { return };
        // The hold may have run out while the pace was waited for.
        if !self.leadership.is_held() {
            return;
        }
        let done = timeout(PATIENCE, self.bring(name, &wanted)).await;
        let error = match done {
            Ok(Ok(())) => {
                self.known.insert(name.clone(), wanted);
                return;
            }
            // It is gone; the source will say so too.
            Ok(Err(Error::Api(status))) if status.code == 404 => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.counts.status_failures.fetch_add(1, Ordering::Relaxed);
        let failures = attempt.failures.saturating_add(1);
        let backoff = backoff(failures);
        let object = format!("Ingress/{}/{}", name.namespace, name.name);
        warn!(object, error, retry_ms = backoff.as_millis(), "status not written");
        self.queue.insert(name.clone(), Attempt { not_before: Instant::now() + backoff, failures });
    }

    async fn bring(&self, name: &ObjectName, wanted: &[Address]) -> Result<(), Error> {
        // One that was not listed is new: it may have come with its status, from a backup for instance.
        if !self.known.contains_key(name) && self.cluster.status(name).await? == wanted {
            return Ok(());
        }
        self.cluster.write(name, wanted).await?;
        self.counts.status_writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the addresses back, unless another replica goes on serving.
    async fn clear(&self, served: &Served) {
        let Some(pods) = &self.config.pods else { return };
        match self.cluster.has_others(pods).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return warn!(error = %error, "not known whether others serve; statuses stay"),
        }
        let ours = self.wanted.clone().unwrap_or_default();
        let names = served.iter().filter(|name| self.known.get(*name) == Some(&ours)).cloned();
        let cleared: Vec<_> = names.map(|name| self.clear_one(name)).collect();
        futures::stream::iter(cleared).buffer_unordered(CLEARED_AT_ONCE).collect::<()>().await;
    }

    async fn clear_one(&self, name: ObjectName) {
        if !self.leadership.is_held() {
            return;
        }
        if let Ok(Err(error)) = timeout(PATIENCE, self.cluster.write(&name, &[])).await {
            let object = format!("Ingress/{}/{}", name.namespace, name.name);
            warn!(object, error = %error, "status not cleared");
        }
    }
}

/// Gives up on a lookup that does not end; it is tried again at the next refresh.
async fn within<T>(lookup: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(LOOKUP_PATIENCE, lookup).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn backoff(failures: u32) -> Duration {
    let steady = Duration::from_millis(500).saturating_mul(1 << failures.min(10)).min(MAX_BACKOFF);
    steady.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests;
