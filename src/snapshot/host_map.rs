//! From host to value: one name, `*.suffix`, `**.suffix` or every host, the most specific first.
//!
//! Tables are cut into shards behind `Arc`, so that a copy with one change clones one shard.
//! It must not know what the values are.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ahash::RandomState;

use crate::host::{HostPattern, Labels};

/// Shards of the table of exact names: at 100,000 hosts, one holds about 200.
const EXACT_SHARDS: usize = 512;
/// Shards of each table of wildcards.
const WILDCARD_SHARDS: usize = 64;

/// From host to value.
#[derive(Clone)]
pub struct HostMap<T> {
    exact: Table<T>,
    one: Table<T>,
    many: Table<T>,
    any: Option<(HostPattern, T)>,
}

/// A table that a host was looked up in, and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried<'h> {
    /// The host itself.
    Exact(&'h str),
    /// `*.suffix`.
    One(&'h str),
    /// `**.suffix`.
    Many(&'h str),
    /// Every host.
    Any,
}

/// Values by name, sharded by the name's hash.
struct Table<T> {
    hasher: RandomState,
    shards: Arc<[Arc<Shard<T>>]>,
    len: usize,
}

type Shard<T> = HashMap<Key, T, RandomState>;

/// A pattern that is looked up by its name or suffix. All patterns of a table are of one kind.
#[derive(Clone)]
struct Key(HostPattern);

// === impl HostMap ===

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self {
            exact: Table::new(EXACT_SHARDS),
            one: Table::new(WILDCARD_SHARDS),
            many: Table::new(WILDCARD_SHARDS),
            any: None,
        }
    }
}

impl<T> HostMap<T> {
    /// Finds the value of the most specific pattern that matches a canonical host (lower case, no port, no trailing dot).
    pub fn find(&self, host: &str) -> Option<&T> {
        self.find_entry(host, |_, _| {}).map(|(_, value)| value)
    }

    /// As [`HostMap::find`], telling each table that is asked and whether it knew, and giving the pattern as well.
    pub fn find_entry<'h>(&self, host: &'h str, mut tell: impl FnMut(Tried<'h>, bool)) -> Option<(&HostPattern, &T)> {
        let mut told = |tried: Tried<'h>, found: Option<_>| {
            tell(tried, found.is_some());
            found
        };
        told(Tried::Exact(host), self.exact.find(host))
            .or_else(|| self.find_wildcard(host, &mut told))
            .or_else(|| told(Tried::Any, self.any.as_ref().map(|(pattern, value)| (pattern, value))))
    }

    /// The value of exactly this pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.find(name),
            HostPattern::Wildcard { suffix, labels: Labels::One } => self.one.find(suffix),
            HostPattern::Wildcard { suffix, labels: Labels::Many } => self.many.find(suffix),
            HostPattern::Any => self.any.as_ref().map(|(pattern, value)| (pattern, value)),
        }
        .map(|(_, value)| value)
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.exact.len + self.one.len + self.many.len + usize::from(self.any.is_some())
    }

    /// All patterns with their values, in order of precedence; names of equal precedence by alphabet. Sorts: for display.
    pub fn iter(&self) -> impl Iterator<Item = (&HostPattern, &T)> {
        let tables = [&self.exact, &self.one, &self.many];
        let mut all: Vec<_> = tables.into_iter().flat_map(Table::iter).collect();
        all.extend(self.any.as_ref().map(|(pattern, value)| (pattern, value)));
        all.sort_by(|(a, _), (b, _)| precedence(a).cmp(&precedence(b)));
        all.into_iter()
    }

    /// Walks the suffixes at the dots, longest first. `*.` stands for one label, so only the longest can be its.
    fn find_wildcard<'s, 'h>(
        &'s self,
        host: &'h str,
        told: &mut impl FnMut(Tried<'h>, Option<(&'s HostPattern, &'s T)>) -> Option<(&'s HostPattern, &'s T)>,
    ) -> Option<(&'s HostPattern, &'s T)> {
        let (first, mut suffix) = host.split_once('.')?;
        if first.is_empty() {
            return None;
        }
        if self.one.len > 0
            && let Some(found) = told(Tried::One(suffix), self.one.find(suffix))
        {
            return Some(found);
        }
        if self.many.len == 0 {
            return None;
        }
        loop {
            if let Some(found) = told(Tried::Many(suffix), self.many.find(suffix)) {
                return Some(found);
            }
            (_, suffix) = suffix.split_once('.')?;
        }
    }
}

impl<T: Clone> HostMap<T> {
    /// A copy with changes (`None` removes); what is not named is shared with the original.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = (HostPattern, Option<T>)>) -> Self {
        let (mut exact, mut one, mut many) = (self.exact.edit(), self.one.edit(), self.many.edit());
        let mut any = self.any.clone();
        for (pattern, value) in changes {
            match &pattern {
                HostPattern::Exact(_) => exact.put(Key(pattern), value),
                HostPattern::Wildcard { labels: Labels::One, .. } => one.put(Key(pattern), value),
                HostPattern::Wildcard { labels: Labels::Many, .. } => many.put(Key(pattern), value),
                HostPattern::Any => any = value.map(|value| (pattern, value)),
            }
        }
        Self { exact: exact.finish(), one: one.finish(), many: many.finish(), any }
    }
}

