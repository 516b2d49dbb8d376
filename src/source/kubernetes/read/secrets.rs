//! Which Secrets are held, and what is to be fetched. Pure: no client, no clock.
//!
//! Names and versions of all Secrets are watched, contents are fetched of those that are wanted and only then. A
//! Secret that cannot be fetched keeps what was held of it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::fault::{Cause, Failure, NAME, fault};
use super::watch_event::{FeedId, SecretEvent, SecretVersion, WatchEvent};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::resources::{Event, Kind, Object, ObjectName, ObjectRef};

/// Fetches under way at once: an API server has others to serve.
const MAX_FETCHES: usize = 16;

/// Result of a fetch.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The Secret, and its version.
    There(Box<Object>, Arc<str>),
    /// There is none.
    Missing,
    /// Nobody knows; it is tried again.
    Failed(String),
}

/// Secrets: those that exist, those that are needed, and what was fetched.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    feeds: BTreeMap<FeedId, Feed>,
    wanted: BTreeMap<ObjectName, WantedSecret>,
    /// To be fetched, in order; no name stands here twice.
    queue: VecDeque<ObjectName>,
    in_flight: usize,
}

/// The versions of one namespace's Secrets, or of all.
#[derive(Debug, Default)]
struct Feed {
    namespace: Option<Arc<str>>,
    versions: BTreeMap<ObjectName, Arc<str>>,
    list: Option<BTreeMap<ObjectName, Arc<str>>>,
    fault: Option<Diagnostic>,
    /// Whether a list has ended, or was forbidden: there is nothing to wait for.
    is_settled: bool,
}

/// A Secret that is wanted.
#[derive(Debug, Default)]
struct WantedSecret {
    /// The version that was delivered.
    held: Option<Arc<str>>,
    fetch: Fetch,
    fault: Option<Diagnostic>,
    /// Whether it is known, or known not to be there, or was asked for in vain.
    is_settled: bool,
    failures: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Fetch {
    #[default]
    None,
    Queued,
    /// Under way; and whether it changed meanwhile.
    InFlight(bool),
}

// === impl Secrets ===

impl Secrets {
    /// Adds a feed of one namespace, or of all.
    pub(super) fn add_feed(&mut self, id: FeedId, namespace: Option<&str>) {
        self.feeds.insert(id, Feed { namespace: namespace.map(Into::into), ..Feed::default() });
    }

    /// Ends a feed: what came from it is gone.
    pub(super) fn remove_feed(&mut self, id: FeedId) -> Vec<Event> {
        let Some(feed) = self.feeds.remove(&id) else { return Vec::new() };
        feed.versions.into_keys().filter_map(|name| self.lose(&name)).collect()
    }

    /// Whether every feed has said all that it had at start.
    pub(super) fn is_settled(&self) -> bool {
        self.feeds.values().all(|feed| feed.is_settled)
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_answered(&self) -> bool {
        self.is_settled() && self.wanted.values().all(|want| want.is_settled)
    }

    /// Whether a Secret was delivered and is there.
    pub(super) fn holds(&self, name: &ObjectName) -> bool {
        self.wanted.get(name).is_some_and(|want| want.held.is_some())
    }

    /// Takes in which Secrets are wanted.
    pub(super) fn want(&mut self, changes: BTreeMap<ObjectName, bool>) -> Vec<Event> {
        let mut events = Vec::new();
        for (name, is_wanted) in changes {
            if !is_wanted {
                let was = self.wanted.remove(&name);
                self.queue.retain(|queued| *queued != name);
                events.extend(was.and_then(|want| want.held).map(|_| Event::Delete(reference(&name))));
            } else if !self.wanted.contains_key(&name) {
                // Asked for even where no version is known: what refers to it may be heard of before it.
                let is_followed = self.follows(&name);
                let fetch = if is_followed { Fetch::Queued } else { Fetch::None };
                self.wanted
                    .insert(name.clone(), WantedSecret { fetch, is_settled: !is_followed, ..WantedSecret::default() });
                self.queue.extend(is_followed.then_some(name));
            }
        }
        events
    }

    /// Takes in what a feed says about versions.
    pub(super) fn take(&mut self, feed: FeedId, event: SecretEvent) -> Vec<Event> {
        let Some(known) = self.feeds.get_mut(&feed) else { return Vec::new() };
        match event {
            WatchEvent::Init => known.list = Some(BTreeMap::new()),
            WatchEvent::InitApply(SecretVersion { name, version }) => {
                known.list.get_or_insert_default().insert(name, version);
            }
            WatchEvent::InitDone => return self.end(feed),
            WatchEvent::Apply(SecretVersion { name, version }) => {
                known.versions.insert(name.clone(), version);
                self.look(&name);
            }
            WatchEvent::Delete(name) => {
                known.versions.remove(&name);
                return self.lose(&name).into_iter().collect();
            }
            WatchEvent::Failed(failure) => return self.fail(feed, &failure),
        }
        Vec::new()
    }

    /// What may be fetched now; each must be answered.
    pub(super) fn next_fetch(&mut self) -> Option<(ObjectName, u32)> {
        if self.in_flight >= MAX_FETCHES {
            return None;
        }
        let name = self.queue.pop_front()?;
        let want = self.wanted.get_mut(&name)?;
        want.fetch = Fetch::InFlight(false);
        self.in_flight += 1;
        Some((name, want.failures))
    }

    /// Takes the answer to a fetch in.
    pub(super) fn fetched(&mut self, name: &ObjectName, answer: Fetched) -> Option<Event> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let want = self.wanted.get_mut(name)?;
        let has_changed = std::mem::take(&mut want.fetch) == Fetch::InFlight(true);
        want.is_settled = true;
        let event = match answer {
            Fetched::There(object, version) => {
                (want.held, want.fault, want.failures) = (Some(version), None, 0);
                Some(Event::Apply(*object))
            }
            Fetched::Missing => {
                (want.fault, want.failures) = (None, 0);
                want.held.take().map(|_| Event::Delete(reference(name)))
            }
            Fetched::Failed(error) => {
                want.fault = Some(fault_of(name, &error));
                want.failures = want.failures.saturating_add(1);
                want.fetch = Fetch::Queued;
                self.queue.push_back(name.clone());
                return None;
            }
        };
        if has_changed {
            self.look(name);
        }
        event
    }

