//! Kubernetes objects of an API server.
//!
//! Takes a client and namespaces, gives batches of typed objects: first everything, at once, then what changes.
//! A server that fails, is away or speaks nonsense keeps the last good state. What follows from a word of the
//! server is decided in [`state`], with values only; here is what is *done*: listing and watching.

pub mod client;
mod object;
mod state;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use crate::resources::Batch;
use object::Watched;
use state::{Seen, State};

/// Name of this source in batches, logs and metrics.
pub const NAME: &str = "kubernetes";

/// How long a burst of changes is gathered into one batch, counted from its first.
const GATHER: Duration = Duration::from_millis(3);
/// Changes in one batch, so that a burst without end is delivered too.
const MAX_GATHERED: usize = 1024;

/// The source.
pub struct Kubernetes {
    feeds: SelectAll<BoxStream<'static, (usize, Seen)>>,
    state: State,
}

/// A source that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Running(JoinHandle<()>);

// === impl Kubernetes ===

impl Kubernetes {
    /// Makes the source for these namespaces; none: all of the cluster. Nothing is asked of the server yet.
    pub fn new(client: &Client, namespaces: &[String]) -> Self {
        let mut source = Self { feeds: SelectAll::new(), state: State::default() };
        source.follow::<IngressClass>(Api::all(client.clone()));
        source.follow_in::<Ingress>(client, namespaces);
        source.follow_in::<Service>(client, namespaces);
        source.follow_in::<EndpointSlice>(client, namespaces);
        source
    }

    /// Delivers batches until the result is dropped or nobody receives any more.
    ///
    /// The first batch that is complete holds everything; earlier ones hold diagnostics only.
    pub fn watch(self, sender: Sender<Batch>) -> Running {
        Running(tokio::spawn(self.run(sender)))
    }

    fn follow_in<K>(&mut self, client: &Client, namespaces: &[String])
    where
        K: Watched + Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        if namespaces.is_empty() {
            self.follow::<K>(Api::all(client.clone()));
        }
        for namespace in namespaces {
            self.follow::<K>(Api::namespaced(client.clone(), namespace));
        }
    }

    fn follow<K>(&mut self, api: Api<DeserializeGuard<K>>)
    where
        K: Watched + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let feed = self.state.add_feed(K::KIND);
        let words = watcher(api, watcher::Config::default()).default_backoff();
        self.feeds.push(words.map(move |word| (feed, object::seen(word))).boxed());
    }

    async fn run(mut self, sender: Sender<Batch>) {
        while let Some((feed, seen)) = self.feeds.next().await {
            let noticed = Instant::now();
            self.state.take(feed, seen);
            self.gather(noticed).await;
            if let Some(batch) = self.state.batch(noticed)
                && sender.send(batch).await.is_err()
            {
                return;
            }
        }
    }

    /// Takes in what comes within a moment.
    async fn gather(&mut self, noticed: Instant) {
        let until = tokio::time::Instant::from_std(noticed + GATHER);
        for _ in 1..MAX_GATHERED {
            let Ok(Some((feed, seen))) = tokio::time::timeout_at(until, self.feeds.next()).await else { return };
            self.state.take(feed, seen);
        }
    }
}

impl Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("feeds", &self.feeds.len()).finish_non_exhaustive()
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
