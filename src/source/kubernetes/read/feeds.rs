//! Who is followed: a feed a kind, in all namespaces, in named ones, or in those that labels choose now.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::secrets::Version;
use super::state::{FeedId, Seen, State};
use super::words::{self, Chosen, Watched};

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Whose objects are.
    pub scope: Scope,
    /// Whose Secrets are; empty: those of the scope.
    pub secrets: Vec<String>,
    /// How long after a change an empty batch follows, for whoever does things only so often.
    pub tick: Option<Duration>,
}

/// Whose objects are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of all namespaces.
    #[default]
    All,
    /// Those of these namespaces.
    Namespaces(Vec<String>),
    /// Those of namespaces with these labels, as `kubectl -l` takes them.
    Selector(String),
}

/// All that is heard of a server.
pub(super) struct Feeds {
    client: Client,
    heard: SelectAll<BoxStream<'static, Said>>,
    next: FeedId,
    /// Whether Secrets are followed by a list of namespaces of their own.
    has_own_secrets: bool,
    /// Namespaces that the selector has chosen.
    selected: BTreeMap<String, Selected>,
    /// Namespaces that a list of the selected ones has named so far.
    listing: Option<Vec<String>>,
}

/// What is heard.
pub(super) enum Said {
    Object(FeedId, Seen),
    Secret(FeedId, Version),
    Namespace(Chosen),
}

/// The feeds of one namespace.
struct Selection {
    objects: Vec<FeedId>,
    secrets: Option<FeedId>,
}

/// A chosen namespace; its feeds end when this is dropped.
struct Selected {
    feeds: Selection,
    _end: watch::Sender<()>,
}

// === impl Feeds ===

impl Feeds {
    /// Prepares to follow what is to be read. Nothing is asked of the server yet.
    pub(super) fn new(client: Client, reads: &Reads, state: &mut State) -> Self {
        let has_own_secrets = !reads.secrets.is_empty();
        let (heard, selected) = (SelectAll::new(), BTreeMap::new());
        let mut feeds = Self { client, heard, next: 0, has_own_secrets, selected, listing: None };
        feeds.follow::<IngressClass>(Api::all(feeds.client.clone()), None, state);
        for namespace in &reads.secrets {
            feeds.follow_secrets(Some(namespace), None, state);
        }
        match &reads.scope {
            Scope::All => drop(feeds.follow_namespace(None, None, state)),
            Scope::Namespaces(names) => {
                names.iter().for_each(|name| drop(feeds.follow_namespace(Some(name), None, state)));
            }
            Scope::Selector(labels) => feeds.follow_namespaces(labels, state),
        }
        feeds
    }

    /// What is heard next.
    pub(super) async fn next(&mut self) -> Option<Said> {
        self.heard.next().await
    }

    /// Heeds which namespaces are chosen.
    pub(super) fn choose(&mut self, word: Chosen, state: &mut State) {
        match word {
            Chosen::Begin => self.listing = Some(Vec::new()),
            Chosen::Listed(name) => self.listing.get_or_insert_default().push(name),
            Chosen::End => {
                let listed = self.listing.take().unwrap_or_default();
                let gone = self.selected.keys().filter(|name| !listed.contains(name)).cloned().collect::<Vec<_>>();
                gone.iter().for_each(|name| self.leave(name, state));
                listed.into_iter().for_each(|name| self.enter(name, state));
                state.awaits_feeds = false;
                state.set_scope_fault(None);
            }
            Chosen::Entered(name) => self.enter(name, state),
            Chosen::Left(name) => self.leave(&name, state),
            Chosen::Failed(failure) => state.set_scope_fault(Some(&failure.error)),
        }
    }

    fn enter(&mut self, name: String, state: &mut State) {
        if self.selected.contains_key(&name) {
            return;
        }
        let (end, ended) = watch::channel(());
        let feeds = self.follow_namespace(Some(&name), Some(&ended), state);
        self.selected.insert(name, Selected { feeds, _end: end });
    }

    fn leave(&mut self, name: &str, state: &mut State) {
        let Some(Selected { feeds, .. }) = self.selected.remove(name) else { return };
        feeds.objects.iter().for_each(|feed| state.remove_feed(*feed));
        if let Some(feed) = feeds.secrets {
            let events = state.secrets.remove_feed(feed);
            state.extend(events);
        }
    }

    /// Follows the objects of one namespace, or of all.
    fn follow_namespace(
        &mut self,
        name: Option<&str>,
        end: Option<&watch::Receiver<()>>,
        state: &mut State,
    ) -> Selection {
        let client = self.client.clone();
        let objects = vec![
            self.follow(api::<DeserializeGuard<Ingress>>(&client, name), end, state),
            self.follow(api::<DeserializeGuard<Service>>(&client, name), end, state),
            self.follow(api::<DeserializeGuard<EndpointSlice>>(&client, name), end, state),
        ];
        Selection { objects, secrets: (!self.has_own_secrets).then(|| self.follow_secrets(name, end, state)) }
    }

    fn follow<K>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        end: Option<&watch::Receiver<()>>,
        state: &mut State,
    ) -> FeedId
    where
        K: Watched + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let id = self.new_feed();
        state.add_feed(id, K::KIND);
        let mut seen = words::seen::<K>();
        let words = words::follow(api, watcher::Config::default()).map(move |word| Said::Object(id, seen(word)));
        self.push(words.boxed(), end);
        id
    }

    fn follow_secrets(
        &mut self,
        namespace: Option<&str>,
        end: Option<&watch::Receiver<()>>,
        state: &mut State,
    ) -> FeedId {
        let id = self.new_feed();
        state.secrets.add_feed(id, namespace);
        let api = api::<PartialObjectMeta<Secret>>(&self.client, namespace);
        let words = words::follow(api, watcher::Config::default());
        self.push(words.map(move |word| Said::Secret(id, words::version(word))).boxed(), end);
        id
    }

    fn follow_namespaces(&mut self, labels: &str, state: &mut State) {
        state.awaits_feeds = true;
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let words = words::follow(api, watcher::Config::default().labels(labels));
        self.push(words.map(|word| Said::Namespace(words::chosen(word))).boxed(), None);
    }

    fn push(&mut self, words: BoxStream<'static, Said>, end: Option<&watch::Receiver<()>>) {
        let Some(mut end) = end.cloned() else { return self.heard.push(words) };
        self.heard.push(words.take_until(async move { while end.changed().await.is_ok() {} }.boxed()).boxed());
    }

    fn new_feed(&mut self) -> FeedId {
        self.next += 1;
        self.next
    }
}

/// The objects of one namespace, or of all.
fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(name) => Api::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    }
}
