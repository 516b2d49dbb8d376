//! Who says what about which host, and which patterns a change of one of them reaches.
//!
//! A host is *served* by a pattern for which somebody has a route or a default backend; requests go to the most
//! specific one. A *stray* is a pattern that is only named in `tls`: its requests go to a pattern above it.
//! It knows contributions only, so that all of it follows from them, whatever the order in which they came.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::users::Users;
use crate::host::{HostPattern, Labels};
use crate::translate::contribution::{Contribution, HostPart, TlsEntry};

/// Contributions by host.
#[derive(Debug, Default)]
pub(crate) struct Names {
    index: Users<HostPattern>,
    strays: BTreeSet<HostPattern>,
    /// Every exact name, so that those under a wildcard are found without a search; nothing before an entry names one.
    exact: Option<BTreeSet<Reversed>>,
}

/// Hosts affected by a change.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Patterns whose routes, fallback or redirects may differ.
    pub routes: BTreeSet<HostPattern>,
    /// Patterns whose `tls` entries may count otherwise.
    pub tls: BTreeSet<HostPattern>,
}

/// A name in the order of its letters from the last one on: names under one suffix are neighbours.
#[derive(Debug, PartialEq, Eq)]
struct Reversed(Arc<str>);

// === impl Names ===

impl Names {
    pub(crate) fn link(&mut self, contribution: &Arc<Contribution>) {
        self.index.link(contribution.hosts.keys(), contribution);
    }

    pub(crate) fn unlink(&mut self, contribution: &Arc<Contribution>) {
        self.index.unlink(contribution.hosts.keys(), contribution);
    }

    /// Gives up empty room.
    pub(crate) fn pack(&mut self) {
        self.index.pack();
    }

