//! What follows from the words of the API server. Pure: no client, no clock.
//!
//! A feed is one kind in one namespace, or in all. A list of a feed is taken in as one: what it does not name is
//! gone, and nothing goes before the list has ended. Nothing is delivered before every feed has ended its first.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::NAME;
use super::secrets::Secrets;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Batch, Event, Kind, Object, ObjectRef};

/// Numbers feeds, of all kinds.
pub(super) type FeedId = usize;

/// A word of a feed.
#[derive(Debug)]
pub(super) enum Seen {
    /// A list begins.
    Begin,
    /// It names this.
    Listed(Word),
    /// It has ended.
    End,
    /// Something was added or changed.
    Applied(Word),
    /// Something is gone.
    Deleted(ObjectRef),
    /// A list or a watch was refused or broke off; it is tried again.
    Failed(Failure),
}

/// Why a list or a watch did not go on.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: String,
    /// The server will not do it: trying again helps when somebody changes its mind.
    pub(super) is_forbidden: bool,
}

/// An object, or what is known of one that cannot be read.
#[derive(Debug)]
pub(super) enum Word {
    Object(Object),
    Broken(ObjectRef, String),
}

/// What the source knows.
#[derive(Debug, Default)]
pub(super) struct State {
    feeds: BTreeMap<FeedId, Feed>,
    pub(super) secrets: Secrets,
    /// Whether it is not known yet which feeds there are to be.
    pub(super) awaits_feeds: bool,
    /// The last demand for Secrets that is settled.
    pub(super) answered: u64,
    /// Whether the server does not answer.
    pub(super) is_lost: bool,
    /// Why the selected namespaces are not known.
    scope_fault: Option<Diagnostic>,
    /// What is served from memory and was not heard of yet, and what is said of that.
    remembered: BTreeSet<ObjectRef>,
    stale: Option<Diagnostic>,
    /// What the next batch holds.
    events: Vec<Event>,
    told: Vec<Diagnostic>,
    told_answer: u64,
    /// Whether a complete batch was delivered.
    was_complete: bool,
}

#[derive(Debug)]
struct Feed {
    kind: Kind,
    present: BTreeSet<ObjectRef>,
    /// The list that is under way: what it has named so far.
    list: Option<List>,
    broken: BTreeMap<ObjectRef, Diagnostic>,
    fault: Option<Diagnostic>,
    is_complete: bool,
    /// Whether its first list was refused; others are not held up for it.
    is_forbidden: bool,
}

#[derive(Debug, Default)]
struct List {
    named: BTreeSet<ObjectRef>,
    events: Vec<Event>,
    broken: BTreeMap<ObjectRef, Diagnostic>,
}

// === impl State ===

impl State {
    /// Adds a feed.
    pub(super) fn add_feed(&mut self, id: FeedId, kind: Kind) {
        self.feeds.insert(id, Feed::new(kind));
    }

    /// Ends a feed: what came from it is gone.
    pub(super) fn remove_feed(&mut self, id: FeedId) {
        if let Some(feed) = self.feeds.remove(&id) {
            self.events.extend(feed.present.into_iter().map(Event::Delete));
        }
    }

