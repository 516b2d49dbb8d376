//! Fair turns: few places, and work of many groups that waits for them.
//!
//! Groups with something due have their turn one after the other, whatever each of them has; within a group the first
//! due comes first. No group gets the last places: a quarter of what is free stays for the others.
//! A leaf module: it must not know what the work is, or what the groups stand for.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::capacity::may_take;

/// Percent of the free places that a group leaves to the others.
const RESERVE: usize = 25;

/// Work that waits, by group.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    groups: HashMap<Arc<str>, Group<T>>,
    /// Groups of which nothing is due yet, by when something is.
    waiting: BTreeSet<(Instant, Arc<str>)>,
    /// Groups of which something is due, the next one at the front.
    ready: VecDeque<Arc<str>>,
    places: usize,
    taken: usize,
    sequence: u64,
    len: usize,
}

#[derive(Debug)]
struct Group<T> {
    /// By when each is due; what is due at the same time by the order in which it came.
    work: BTreeMap<(Instant, u64), T>,
    taken: usize,
    is_ready: bool,
}

/// Work whose turn it is. It counts as running until [`Turns::done`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn<T> {
    pub(crate) group: Arc<str>,
    /// Since when it was due.
    pub(crate) due: Instant,
    pub(crate) work: T,
}

// === impl Turns ===

impl<T> Turns<T> {
    /// Turns at so many places.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            groups: HashMap::new(),
            waiting: BTreeSet::new(),
            ready: VecDeque::new(),
            places,
            taken: 0,
            sequence: 0,
            len: 0,
        }
    }

    /// Adds work that is due at some time.
    pub(crate) fn push(&mut self, group: &Arc<str>, due: Instant, work: T) {
        self.sequence += 1;
        self.len += 1;
        let known = self.groups.entry(Arc::clone(group)).or_default();
        let first = known.first();
        known.work.insert((due, self.sequence), work);
        if known.is_ready || first.is_some_and(|first| first <= due) {
            return;
        }
        if let Some(first) = first {
            self.waiting.remove(&(first, Arc::clone(group)));
        }
        self.waiting.insert((due, Arc::clone(group)));
    }

    /// Takes the work whose turn it is out, if there is a place for it.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Turn<T>> {
        let index = self.find(now)?;
        let name = self.ready.remove(index)?;
        let group = self.groups.get_mut(&name)?;
        let ((due, _), work) = group.work.pop_first()?;
        group.taken += 1;
        self.taken += 1;
        self.len -= 1;
        group.is_ready = false;
        match group.first() {
            Some(first) if first <= now => {
                group.is_ready = true;
                self.ready.push_back(Arc::clone(&name));
            }
            Some(first) => drop(self.waiting.insert((first, Arc::clone(&name)))),
            None => {}
        }
        Some(Turn { group: name, due, work })
    }

    /// Whether there is work for which there is a place.
    pub(crate) fn has_next(&mut self, now: Instant) -> bool {
        self.find(now).is_some()
    }

    /// Frees the place of work of that group.
    pub(crate) fn done(&mut self, group: &Arc<str>) {
        let Some(known) = self.groups.get_mut(group) else { return };
        self.taken = self.taken.saturating_sub(1);
        known.taken = known.taken.saturating_sub(1);
        if known.taken == 0 && known.work.is_empty() {
            self.groups.remove(group);
        }
    }

    /// When more work comes to be due; `None`: not before [`Self::done`] or [`Self::push`].
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let first = self.waiting.first().map(|(due, _)| *due);
        first.filter(|_| self.taken < self.places)
    }

    /// Work that waits, due or not.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Work of that group that waits, due or not.
    pub(crate) fn len_of(&self, group: &str) -> usize {
        self.groups.get(group).map_or(0, |group| group.work.len())
    }

    /// The first in turn of the groups for which there is a place. Those that are passed over keep their turn.
    fn find(&mut self, now: Instant) -> Option<usize> {
        while let Some((due, _)) = self.waiting.first()
            && *due <= now
            && let Some((_, name)) = self.waiting.pop_first()
        {
            if let Some(group) = self.groups.get_mut(&name) {
                group.is_ready = true;
                self.ready.push_back(name);
            }
        }
        let left = self.places.saturating_sub(self.taken);
        let has_place =
            |name: &Arc<str>| self.groups.get(name).is_some_and(|group| may_take(group.taken, left, RESERVE));
        if left == 0 { None } else { self.ready.iter().position(has_place) }
    }
}

// === impl Group ===

impl<T> Group<T> {
    fn first(&self) -> Option<Instant> {
        self.work.first_key_value().map(|((due, _), _)| *due)
    }
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self { work: BTreeMap::new(), taken: 0, is_ready: false }
    }
}

#[cfg(test)]
mod tests;