    /// What there is to say.
    pub(super) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let wants = self.wanted.values().filter_map(|want| want.fault.as_ref());
        self.feeds.values().filter_map(|feed| feed.fault.as_ref()).chain(wants).cloned()
    }

    /// Puts the list in the place of what was known.
    fn end(&mut self, feed: FeedId) -> Vec<Event> {
        let Some(known) = self.feeds.get_mut(&feed) else { return Vec::new() };
        let list = known.list.take().unwrap_or_default();
        let before = std::mem::replace(&mut known.versions, list);
        let gone: BTreeSet<ObjectName> = before.into_keys().filter(|name| !known.versions.contains_key(name)).collect();
        (known.fault, known.is_settled) = (None, true);
        self.look_again();
        gone.iter().filter_map(|name| self.lose(name)).collect()
    }

    /// Routes without Secrets are served even where Secrets are forbidden.
    fn fail(&mut self, feed: FeedId, failure: &Failure) -> Vec<Event> {
        let Some(known) = self.feeds.get_mut(&feed) else { return Vec::new() };
        if known.is_settled && known.list.is_none() {
            tracing::warn!(source = NAME, kind = "Secret", error = failure.error, "watch interrupted");
            return Vec::new();
        }
        known.fault = Some(fault(Kind::Secret, &failure.error));
        known.is_settled |= failure.cause == Cause::Forbidden;
        Vec::new()
    }

    fn look_again(&mut self) {
        let wanted: Vec<ObjectName> = self.wanted.keys().cloned().collect();
        wanted.iter().for_each(|name| self.look(name));
    }

    /// Queues a wanted Secret whose version is not the one that is held.
    fn look(&mut self, name: &ObjectName) {
        let version = self.feeds.values().find_map(|feed| feed.versions.get(name));
        let Some(want) = self.wanted.get_mut(name) else { return };
        match (version, &mut want.fetch) {
            (None, _) => {}
            (Some(version), _) if want.held.as_ref() == Some(version) => want.is_settled = true,
            (Some(_), Fetch::InFlight(has_changed)) => *has_changed = true,
            (Some(_), Fetch::Queued) => {}
            (Some(_), fetch @ Fetch::None) => {
                *fetch = Fetch::Queued;
                self.queue.push_back(name.clone());
            }
        }
    }

    /// Whether its namespace is one of those that are read.
    fn follows(&self, name: &ObjectName) -> bool {
        self.feeds.values().any(|feed| feed.namespace.as_ref().is_none_or(|namespace| *namespace == name.namespace))
    }

    fn lose(&mut self, name: &ObjectName) -> Option<Event> {
        self.queue.retain(|queued| queued != name);
        let want = self.wanted.get_mut(name)?;
        if want.fetch == Fetch::Queued {
            want.fetch = Fetch::None;
        }
        (want.is_settled, want.fault, want.failures) = (true, None, 0);
        want.held.take().map(|_| Event::Delete(reference(name)))
    }
}

fn reference(name: &ObjectName) -> ObjectRef {
    ObjectRef { kind: Kind::Secret, name: name.clone() }
}

fn fault_of(name: &ObjectName, error: &str) -> Diagnostic {
    Diagnostic::warning(Code::SecretUnavailable, &reference(name).origin(None), format!("cannot be fetched: {error}"))
        .hint("it is retried; its last good version stays in force")
}
