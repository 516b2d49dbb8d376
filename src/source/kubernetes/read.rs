//! Kubernetes objects of an API server.
//!
//! Takes a client and a scope, gives batches of typed objects: first everything, at once, then what changes. A
//! server that fails, is away or speaks nonsense keeps the last good state. What follows from what the server says
//! is decided in [`state`] and [`secrets`], with values only; here is what is *done*: hearing, fetching, delivering.

pub(crate) mod cache;
mod decode;
mod demand;
mod fault;
mod feeds;
mod presence;
mod scoped;
mod secrets;
mod state;
mod watch_event;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::{Contact, chain};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Batch, Event, Object, ObjectName, Strings};
use crate::telemetry::vitals::Pulse;
use cache::Remembered;
pub use demand::Demand;
pub(crate) use fault::NAME;
use feeds::{FeedEvent, Feeds};
pub use feeds::{Reads, Scope};
use secrets::Fetched;
use state::ClusterState;
use watch_event::WatchEvent;

/// How long a burst of changes is gathered into one batch, counted from its first.
const GATHER: Duration = Duration::from_millis(3);
/// Changes in one batch, so that a burst without end is delivered too.
const MAX_GATHERED: usize = 1024;
/// How long a change waits for Secrets that it brings into use.
const DEMAND_PATIENCE: Duration = Duration::from_secs(1);
/// The same at start.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long one fetch may take.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The source.
pub struct Kubernetes {
    client: Client,
    contact: Contact,
    demand: Demand,
    feeds: Feeds,
    fetches: FuturesUnordered<BoxFuture<'static, (ObjectName, Fetched)>>,
    state: ClusterState,
    /// The last demand, and until when a change waits for it.
    asked: Option<(u64, Instant)>,
    /// See [`Reads::tick`].
    tick: Option<Duration>,
    next_tick: Option<Instant>,
}

/// Wake-up of the source.
enum Wake {
    FeedEvent(FeedEvent),
    Demand(demand::Pending),
    Fetched(ObjectName, Fetched),
    Contact(bool),
    OutOfPatience,
    Tick,
}

/// A source that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Running(JoinHandle<()>);

// === impl Kubernetes ===

impl Kubernetes {
    /// Makes the source. Nothing is asked of the server yet.
    pub fn new(client: Client, contact: Contact, reads: &Reads) -> Self {
        let mut state = ClusterState::default();
        Self {
            feeds: Feeds::new(client.clone(), reads, &mut state),
            client,
            contact,
            demand: Demand::default(),
            fetches: FuturesUnordered::new(),
            state,
            asked: None,
            tick: reads.tick,
            next_tick: None,
        }
    }

    /// Begins with what is served from memory until the server has said everything.
    #[must_use]
    pub fn remembering(mut self, remembered: &Remembered) -> Self {
        let age = remembered.written.elapsed().unwrap_or_default().as_secs();
        let message = format!("the state of {age} s ago is served until the API server has been read");
        let stale = Diagnostic::warning(Code::StaleState, &Origin::new("Kubernetes", "", "", None), message)
            .hint("check that the API server is reachable");
        self.state.remember(remembered.objects.iter().map(Object::to_ref), stale);
        self
    }

    /// The batch that such a source begins with.
    pub fn first_batch(&self, remembered: Remembered) -> Batch {
        let events = remembered.objects.into_iter().map(Event::Apply).collect();
        Batch { events, is_complete: true, ..self.state.repeat(std::time::Instant::now()) }
    }

    /// Takes which Secrets are wanted.
    pub fn demand(&self) -> Demand {
        self.demand.clone()
    }

    /// Delivers batches until the result is dropped or nobody receives any more.
    ///
    /// The first batch that is complete holds everything; earlier ones hold diagnostics only.
    pub fn watch(self, sender: Sender<Batch>, pulse: Arc<Pulse>) -> Running {
        Running(tokio::spawn(async move { pulse.watch(self.run(sender)).await }))
    }

