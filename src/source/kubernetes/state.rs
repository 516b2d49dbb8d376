//! What follows from the words of the API server. Pure: no client, no clock.
//!
//! A feed is one kind in one namespace, or in all. A list of a feed is taken in as one: what it does not name is
//! gone, and nothing goes before the list has ended. Nothing is delivered before every feed has ended its first.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::NAME;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Batch, Event, Kind, Object, ObjectRef};

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
    /// The list was refused or broke off; it is tried again.
    ListFailed(String),
    /// The watch was refused or broke off; it is tried again.
    WatchFailed(String),
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
    feeds: Vec<Feed>,
    /// What the next batch holds.
    events: Vec<Event>,
    told: Vec<Diagnostic>,
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
}

#[derive(Debug, Default)]
struct List {
    named: BTreeSet<ObjectRef>,
    events: Vec<Event>,
    broken: BTreeMap<ObjectRef, Diagnostic>,
}

// === impl State ===

impl State {
    /// Adds a feed and returns its number.
    pub(super) fn add_feed(&mut self, kind: Kind) -> usize {
        self.feeds.push(Feed {
            kind,
            present: BTreeSet::new(),
            list: None,
            broken: BTreeMap::new(),
            fault: None,
            is_complete: false,
        });
        self.feeds.len() - 1
    }

    /// Takes a word in.
    pub(super) fn take(&mut self, feed: usize, seen: Seen) {
        if let Some(feed) = self.feeds.get_mut(feed) {
            self.events.extend(feed.take(seen));
        }
    }

    /// What is to be delivered now, if anything.
    pub(super) fn batch(&mut self, noticed: Instant) -> Option<Batch> {
        let is_partial = !self.feeds.iter().all(|feed| feed.is_complete);
        let diagnostics: Vec<Diagnostic> = self.feeds.iter().flat_map(Feed::diagnostics).collect();
        let events = if is_partial { Vec::new() } else { std::mem::take(&mut self.events) };
        let was_complete = std::mem::replace(&mut self.was_complete, !is_partial);
        if events.is_empty() && diagnostics == self.told && (is_partial || was_complete) {
            return None;
        }
        self.told.clone_from(&diagnostics);
        Some(Batch { source: NAME, events, diagnostics, noticed, is_complete: !is_partial })
    }
}

// === impl Feed ===

impl Feed {
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
            Seen::ListFailed(error) => self.fault = Some(fault(self.kind, &error)),
            // The watch goes on from where it was: nothing is lost, and no word would tell that it is well again.
            Seen::WatchFailed(error) => {
                tracing::warn!(source = NAME, kind = self.kind.as_str(), error, "watch interrupted");
            }
        }
        Vec::new()
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

fn fault(kind: Kind, error: &str) -> Diagnostic {
    let message = format!("cannot be listed: {error}");
    Diagnostic::error("SourceUnavailable", &Origin::new(kind.as_str(), "", "", None), message)
        .hint("the last good state stays in force; see that the ServiceAccount may list and watch them")
}
