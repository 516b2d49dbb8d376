//! Who is followed: a feed a kind and place, for every kind of the table, in all namespaces, in named ones, or in those
//! that labels choose now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{AbortHandle, BoxStream, SelectAll, StreamExt, abortable};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tracing::{info, warn};

use super::decode::{self, Guarded};
use super::fault::NAME;
use super::presence::{self, Availability, Change, Presence};
use super::scoped;
use super::state::ClusterState;
use super::watch_event::{FeedId, NamespaceEvent, ObjectEvent, SecretEvent, WatchEvent};
use crate::resources::{Feed, Kind, Tabled, Visit};

/// Namespaces and kinds that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Whose objects are.
    pub scope: Scope,
    /// Whose Secrets are; empty: those of the scope.
    pub secrets: Vec<String>,
    /// How long after a change an empty batch follows, for whoever does things only so often.
    pub tick: Option<Duration>,
    /// Kinds that the server may not know, or not yet: what the table says, unless told otherwise.
    pub optional: BTreeSet<Kind>,
    /// How often the server is asked for such a kind that it does not know.
    pub ask_again: Duration,
}

/// Scope of what is read: all namespaces, named ones or those with labels.
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

/// Watches of all kinds and namespaces of a server.
pub(super) struct Feeds {
    client: Client,
    heard: SelectAll<BoxStream<'static, FeedEvent>>,
    next: FeedId,
    open: BTreeMap<FeedId, Open>,
    /// Where objects are followed.
    places: BTreeSet<Place>,
    /// Whether Secrets are followed by a list of namespaces of their own.
    has_own_secrets: bool,
    /// Kinds that the server may not know.
    optional: BTreeMap<Kind, Presence>,
    /// Those of them that it does not know, as far as is known.
    absent: BTreeSet<Kind>,
    /// Namespaces that a list of the selected ones has named so far.
    listing: Option<Vec<String>>,
}

/// Event of one of the watches.
pub(super) enum FeedEvent {
    Object(FeedId, ObjectEvent),
    Secret(FeedId, SecretEvent),
    Namespace(NamespaceEvent),
    Presence(Kind, Availability),
}

/// All namespaces, or one.
type Place = Option<String>;

/// A feed that is open.
struct Open {
    kind: Kind,
    /// Whose place it is for; none, when it does not go with one.
    place: Option<Place>,
    end: AbortHandle,
}

/// Opens a feed of whole objects.
struct FollowObjects<'c> {
    client: &'c Client,
    namespace: Option<&'c str>,
    id: FeedId,
}

// === impl Reads ===

/// How often a server is asked for a kind that it does not know.
const ASK_AGAIN: Duration = Duration::from_secs(15);

impl Default for Reads {
    fn default() -> Self {
        let optional = Kind::rows().filter(|(_, row)| row.is_optional).map(|(kind, _)| kind).collect();
        Self { scope: Scope::default(), secrets: Vec::new(), tick: None, optional, ask_again: ASK_AGAIN }
    }
}

// === impl Feeds ===

impl Feeds {
    /// Prepares to follow what is to be read. Nothing is asked of the server yet.
    pub(super) fn new(client: Client, reads: &Reads, state: &mut ClusterState) -> Self {
        let mut feeds = Self {
            client,
            heard: SelectAll::new(),
            next: 0,
            open: BTreeMap::new(),
            places: BTreeSet::new(),
            has_own_secrets: !reads.secrets.is_empty(),
            optional: BTreeMap::new(),
            absent: BTreeSet::new(),
            listing: None,
        };
        reads.optional.iter().for_each(|kind| feeds.ask(*kind, reads.ask_again, state));
        for (kind, row) in Kind::rows().filter(|(_, row)| !row.is_namespaced()) {
            match (row.feed, &reads.scope) {
                (Feed::Objects, _) => feeds.open(kind, None, None, state),
                (Feed::Selector, Scope::Selector(labels)) => feeds.follow_namespaces(labels, state),
                _ => {}
            }
        }
        for namespace in &reads.secrets {
            feeds.open(Kind::Secret, Some(namespace), None, state);
        }
        match &reads.scope {
            Scope::All => feeds.enter(None, state),
            Scope::Namespaces(names) => names.iter().for_each(|name| feeds.enter(Some(name.clone()), state)),
            Scope::Selector(_) => {}
        }
        feeds
    }

    /// What is heard next.
    pub(super) async fn next(&mut self) -> Option<FeedEvent> {
        self.heard.next().await
    }

    /// Heeds which namespaces are chosen.
    pub(super) fn take_namespace(&mut self, event: NamespaceEvent, state: &mut ClusterState) {
        match event {
            WatchEvent::Init => self.listing = Some(Vec::new()),
            WatchEvent::InitApply(name) => self.listing.get_or_insert_default().push(name),
            WatchEvent::InitDone => {
                let listed: BTreeSet<Place> = self.listing.take().unwrap_or_default().into_iter().map(Some).collect();
                let gone: Vec<Place> = self.places.difference(&listed).cloned().collect();
                gone.iter().for_each(|place| self.leave(place, state));
                listed.into_iter().for_each(|place| self.enter(place, state));
                state.awaits_feeds = false;
                state.set_kind_fault(Kind::Namespace, None);
            }
            WatchEvent::Apply(name) => self.enter(Some(name), state),
            WatchEvent::Delete(name) => self.leave(&Some(name), state),
            WatchEvent::Failed(failure) => state.set_kind_fault(Kind::Namespace, Some(&failure.error)),
        }
    }