    /// What is said about exactly this pattern, in no order.
    pub(crate) fn parts<'n>(&'n self, pattern: &'n HostPattern) -> impl Iterator<Item = &'n HostPart> + 'n {
        self.index.users(pattern).iter().filter_map(|user| user.hosts.get(pattern))
    }

    /// `tls` entries that name exactly this pattern, in no order.
    pub(crate) fn tls<'n>(&'n self, pattern: &'n HostPattern) -> impl Iterator<Item = &'n TlsEntry> + 'n {
        self.parts(pattern).flat_map(|part| &part.tls)
    }

    /// The pattern that requests for a pattern's hosts go to, as far as no more specific one takes them.
    pub(crate) fn serving(&self, pattern: &HostPattern) -> Option<HostPattern> {
        if self.is_served(pattern) {
            return Some(pattern.clone());
        }
        self.above(pattern)
    }

    /// Strays whose requests go to this pattern.
    pub(crate) fn strays_of(&self, pattern: &HostPattern) -> impl Iterator<Item = &HostPattern> {
        self.strays_under(pattern).filter(move |stray| self.above(stray).as_ref() == Some(pattern))
    }

    /// Exact names that a wildcard of one label matches.
    pub(crate) fn under(&self, wildcard: &HostPattern) -> impl Iterator<Item = HostPattern> {
        let suffix: Option<Arc<str>> = match wildcard {
            HostPattern::Wildcard { suffix, labels: Labels::One } => Some(format!(".{suffix}").into()),
            _ => None,
        };
        suffix.into_iter().flat_map(|suffix| {
            let first = Reversed(Arc::clone(&suffix));
            let names =
                self.exact.iter().flat_map(move |names| names.range((Bound::Excluded(&first), Bound::Unbounded)));
            let names = names.map(|name| &name.0).take_while(move |name| name.ends_with(&*suffix));
            names.filter(|name| wildcard.matches(name)).map(|name| HostPattern::Exact(Arc::clone(name)))
        })
    }

    /// Takes note of patterns of which somebody says something else than before, and says what that reaches.
    ///
    /// `tls`: those of them that `tls` entries name, or do not name any more, otherwise than before.
    /// `was_served`: whether a pattern was served before.
    pub(crate) fn settle(
        &mut self,
        changed: &BTreeSet<HostPattern>,
        tls: &BTreeSet<HostPattern>,
        was_served: impl Fn(&HostPattern) -> bool,
    ) -> Reach {
        if self.exact.is_none() && tls.iter().any(|pattern| matches!(pattern, HostPattern::Wildcard { .. })) {
            self.exact = Some(self.index.keys().filter_map(Reversed::of).collect());
        }
        let moved: Vec<&HostPattern> = changed.iter().filter(|pattern| self.note(pattern, tls)).collect();
        let mut reach = Reach { routes: changed.clone(), tls: changed.clone() };
        // A redirect for a stray stands on the routes of the pattern that serves it, and stood on those of the one before.
        for pattern in moved {
            reach.routes.extend(self.above(pattern));
            reach.routes.extend(pattern.above().into_iter().find(&was_served));
        }
        for pattern in tls {
            let names: Vec<HostPattern> = self.under(pattern).collect();
            reach.routes.extend(names.iter().cloned());
            reach.tls.extend(names);
        }
        for pattern in changed {
            self.reach_strays(pattern, was_served(pattern), &mut reach);
        }
        reach
    }

    /// Notes whether a pattern is a stray and a name; says whether as a stray it means something else than before.
    fn note(&mut self, pattern: &HostPattern, tls: &BTreeSet<HostPattern>) -> bool {
        let is_stray = !self.is_served(pattern) && self.tls(pattern).next().is_some();
        let was_stray = match is_stray {
            true => !self.strays.insert(pattern.clone()),
            false => self.strays.remove(pattern),
        };
        if let Some((exact, name)) = self.exact.as_mut().zip(Reversed::of(pattern)) {
            match self.index.users(pattern) {
                [] => drop(exact.remove(&name)),
                _ => drop(exact.insert(name)),
            }
        }
        is_stray != was_stray || is_stray && tls.contains(pattern)
    }

    /// Adds what it means to others that a pattern is served by others, or not any more.
    fn reach_strays(&self, pattern: &HostPattern, was_served: bool, reach: &mut Reach) {
        // An entry for the wildcard above may count for this name alone.
        reach.tls.extend(pattern.wildcard_above().filter(|wildcard| self.tls(wildcard).next().is_some()));
        let mut strays = self.strays_under(pattern).peekable();
        let has_strays = strays.peek().is_some();
        reach.tls.extend(strays.cloned());
        if has_strays && was_served != self.is_served(pattern) {
            reach.routes.extend(self.above(pattern));
        }
    }

    fn is_served(&self, pattern: &HostPattern) -> bool {
        self.parts(pattern).any(HostPart::serves)
    }

    /// The most specific pattern above this one that is served.
    fn above(&self, pattern: &HostPattern) -> Option<HostPattern> {
        pattern.above().into_iter().find(|above| self.is_served(above))
    }

    /// Strays that a pattern contains, itself left out.
    fn strays_under(&self, pattern: &HostPattern) -> impl Iterator<Item = &HostPattern> {
        let strays = (!matches!(pattern, HostPattern::Exact(_))).then_some(&self.strays);
        strays.into_iter().flatten().filter(move |stray| contains(pattern, stray))
    }
}

/// Whether one pattern matches everything that another one matches, and more.
fn contains(pattern: &HostPattern, other: &HostPattern) -> bool {
    match (pattern, other) {
        (_, HostPattern::Any) | (HostPattern::Exact(_), _) => false,
        (HostPattern::Any, _) => true,
        (_, HostPattern::Exact(name)) => pattern.matches(name),
        (HostPattern::Wildcard { labels: Labels::One, .. }, _) => false,
        (HostPattern::Wildcard { suffix, labels: Labels::Many }, HostPattern::Wildcard { suffix: inner, labels }) => {
            *labels == Labels::One && inner == suffix || pattern.matches(inner)
        }
    }
}

// === impl Reversed ===

impl Reversed {
    fn of(pattern: &HostPattern) -> Option<Self> {
        let HostPattern::Exact(name) = pattern else { return None };
        Some(Self(Arc::clone(name)))
    }
}

impl Ord for Reversed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.bytes().rev().cmp(other.0.bytes().rev())
    }
}

impl PartialOrd for Reversed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
