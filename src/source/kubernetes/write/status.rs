//! Writes into `status.loadBalancer.ingress` of Ingresses where their traffic comes in.
//!
//! Which Ingresses say that is decided by their statuses, which translation makes; where it is, is found out here.
//! Only the leader writes, with JSON merge patches on `/status`: the list of addresses is one atomic value, so that a
//! merge patch takes it over whole from a controller before us, without the conflicts and the forcing of
//! server-side apply. Nothing is written that stands there already. Writing has its own queue, one entry an Ingress,
//! and its own pace: routes never wait for it. An address that cannot be found out leaves everything as it is.
//!
//! At each refresh everything is compared again, so that what others overwrote is mended once, and not at once: two
//! who each want the last word do not write against each other faster than that.

mod address;
mod cluster;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::call::within;
use super::counts::Counts;
use super::leader::Leadership;
use crate::pace::Pace;
use crate::resources::ObjectName;
use crate::resources::status::Statuses;
pub(crate) use address::{Address, NodeAddress};
use cluster::Cluster;
use queue::{Attempt, Queue};

/// Configuration of the status writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusConfig {
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
    /// How often addresses are looked up again, and statuses compared with them.
    pub refresh: Duration,
}

/// Where the addresses are known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// A Service in front of the controller.
    Service(ObjectName),
    /// They are given.
    Given(Vec<Address>),
    /// The nodes where ready Pods of the controller run.
    Nodes(NodeAddress),
}

/// The Pods of this controller: those with the labels of this process's own Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
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
    counts: Arc<Counts>,
    /// Says which Ingresses have an address. It is taken back from one that has it no more.
    statuses: Arc<Statuses>,
    /// What is to stand on those that have an address; `None` until it is known.
    wanted: Option<Addresses>,
    /// What was to stand there before: it is ours too.
    outdated: Option<Addresses>,
    /// What stands on them, as far as it was seen or written.
    known: WrittenAddresses,
    /// Ingresses to be looked at: those that have an address, and those that had one.
    queue: Queue,
    pace: Pace,
    /// Nothing is written before.
    rest_until: Instant,
    /// Writes in a row that failed by the server's fault.
    troubles: u32,
    /// Statuses are not listed before.
    list_at: Instant,
}

type Addresses = Arc<[Address]>;
type WrittenAddresses = BTreeMap<ObjectName, Addresses>;

/// Result of a status write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Written,
    /// It stood as it should.
    Nothing,
}

/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a lookup may take; all Ingresses of a big cluster are many pages.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(30);
/// A configuration may not make a busy loop.
const MIN_REFRESH: Duration = Duration::from_millis(10);
/// A list that took so long is not asked for again until so many times that have gone by.
const REST_PER_LIST: u32 = 50;
/// Ingresses of which nothing is known that are asked for one by one; more are listed.
const MAX_ASKED: usize = 50;
/// The longest rest after the server failed.
const MAX_REST: Duration = Duration::from_secs(5);
/// Writes at once; more are spread by the pace.
const BURST: u32 = 20;
/// Ingresses that had an address and wait to be looked at; more are left as they are.
const MAX_LEFT: usize = 10_000;
/// How many are cleared at the same time when the process stops.
const CLEARED_AT_ONCE: usize = 16;

// === impl StatusWriter ===

impl StatusWriter {
    /// Prepares to write.
    pub(super) fn new(client: Client, config: StatusConfig, leadership: Leadership, counts: Arc<Counts>) -> Self {
        let now = Instant::now();
        Self {
            cluster: Cluster::new(client),
            pace: Pace::new(config.writes_per_second, BURST),
            config,
            leadership,
            counts,
            statuses: Arc::default(),
            wanted: None,
            outdated: None,
            known: WrittenAddresses::new(),
            queue: Queue::default(),
            rest_until: now,
            troubles: 0,
            list_at: now,
        }
    }