    async fn run(mut self, sender: Sender<Batch>) {
        let mut contact = self.contact.changes();
        let demand = self.demand.clone();
        loop {
            let wake = self.wake(&demand, &mut contact).await;
            let noticed = Instant::now();
            self.take(wake);
            self.gather(noticed).await;
            self.fetch();
            self.answer();
            let Some(batch) = self.batch(noticed) else { continue };
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// What is to be delivered; at a tick that is an empty batch.
    fn batch(&mut self, noticed: Instant) -> Option<Batch> {
        let batch = self.state.batch(noticed.into_std());
        match (&batch, self.next_tick) {
            (Some(_), None) => self.next_tick = self.tick.map(|tick| noticed + tick),
            (None, Some(tick)) if tick <= noticed => {
                self.next_tick = None;
                return Some(self.state.repeat(noticed.into_std()));
            }
            (Some(_), Some(tick)) if tick <= noticed => self.next_tick = None,
            _ => {}
        }
        batch
    }

    async fn wake(&mut self, demand: &Demand, contact: &mut watch::Receiver<bool>) -> Wake {
        let patience = self.asked.map(|(_, until)| until);
        let tick = self.next_tick;
        tokio::select! {
            Some(heard) = self.feeds.next() => Wake::FeedEvent(heard),
            Some((name, fetched)) = self.fetches.next() => Wake::Fetched(name, fetched),
            pending = demand.next() => Wake::Demand(pending),
            Ok(()) = contact.changed() => Wake::Contact(*contact.borrow_and_update()),
            () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                Wake::OutOfPatience
            }
            () = tokio::time::sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => Wake::Tick,
        }
    }

    /// Takes in what comes within a moment.
    async fn gather(&mut self, noticed: Instant) {
        let until = noticed + GATHER;
        for _ in 1..MAX_GATHERED {
            let Ok(Some(heard)) = timeout_at(until, self.feeds.next()).await else { return };
            self.hear(heard);
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::FeedEvent(heard) => self.hear(heard),
            Wake::Fetched(name, fetched) => {
                let event = self.state.secrets.fetched(&name, fetched);
                self.state.extend(event);
            }
            Wake::Demand(demand::Pending { changes, number }) => {
                let events = self.state.secrets.want(changes);
                self.state.extend(events);
                // The first demand is that of everything there is, and nobody is served yet.
                let patience = if self.state.answered == 0 { START_PATIENCE } else { DEMAND_PATIENCE };
                self.asked = Some((number, Instant::now() + patience));
            }
            Wake::Contact(is_lost) => self.state.is_lost = is_lost,
            Wake::OutOfPatience => self.settle(),
            Wake::Tick => {}
        }
    }

    fn hear(&mut self, heard: FeedEvent) {
        match heard {
            FeedEvent::Object(feed, event) => {
                if !matches!(event, WatchEvent::Failed(_)) {
                    self.contact.note_heard();
                }
                self.state.take(feed, event);
            }
            FeedEvent::Secret(feed, event) => {
                let events = self.state.secrets.take(feed, event);
                self.state.extend(events);
            }
            FeedEvent::Namespace(event) => self.feeds.take_namespace(event, &mut self.state),
            FeedEvent::Presence(kind, answer) => self.feeds.take_answer(kind, &answer, &mut self.state),
        }
    }

    /// Begins the fetches that may begin.
    fn fetch(&mut self) {
        while let Some((name, failures)) = self.state.secrets.next_fetch() {
            let api = Api::<Secret>::namespaced(self.client.clone(), &name.namespace);
            self.fetches.push(async move { (name.clone(), fetch(&api, &name.name, failures).await) }.boxed());
        }
    }

    /// Settles the demand when everything that it wants is known.
    fn answer(&mut self) {
        // What is served from memory waits for nothing.
        if self.asked.is_some() && (self.state.secrets.is_answered() || self.state.is_stale()) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some((number, _)) = self.asked.take() {
            self.state.answered = number;
        }
    }
}

impl Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").finish_non_exhaustive()
    }
}

/// Fetches a Secret, later the more often that failed.
async fn fetch(api: &Api<Secret>, name: &str, failures: u32) -> Fetched {
    if failures > 0 {
        let pause = Duration::from_millis(500) * 2_u32.saturating_pow(failures.min(8));
        sleep(pause.min(LONGEST_RETRY).mul_f64(0.75 + 0.25 * fastrand::f64())).await;
    }
    match timeout(FETCH_PATIENCE, api.get_opt(name)).await {
        Ok(Ok(Some(secret))) => {
            let version = decode::version_of(&secret.metadata);
            Fetched::There(Box::new(Object::of(secret, None, &mut Strings::default())), version)
        }
        Ok(Ok(None)) => Fetched::Missing,
        Ok(Err(error)) => Fetched::Failed(chain(&error)),
        Err(_) => Fetched::Failed(format!("no response within {} s", FETCH_PATIENCE.as_secs())),
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