impl<T: fmt::Debug> fmt::Debug for HostMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A table that is being changed. The list of shards is copied on the first change.
struct Edit<T> {
    table: Table<T>,
    shards: Option<Vec<Arc<Shard<T>>>>,
}

// === impl Table, Edit ===

impl<T> Table<T> {
    fn new(shards: usize) -> Self {
        let hasher = RandomState::new();
        let empty = Arc::new(Shard::with_hasher(hasher.clone()));
        Self { shards: (0..shards).map(|_| Arc::clone(&empty)).collect(), hasher, len: 0 }
    }

    fn find(&self, name: &str) -> Option<(&HostPattern, &T)> {
        if self.len == 0 {
            return None;
        }
        let shard = self.shards.get(self.shard_of(name))?;
        shard.get_key_value(name).map(|(key, value)| (&key.0, value))
    }

    fn iter(&self) -> impl Iterator<Item = (&HostPattern, &T)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (&key.0, value))
    }

    /// The middle bits choose the shard: the map inside uses the top and bottom ones of the same hash.
    fn shard_of(&self, name: &str) -> usize {
        (self.hasher.hash_one(name) >> 32) as usize % self.shards.len()
    }
}

impl<T: Clone> Table<T> {
    fn edit(&self) -> Edit<T> {
        Edit { table: self.clone(), shards: None }
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { hasher: self.hasher.clone(), shards: Arc::clone(&self.shards), len: self.len }
    }
}

impl<T: Clone> Edit<T> {
    fn put(&mut self, key: Key, value: Option<T>) {
        let index = self.table.shard_of(key.borrow());
        let shards = self.shards.get_or_insert_with(|| self.table.shards.to_vec());
        let Some(shard) = shards.get_mut(index).map(Arc::make_mut) else { return };
        let (added, removed) = match value {
            Some(value) => (1, shard.insert(key, value).is_some()),
            None => (0, shard.remove::<str>(key.borrow()).is_some()),
        };
        self.table.len = self.table.len + added - usize::from(removed);
    }

    fn finish(self) -> Table<T> {
        match self.shards {
            Some(shards) => Table { shards: shards.into(), ..self.table },
            None => self.table,
        }
    }
}

// === impl Key ===

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        match &self.0 {
            HostPattern::Exact(name) => name,
            HostPattern::Wildcard { suffix, .. } => suffix,
            HostPattern::Any => "",
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

// === impl Tried ===

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::One(suffix) => write!(f, "*.{suffix}"),
            Self::Many(suffix) => write!(f, "**.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Sorts names before wildcards before all, longer suffixes before shorter ones, one label before many.
fn precedence(pattern: &HostPattern) -> (u8, usize, Labels, &str) {
    match pattern {
        HostPattern::Exact(name) => (0, 0, Labels::One, name),
        HostPattern::Wildcard { suffix, labels } => (1, usize::MAX - suffix.len(), *labels, suffix),
        HostPattern::Any => (2, 0, Labels::One, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(patterns: &[&str]) -> HostMap<String> {
        let changes = patterns.iter().map(|text| (HostPattern::parse(text).unwrap(), Some((*text).to_owned())));
        HostMap::default().with(changes)
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let map = map(&["", "**.b.c", "*.b.c", "**.c", "a.b.c", "*.a.b.c"]);
        let found = |host| map.find(host).map(String::as_str);
        assert_eq!(found("a.b.c"), Some("a.b.c"));
        assert_eq!(found("x.b.c"), Some("*.b.c"));
        assert_eq!(found("y.x.b.c"), Some("**.b.c"));
        assert_eq!(found("y.a.b.c"), Some("*.a.b.c"));
        assert_eq!(found("z.y.a.b.c"), Some("**.b.c"));
        assert_eq!(found("b.c"), Some("**.c"));
        assert_eq!(found("c"), Some(""));
        assert_eq!(found(".c"), Some(""));
    }

    #[test]
    fn iterates_in_order_of_precedence() {
        let map = map(&["", "**.b.c", "*.b.c", "*.c", "z.c", "a.c"]);
        let order: Vec<_> = map.iter().map(|(pattern, _)| pattern.to_string()).collect();
        assert_eq!(order, ["a.c", "z.c", "*.b.c", "**.b.c", "*.c", "*"]);
        assert_eq!(map.len(), 6);
    }

    #[test]
    fn a_copy_with_a_change_shares_the_other_shards() {
        let names: Vec<String> = (0..2000).map(|n| format!("h{n}.test")).collect();
        let first = map(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let second = first.with([(HostPattern::parse("h7.test").unwrap(), None)]);
        let shards = first.exact.shards.iter().zip(second.exact.shards.iter());
        assert_eq!(shards.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 1, "one shard is cloned");
        assert_eq!((first.find("h7.test").is_some(), second.find("h7.test")), (true, None));
        assert_eq!((first.len(), second.len()), (2000, 1999));
    }

    #[test]
    fn tells_what_was_tried_in_order() {
        let mut tried = Vec::new();
        let map = map(&["**.c", "*.x", ""]);
        map.find_entry("a.b.c", |what, found| tried.push((what.to_string(), found)));
        let want = [("a.b.c", false), ("*.b.c", false), ("**.b.c", false), ("**.c", true)];
        assert_eq!(tried, want.map(|(text, found)| (text.to_owned(), found)));
    }
}