    /// Writes until `stop` turns true; then clears, if that was chosen and this is the last replica.
    pub(super) async fn run(mut self, mut statuses: watch::Receiver<Arc<Statuses>>, mut stop: watch::Receiver<bool>) {
        let leadership = self.leadership.clone();
        loop {
            tokio::select! {
                () = leadership.gained() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                // A write that is under way is cut off with everything else: what still arrives is early enough.
                _ = leadership.while_held(self.lead(&mut statuses)) => self.forget(),
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if self.config.clear_on_stop {
            let statuses = Arc::clone(&statuses.borrow());
            leadership.while_held(self.clear(&statuses)).await;
        }
        self.forget();
    }

    /// Writes, without end.
    async fn lead(&mut self, statuses: &mut watch::Receiver<Arc<Statuses>>) {
        let mut refresh_at = Instant::now();
        loop {
            let has_many_unknown = self.hear(statuses);
            if Instant::now() >= refresh_at || has_many_unknown && Instant::now() >= self.list_at {
                self.refresh().await;
                refresh_at = Instant::now() + self.config.refresh.max(MIN_REFRESH);
            }
            let turn = self.turn();
            if turn.is_some_and(|turn| turn <= Instant::now()) {
                self.attend().await;
                continue;
            }
            tokio::select! {
                // An error: nobody says anything any more, so the last word stands.
                Ok(()) = statuses.changed() => {}
                () = sleep_until(turn.map_or(refresh_at, |turn| turn.min(refresh_at))) => {}
            }
        }
    }

    /// Hears what is said now; tells whether that is news of so many that a list is cheaper than asking for each.
    fn hear(&mut self, statuses: &mut watch::Receiver<Arc<Statuses>>) -> bool {
        let now = Arc::clone(&statuses.borrow_and_update());
        if Arc::ptr_eq(&now, &self.statuses) {
            return false;
        }
        let before = std::mem::replace(&mut self.statuses, now);
        self.queue_left(&before);
        self.queue_differing();
        self.statuses.addressed_len() > self.known.len().saturating_add(MAX_ASKED)
    }

    /// Looks up the addresses again, and compares what stands on Ingresses with them.
    async fn refresh(&mut self) {
        self.look_up_addresses().await;
        if Instant::now() >= self.list_at && self.statuses.addressed_len() > 0 {
            self.list().await;
        }
        self.queue_differing();
    }

    async fn list(&mut self) {
        let begun = Instant::now();
        let listed = self.cluster.statuses(&self.config.namespaces, &self.statuses, self.wanted.as_ref());
        match within(LOOKUP_PATIENCE, listed).await {
            Ok(known) => {
                self.known = known;
                self.list_at = Instant::now() + begun.elapsed() * REST_PER_LIST;
            }
            Err(error) => {
                warn!(error = %error, "statuses not listed");
                self.list_at = Instant::now() + self.config.refresh.max(MIN_REFRESH);
            }
        }
    }

    async fn look_up_addresses(&mut self) {
        match within(LOOKUP_PATIENCE, self.cluster.addresses(&self.config)).await {
            Ok(found) if found.is_empty() => debug!("no address to publish yet"),
            Ok(found) if self.wanted.as_deref() == Some(&*found) => {}
            Ok(found) => {
                info!(addresses = ?found, "addresses to publish");
                self.outdated = self.wanted.replace(found.into());
            }
            Err(error) => warn!(error = %error, "addresses not found; statuses stay as they are"),
        }
    }

    /// Puts those into the queue that had an address and have none any more, unless somebody else's stands there.
    fn queue_left(&mut self, before: &Statuses) {
        let now = Instant::now();
        for name in before.addressed().filter(|name| !self.statuses.is_addressed(name)) {
            let is_foreign = self.known.remove(name).is_some_and(|standing| !self.is_ours(&standing));
            let has_room = self.queue.len() < self.statuses.addressed_len().saturating_add(MAX_LEFT);
            // As long as no address is known, none was written.
            if self.wanted.is_some() && !is_foreign && has_room {
                self.queue.add(name, now);
            }
        }
        self.tell_waiting();
    }

    /// Puts those into the queue that have an address and do not say what they should.
    fn queue_differing(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let now = Instant::now();
        for name in self.statuses.addressed().filter(|name| self.known.get(*name) != Some(wanted)) {
            self.queue.add(name, now);
        }
        self.tell_waiting();
    }

    /// When the first of the queue is to be looked at.
    fn turn(&self) -> Option<Instant> {
        self.queue.due().map(|due| due.max(self.rest_until))
    }

    /// Brings the first of the queue to what is wanted; a failure is tried again later.
    async fn attend(&mut self) {
        let now = Instant::now();
        if self.queue.first(now).is_some_and(|name| self.is_settled(name)) {
            self.queue.take(now);
            return self.tell_waiting();
        }
        match self.pace.take(now) {
            Ok(()) => self.attend_now().await,
            Err(later) => self.rest_until = later,
        }
    }

    /// Whether it became what it should be while it waited.
    fn is_settled(&self, name: &ObjectName) -> bool {
        self.wanted.is_some() && self.statuses.is_addressed(name) && self.known.get(name) == self.wanted.as_ref()
    }

    async fn attend_now(&mut self) {
        let (Some(wanted), Some((name, attempt))) = (self.wanted.clone(), self.queue.take(Instant::now())) else {
            return;
        };
        // While it is written to, nobody knows what stands there.
        let is_known = self.known.remove(&name).is_some();
        let has_address = self.statuses.is_addressed(&name);
        let bringing = async {
            if has_address { self.publish(&name, is_known, &wanted).await } else { self.take_back(&name).await }
        };
        let error = match timeout(PATIENCE, bringing).await {
            Ok(Ok(done)) => {
                self.troubles = 0;
                self.count(done);
                if has_address {
                    self.known.insert(name, wanted);
                }
                return self.tell_waiting();
            }
            // It is gone; the source will say so too.
            Ok(Err(Error::Api(status))) if status.is_not_found() => return self.tell_waiting(),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        self.put_back(name, attempt, error.as_ref());
        self.tell_waiting();
    }

    fn put_back(&mut self, name: ObjectName, attempt: Attempt, error: Option<&Error>) {
        let now = Instant::now();
        Counts::add(&self.counts.status_failures);
        if error.is_none_or(is_trouble) {
            // The next one would fare no better.
            self.troubles = self.troubles.saturating_add(1);
            self.rest_until = now + queue::backoff(self.troubles).min(MAX_REST);
        }
        let object = format!("Ingress/{name}");
        let error = error.map_or_else(|| "no response".to_owned(), Error::to_string);
        let backoff = self.queue.add_failed(name, attempt, now);
        warn!(object, error, retry_ms = backoff.as_millis(), "status not written");
    }

    /// Says where its traffic comes in.
    async fn publish(&self, name: &ObjectName, is_known: bool, wanted: &[Address]) -> Result<Done, Error> {
        // One that was not listed is new: it may have come with its status, from a backup for instance.
        if !is_known && self.cluster.read(name).await?.0 == *wanted {
            return Ok(Done::Nothing);
        }
        self.cluster.write(name, wanted).await?;
        Ok(Done::Written)
    }

    /// Takes the addresses away, if they are ours; whoever wrote others serves it now.
    async fn take_back(&self, name: &ObjectName) -> Result<Done, Error> {
        let (standing, version) = self.cluster.read(name).await?;
        if !self.is_ours(&standing) {
            return Ok(Done::Nothing);
        }
        self.cluster.clear(name, version).await?;
        Ok(Done::Written)
    }

    fn is_ours(&self, standing: &[Address]) -> bool {
        [&self.wanted, &self.outdated].into_iter().flatten().any(|ours| **ours == *standing)
    }

    /// Takes all addresses back, unless another replica goes on serving.
    async fn clear(&self, statuses: &Statuses) {
        let Some(pods) = self.config.pods.as_ref().filter(|_| self.wanted.is_some()) else { return };
        match self.cluster.has_others(pods).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return warn!(error = %error, "other replicas unknown; statuses stay as they are"),
        }
        let may_be_ours = |name: &&ObjectName| self.known.get(*name).is_none_or(|standing| self.is_ours(standing));
        let cleared: Vec<_> = statuses.addressed().filter(may_be_ours).map(|name| self.clear_one(name)).collect();
        futures::stream::iter(cleared).buffer_unordered(CLEARED_AT_ONCE).collect::<()>().await;
    }

    async fn clear_one(&self, name: &ObjectName) {
        match timeout(PATIENCE, self.take_back(name)).await {
            Ok(Ok(done)) => self.count(done),
            Ok(Err(Error::Api(status))) if status.is_not_found() => {}
            Ok(Err(error)) => warn!(object = format!("Ingress/{name}"), error = %error, "status not cleared"),
            Err(_) => warn!(object = format!("Ingress/{name}"), error = "no response", "status not cleared"),
        }
    }

    /// Forgets what only a leader may know for sure.
    fn forget(&mut self) {
        self.statuses = Arc::default();
        self.wanted = None;
        self.outdated = None;
        self.known = WrittenAddresses::new();
        self.queue = Queue::default();
        self.list_at = Instant::now();
        self.tell_waiting();
    }

    fn count(&self, done: Done) {
        if done == Done::Written {
            Counts::add(&self.counts.status_writes);
        }
    }

    fn tell_waiting(&self) {
        self.counts.status_waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }
}

/// Whether the server is at fault, and not what was asked of it.
fn is_trouble(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