    /// Heeds whether the server has a kind.
    pub(super) fn take_answer(&mut self, kind: Kind, answer: &Availability, state: &mut ClusterState) {
        let Some(presence) = self.optional.get_mut(&kind) else { return };
        let change = presence.take(answer);
        let error = if let Availability::Unknown(failure) = answer { Some(&*failure.error) } else { None };
        if let Some(change) = change {
            log_presence(kind, &change, error);
            self.follow_presence(kind, &change, state);
            state.settle_kind(kind);
        }
        // What is followed says by itself what is wrong.
        state.set_kind_fault(kind, error.filter(|_| self.absent.contains(&kind)));
    }

    fn follow_presence(&mut self, kind: Kind, change: &Change, state: &mut ClusterState) {
        match change {
            Change::Appeared => {
                self.absent.remove(&kind);
                self.open_everywhere(kind, state);
            }
            Change::Gone => {
                self.absent.insert(kind);
                self.close(state, |open| open.kind == kind);
            }
            Change::Settled => {}
        }
    }

    /// Asks whether the server has a kind, again and again.
    fn ask(&mut self, kind: Kind, pause: Duration, state: &mut ClusterState) {
        let Some(row) = kind.row() else { return };
        self.optional.insert(kind, Presence::default());
        self.absent.insert(kind);
        state.await_kind(kind);
        let answers = presence::ask(self.client.clone(), row, pause);
        self.heard.push(answers.map(move |answer| FeedEvent::Presence(kind, answer)).boxed());
    }

    /// Opens the feeds of a kind in all places.
    fn open_everywhere(&mut self, kind: Kind, state: &mut ClusterState) {
        if kind.row().is_some_and(|row| !row.is_namespaced()) {
            return self.open(kind, None, None, state);
        }
        for place in self.places.clone() {
            self.open(kind, place.as_deref(), Some(&place), state);
        }
    }

    /// Follows the objects of one namespace, or of all.
    fn enter(&mut self, place: Place, state: &mut ClusterState) {
        if !self.places.insert(place.clone()) {
            return;
        }
        for (kind, row) in Kind::rows().filter(|(_, row)| row.is_namespaced()) {
            if !(self.has_own_secrets && row.feed == Feed::OnDemand) {
                self.open(kind, place.as_deref(), Some(&place), state);
            }
        }
    }

    fn leave(&mut self, place: &Place, state: &mut ClusterState) {
        self.places.remove(place);
        self.close(state, |open| open.place.as_ref() == Some(place));
    }

    /// Opens a feed, unless the kind is one that the server does not know.
    fn open(&mut self, kind: Kind, namespace: Option<&str>, place: Option<&Place>, state: &mut ClusterState) {
        let Some(row) = kind.row().filter(|_| !self.absent.contains(&kind)) else { return };
        let id = self.next;
        let heard = match row.feed {
            Feed::Objects => {
                state.add_feed(id, kind, self.optional.contains_key(&kind));
                kind.visit(FollowObjects { client: &self.client, namespace, id })
            }
            Feed::OnDemand => {
                state.secrets.add_feed(id, namespace);
                Some(follow_secrets(&self.client, namespace, id))
            }
            Feed::Selector | Feed::Files => None,
        };
        let Some(heard) = heard else { return };
        let (heard, end) = abortable(heard);
        self.next += 1;
        self.open.insert(id, Open { kind, place: place.cloned(), end });
        self.heard.push(heard.boxed());
    }

    /// Ends feeds: what came from them is gone.
    fn close(&mut self, state: &mut ClusterState, is_meant: impl Fn(&Open) -> bool) {
        self.open.retain(|id, open| {
            if !is_meant(open) {
                return true;
            }
            open.end.abort();
            state.remove_feed(*id);
            false
        });
    }

    fn follow_namespaces(&mut self, labels: &str, state: &mut ClusterState) {
        state.awaits_feeds = true;
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let events = decode::follow(api, Config::default().labels(labels));
        self.heard.push(events.map(|event| FeedEvent::Namespace(decode::namespace(event))).boxed());
    }
}

fn log_presence(kind: Kind, change: &Change, error: Option<&str>) {
    let (source, name) = (NAME, kind.as_str());
    match (change, error) {
        (Change::Appeared, _) => info!(source, kind = name, "kind has appeared, watching it"),
        (Change::Gone, _) => info!(source, kind = name, "kind has disappeared, its objects are removed"),
        (Change::Settled, Some(error)) => warn!(source, kind = name, error, "presence of the kind unknown"),
        (Change::Settled, None) => info!(source, kind = name, "kind is not installed, it is watched once it is"),
    }
}

// === impl FollowObjects ===

impl Visit for FollowObjects<'_> {
    type Output = BoxStream<'static, FeedEvent>;

    fn visit<K: Tabled>(self) -> Self::Output {
        let (id, mut decode) = (self.id, decode::objects::<K>());
        let api = scoped::api::<Guarded<K>>(self.client, self.namespace);
        decode::follow(api, Config::default()).map(move |event| FeedEvent::Object(id, decode(event))).boxed()
    }
}

/// Opens a feed of the versions of Secrets.
fn follow_secrets(client: &Client, namespace: Option<&str>, id: FeedId) -> BoxStream<'static, FeedEvent> {
    let api = match namespace {
        Some(name) => Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    };
    let events = decode::follow(api, Config::default());
    events.map(move |event| FeedEvent::Secret(id, decode::secret(event))).boxed()
}