    /// Takes a word in.
    pub(super) fn take(&mut self, id: FeedId, seen: Seen) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            self.events.extend(feed.take(seen));
        }
    }

    /// Takes in what follows for Secrets.
    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        self.events.extend(events);
    }

    /// Begins with objects that are served from memory until everything is known.
    pub(super) fn remember(&mut self, names: impl IntoIterator<Item = ObjectRef>, stale: Diagnostic) {
        self.remembered.extend(names);
        self.stale = Some(stale);
    }

    /// Whether what is served is from memory.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Lets go of what was remembered and is not there any more. Secrets are not missed before they were asked for.
    fn forget(&mut self) {
        self.stale = None;
        let is_settled = self.secrets.is_answered();
        let is_known = |name: &ObjectRef| match name.kind {
            Kind::Secret => !is_settled || self.secrets.holds(&name.name),
            _ => self.feeds.values().any(|feed| feed.present.contains(name)),
        };
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.remembered).into_iter().partition(is_known);
        self.remembered = kept.into_iter().filter(|name| name.kind == Kind::Secret && !is_settled).collect();
        self.events.extend(gone.into_iter().map(Event::Delete));
    }

    /// Notes whether the selected namespaces are known.
    pub(super) fn set_scope_fault(&mut self, error: Option<&str>) {
        self.scope_fault = error.map(|error| fault(Kind::Namespace, error));
    }

    /// Whether every feed has said all that it had at start.
    pub(super) fn is_complete(&self) -> bool {
        let settled = |feed: &Feed| feed.is_complete || feed.is_forbidden;
        // Where a kind is refused altogether there is nothing to serve, and nothing to be ready for.
        let is_known = |kind| self.feeds.values().any(|feed| feed.kind == kind && feed.is_complete);
        let feeds = self.feeds.values();
        !self.awaits_feeds
            && self.secrets.is_settled()
            && feeds.clone().all(settled)
            && feeds.map(|feed| feed.kind).collect::<BTreeSet<_>>().into_iter().all(is_known)
    }

    /// What is to be delivered now, if anything.
    pub(super) fn batch(&mut self, noticed: Instant) -> Option<Batch> {
        // Once everything was there, a new feed holds up nothing.
        let is_complete = self.was_complete || self.is_complete();
        if is_complete && (self.is_stale() || !self.remembered.is_empty()) {
            self.forget();
        }
        let diagnostics: Vec<Diagnostic> = self.diagnostics();
        let events = if is_complete { std::mem::take(&mut self.events) } else { Vec::new() };
        let is_news = (is_complete && !self.was_complete) || self.answered != self.told_answer;
        if events.is_empty() && diagnostics == self.told && !is_news {
            return None;
        }
        self.told.clone_from(&diagnostics);
        (self.was_complete, self.told_answer) = (is_complete, self.answered);
        Some(Batch { source: NAME, events, diagnostics, noticed, is_complete, answered: self.answered })
    }

    /// What was said last, without any event.
    pub(super) fn repeat(&self, noticed: Instant) -> Batch {
        let (diagnostics, is_complete) = (self.diagnostics(), self.was_complete);
        Batch { source: NAME, events: Vec::new(), diagnostics, noticed, is_complete, answered: self.answered }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let lost = self.is_lost.then(|| {
            let origin = Origin::new("Kubernetes", "", "", None);
            Diagnostic::warning("SourceUnavailable", &origin, "the API server does not answer")
                .hint("the last good state stays in force")
        });
        let feeds = self.feeds.values().flat_map(Feed::diagnostics);
        lost.into_iter()
            .chain(self.stale.clone())
            .chain(self.scope_fault.clone())
            .chain(feeds)
            .chain(self.secrets.diagnostics())
            .collect()
    }
}

// === impl Feed ===

impl Feed {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            present: BTreeSet::new(),
            list: None,
            broken: BTreeMap::new(),
            fault: None,
            is_complete: false,
            is_forbidden: false,
        }
    }

    fn take(&mut self, seen: Seen) -> Vec<Event> {
        match seen {
            Seen::Begin => self.list = Some(List::default()),
            Seen::Listed(word) => self.list.get_or_insert_default().add(word),
            Seen::End => return self.end(),
            Seen::Applied(Word::Object(object)) => {
                let name = object.to_ref();
                self.broken.remove(&name);
                self.present.insert(name);
                return vec![Event::Apply(object)];
            }
            Seen::Applied(Word::Broken(name, error)) => {
                let diagnostic = broken(&name, &error);
                self.broken.insert(name, diagnostic);
            }
            Seen::Deleted(name) => {
                self.broken.remove(&name);
                return self.present.take(&name).map(Event::Delete).into_iter().collect();
            }
            Seen::Failed(failure) => self.fail(&failure),
        }
        Vec::new()
    }

    fn fail(&mut self, failure: &Failure) {
        if self.is_complete && self.list.is_none() {
            // The watch goes on from where it was: nothing is lost, and no word would tell that it is well again.
            tracing::warn!(source = NAME, kind = self.kind.as_str(), error = failure.error, "watch interrupted");
            return;
        }
        self.fault = Some(fault(self.kind, &failure.error));
        self.is_forbidden |= failure.is_forbidden;
    }

    /// Puts the list in the place of what was known, all at once.
    fn end(&mut self) -> Vec<Event> {
        let list = self.list.take().unwrap_or_default();
        let kept = |name: &ObjectRef| list.named.contains(name) || list.broken.contains_key(name);
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.present).into_iter().partition(|name| kept(name));
        self.present = kept.into_iter().chain(list.named).collect();
        self.broken = list.broken;
        self.fault = None;
        self.is_complete = true;
        list.events.into_iter().chain(gone.into_iter().map(Event::Delete)).collect()
    }

    fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        self.fault.iter().chain(self.broken.values()).cloned()
    }
}

// === impl List ===

impl List {
    fn add(&mut self, word: Word) {
        match word {
            Word::Object(object) => {
                self.named.insert(object.to_ref());
                self.events.push(Event::Apply(object));
            }
            Word::Broken(name, error) => {
                let diagnostic = broken(&name, &error);
                self.broken.insert(name, diagnostic);
            }
        }
    }
}

fn broken(name: &ObjectRef, error: &str) -> Diagnostic {
    Diagnostic::error("InvalidObject", &name.origin(None), error).hint("its last good content stays in force")
}

/// What is said of a kind that cannot be listed.
pub(super) fn fault(kind: Kind, error: &str) -> Diagnostic {
    let message = format!("cannot be listed: {error}");
    Diagnostic::error("SourceUnavailable", &Origin::new(kind.as_str(), "", "", None), message)
        .hint("the last good state stays in force; see that the ServiceAccount may list and watch them")
}
