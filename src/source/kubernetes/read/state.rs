//! What follows from what the API server says. Pure: no client, no clock.
//!
//! A feed is one kind in one namespace, or in all. A list of a feed is taken in as one: what it does not name is
//! gone, and nothing goes before the list has ended. Nothing is delivered before every feed has ended its first.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::fault::{Cause, Failure, NAME, fault};
use super::secrets::Secrets;
use super::watch_event::{Decoded, FeedId, ObjectEvent, WatchEvent};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Batch, Event, Kind, ObjectRef};

/// State of the source: objects of the cluster, and which lists are complete.
#[derive(Debug, Default)]
pub(super) struct ClusterState {
    feeds: BTreeMap<FeedId, Feed>,
    pub(super) secrets: Secrets,
    /// Whether it is not known yet which feeds there are to be.
    pub(super) awaits_feeds: bool,
    /// The last demand for Secrets that is settled.
    pub(super) answered: u64,
    /// Whether the server does not answer.
    pub(super) is_lost: bool,
    /// Optional kinds of which is not known yet whether the server has them.
    awaited: BTreeSet<Kind>,
    /// Why the selected namespaces, or whether a kind is there, are not known.
    kind_faults: BTreeMap<Kind, Diagnostic>,
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
    is_refused: bool,
    /// Whether the server may not have the kind.
    is_optional: bool,
}

#[derive(Debug, Default)]
struct List {
    named: BTreeSet<ObjectRef>,
    events: Vec<Event>,
    broken: BTreeMap<ObjectRef, Diagnostic>,
}

// === impl ClusterState ===

impl ClusterState {
    /// Adds a feed.
    pub(super) fn add_feed(&mut self, id: FeedId, kind: Kind, is_optional: bool) {
        self.feeds.insert(id, Feed::new(kind, is_optional));
    }

    /// Ends a feed: what came from it is gone.
    pub(super) fn remove_feed(&mut self, id: FeedId) {
        if let Some(feed) = self.feeds.remove(&id) {
            self.events.extend(feed.present.into_iter().map(Event::Delete));
        }
        let lost = self.secrets.remove_feed(id);
        self.events.extend(lost);
    }

    /// Takes in what a feed says.
    pub(super) fn take(&mut self, id: FeedId, event: ObjectEvent) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            self.events.extend(feed.take(event));
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

    /// Waits until it is known whether the server has a kind.
    pub(super) fn await_kind(&mut self, kind: Kind) {
        self.awaited.insert(kind);
    }

    /// Waits no longer.
    pub(super) fn settle_kind(&mut self, kind: Kind) {
        self.awaited.remove(&kind);
    }

    /// Notes why it is not known what there is of a kind.
    pub(super) fn set_kind_fault(&mut self, kind: Kind, error: Option<&str>) {
        match error {
            Some(error) => drop(self.kind_faults.insert(kind, fault(kind, error))),
            None => drop(self.kind_faults.remove(&kind)),
        }
    }

    /// Whether every feed has said all that it had at start.
    pub(super) fn is_complete(&self) -> bool {
        let settled = |feed: &Feed| feed.is_complete || feed.is_refused;
        // Where a kind is refused altogether there is nothing to serve, and nothing to be ready for.
        let is_known = |kind| self.feeds.values().any(|feed| feed.kind == kind && feed.is_complete);
        let feeds = self.feeds.values();
        !self.awaits_feeds
            && self.awaited.is_empty()
            && self.secrets.is_settled()
            && feeds.clone().all(settled)
            && feeds
                .filter(|feed| !feed.is_optional)
                .map(|feed| feed.kind)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .all(is_known)
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
            Diagnostic::warning(Code::SourceUnavailable, &origin, "the API server does not respond")
                .hint("the last good state stays in force")
        });
        let feeds = self.feeds.values().flat_map(Feed::diagnostics);
        lost.into_iter()
            .chain(self.stale.clone())
            .chain(self.kind_faults.values().cloned())
            .chain(feeds)
            .chain(self.secrets.diagnostics())
            .collect()
    }
}

// === impl Feed ===

impl Feed {
    fn new(kind: Kind, is_optional: bool) -> Self {
        Self {
            kind,
            present: BTreeSet::new(),
            list: None,
            broken: BTreeMap::new(),
            fault: None,
            is_complete: false,
            is_refused: false,
            is_optional,
        }
    }

    fn take(&mut self, event: ObjectEvent) -> Vec<Event> {
        match event {
            WatchEvent::Init => self.list = Some(List::default()),
            WatchEvent::InitApply(decoded) => self.list.get_or_insert_default().add(decoded),
            WatchEvent::InitDone => return self.end(),
            WatchEvent::Apply(Decoded::Object(object)) => {
                let name = object.to_ref();
                self.broken.remove(&name);
                self.present.insert(name);
                return vec![Event::Apply(object)];
            }
            WatchEvent::Apply(Decoded::Broken(name, error)) => {
                let diagnostic = broken(&name, &error);
                self.broken.insert(name, diagnostic);
            }
            WatchEvent::Delete(name) => {
                self.broken.remove(&name);
                return self.present.take(&name).map(Event::Delete).into_iter().collect();
            }
            WatchEvent::Failed(failure) => self.fail(&failure),
        }
        Vec::new()
    }

    fn fail(&mut self, failure: &Failure) {
        if self.is_optional && failure.cause == Cause::Missing {
            // The kind went, or is not told of to everybody: nothing that anybody could mend.
            (self.is_refused, self.fault) = (true, None);
            return;
        }
        if self.is_complete && self.list.is_none() {
            // The watch goes on from where it was: nothing is lost, and no event would tell that it is well again.
            tracing::warn!(source = NAME, kind = self.kind.as_str(), error = failure.error, "watch interrupted");
            return;
        }
        self.fault = Some(fault(self.kind, &failure.error));
        self.is_refused |= failure.cause == Cause::Forbidden;
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
    fn add(&mut self, decoded: Decoded) {
        match decoded {
            Decoded::Object(object) => {
                self.named.insert(object.to_ref());
                self.events.push(Event::Apply(object));
            }
            Decoded::Broken(name, error) => {
                let diagnostic = broken(&name, &error);
                self.broken.insert(name, diagnostic);
            }
        }
    }
}

fn broken(name: &ObjectRef, error: &str) -> Diagnostic {
    Diagnostic::error(Code::InvalidObject, &name.origin(None), error).hint("its last good content stays in force")
}
