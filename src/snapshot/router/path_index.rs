//! From path to bucket of routes: exact paths, and prefixes that end at segment borders.
//!
//! Few paths are compared one by one; many are hashed. A prefix knows the next shorter prefix that is in the
//! table too, so that one walk over the path finds the longest and the shorter ones need no lookup at all.

use std::ops::Range;
use std::sync::Arc;

/// Up to so many paths are compared one by one.
const FEW: usize = 8;
const NONE: u32 = u32::MAX;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Paths and their buckets.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    buckets: Box<[Bucket]>,
    slots: Box<[Slot]>,
    max_len: usize,
}

/// The routes of one path.
#[derive(Debug)]
pub(super) struct Bucket {
    path: Arc<str>,
    /// Where they stand in the host's list.
    pub(super) routes: Range<usize>,
    parent: u32,
}

/// A place of the open hash table: part of the hash, and the bucket.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    bucket: u32,
}

// === impl PathIndex ===

impl PathIndex {
    /// Makes the table of paths, each with its routes; longer paths must come first.
    pub(super) fn new(paths: Vec<(Arc<str>, Range<usize>)>) -> Self {
        let buckets = paths.into_iter().map(|(path, routes)| Bucket { path, routes, parent: NONE }).collect();
        let mut index = Self { buckets, ..Self::default() };
        index.max_len = index.buckets.first().map_or(0, |bucket| bucket.path.len());
        index.fill_slots();
        let parents: Vec<u32> = index.buckets.iter().map(|bucket| index.parent_of(&bucket.path)).collect();
        for (bucket, parent) in index.buckets.iter_mut().zip(parents) {
            bucket.parent = parent;
        }
        index
    }

    /// The bucket of exactly this path.
    pub(super) fn exact(&self, path: &str) -> Option<&Bucket> {
        if path.len() > self.max_len {
            return None;
        }
        if self.slots.is_empty() {
            return self.buckets.iter().find(|bucket| *bucket.path == *path);
        }
        let hash = segments(path).fold(SEED, |hash, segment| mix(hash, segment.as_bytes()));
        self.bucket(self.probe(hash, path))
    }

    /// The bucket of the longest prefix of a path. Prefixes are kept without closing slash, the root as nothing.
    pub(super) fn longest(&self, path: &str) -> Option<&Bucket> {
        self.bucket(self.longest_index(path))
    }

    /// The bucket of the next shorter prefix.
    pub(super) fn shorter(&self, bucket: &Bucket) -> Option<&Bucket> {
        self.bucket(bucket.parent)
    }

    fn longest_index(&self, path: &str) -> u32 {
        if self.slots.is_empty() {
            let mut buckets = self.buckets.iter().zip(0u32..);
            return buckets.find(|(bucket, _)| is_prefix(&bucket.path, path)).map_or(NONE, |(_, index)| index);
        }
        let (likely, end) = self.walk(path, |hash, _| self.probe_tag(hash));
        // Only the winner's text is compared: each comparison goes to memory that is cold in large tables.
        match self.bucket(likely) {
            Some(bucket) if path.get(..end) == Some(&*bucket.path) => likely,
            None => NONE,
            // Two paths share a tag, which happens once in billions: compare every text.
            Some(_) => self.walk(path, |hash, prefix| self.probe(hash, prefix)).0,
        }
    }

    /// Probes every prefix of a path; returns the longest one that was found, and its length.
    fn walk(&self, path: &str, probe: impl Fn(u64, &str) -> u32) -> (u32, usize) {
        let mut hash = SEED;
        let mut best = (probe(hash, ""), 0);
        let mut end = 0;
        for segment in segments(path) {
            end += segment.len();
            if end > self.max_len {
                break;
            }
            hash = mix(hash, segment.as_bytes());
            let found = path.get(..end).map_or(NONE, |prefix| probe(hash, prefix));
            best = if found == NONE { best } else { (found, end) };
        }
        best
    }

    fn bucket(&self, index: u32) -> Option<&Bucket> {
        self.buckets.get(index as usize)
    }

    /// Puts the buckets into a table of at least twice their number, so that a probe meets an empty slot soon.
    fn fill_slots(&mut self) {
        if self.buckets.len() <= FEW {
            return;
        }
        let len = (self.buckets.len() * 2).next_power_of_two();
        let mut slots = vec![Slot { tag: 0, bucket: NONE }; len];
        for (bucket, index) in self.buckets.iter().zip(0u32..) {
            let hash = segments(&bucket.path).fold(SEED, |hash, segment| mix(hash, segment.as_bytes()));
            let free = (0..len).map(|step| (hash as usize).wrapping_add(step) & (len - 1));
            let mut free = free.filter(|at| slots.get(*at).is_some_and(|slot| slot.bucket == NONE));
            let Some(at) = free.next() else { continue };
            if let Some(slot) = slots.get_mut(at) {
                *slot = Slot { tag: (hash >> 32) as u32, bucket: index };
            }
        }
        self.slots = slots.into();
    }

    fn probe(&self, hash: u64, path: &str) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.bucket != NONE) {
            let same = slot.tag == (hash >> 32) as u32;
            if same && self.bucket(slot.bucket).is_some_and(|bucket| *bucket.path == *path) {
                return slot.bucket;
            }
            at = (at + 1) & mask;
        }
        NONE
    }

    /// The first bucket with the hash's tag: right but for collisions.
    fn probe_tag(&self, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.bucket != NONE) {
            if slot.tag == (hash >> 32) as u32 {
                return slot.bucket;
            }
            at = (at + 1) & mask;
        }
        NONE
    }

    /// The index of the next shorter prefix of a prefix.
    fn parent_of(&self, path: &str) -> u32 {
        path.rsplit_once('/').map_or(NONE, |(shorter, _)| self.longest_index(shorter))
    }
}

/// Whether a prefix without closing slash fits: equal, or followed by a slash.
pub(super) fn is_prefix(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The pieces of a path, each with the slash before it: `/a`, `/b` and `/` of `/a/b/`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let len = rest.bytes().skip(1).position(|byte| byte == b'/').map_or(rest.len(), |at| at + 1);
        let (segment, after) = rest.split_at_checked(len).filter(|(segment, _)| !segment.is_empty())?;
        rest = after;
        Some(segment)
    })
}

/// Hashes a segment onto the hash of what stands before it. Collisions cost a comparison, never a wrong route.
fn mix(hash: u64, segment: &[u8]) -> u64 {
    let (chunks, rest) = segment.as_chunks::<8>();
    let hash = chunks.iter().fold(hash, |hash, chunk| fold(hash ^ u64::from_le_bytes(*chunk)));
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    fold(hash ^ u64::from_le_bytes(last) ^ ((segment.len() as u64) << 56))
}

/// Both halves of the product, so that every bit of the input reaches the low and the high bits.
fn fold(value: u64) -> u64 {
    let product = u128::from(value ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(paths: &[String]) -> PathIndex {
        let mut paths: Vec<Arc<str>> = paths.iter().map(|path| path.as_str().into()).collect();
        paths.sort_by_key(|path| usize::MAX - path.len());
        PathIndex::new(paths.into_iter().map(|path| (path, 0..1)).collect())
    }

    /// The prefixes found for a path, longest first.
    fn chain<'p>(index: &'p PathIndex, path: &str) -> Vec<&'p str> {
        std::iter::successors(index.longest(path), |bucket| index.shorter(bucket)).map(|bucket| &*bucket.path).collect()
    }

    #[test]
    fn few_and_many_prefixes_are_found_alike() {
        let few: Vec<String> = ["", "/foo", "/foo/bar", "/foo/bar/b"].map(String::from).into();
        let many: Vec<String> = few.iter().cloned().chain((0..100).map(|n| format!("/n{n}/x"))).collect();
        for index in [index(&few), index(&many)] {
            assert_eq!(chain(&index, "/foo/bar/baz"), ["/foo/bar", "/foo", ""]);
            assert_eq!(chain(&index, "/foo/bar/"), ["/foo/bar", "/foo", ""]);
            assert_eq!(chain(&index, "/foobar"), [""]);
            assert_eq!(chain(&index, "/"), [""]);
            assert_eq!(chain(&index, "/foo"), ["/foo", ""]);
            assert_eq!(index.exact("/foo/bar").map(|bucket| &*bucket.path), Some("/foo/bar"));
            assert!(index.exact("/foo/").is_none());
        }
        assert_eq!(chain(&index(&many), "/n42/x/y"), ["/n42/x", ""]);
    }

    #[test]
    fn a_path_of_ten_thousand_segments_finds_its_prefix() {
        let prefixes: Vec<String> = (1..100).map(|n| "/a".repeat(n)).collect();
        let index = index(&prefixes);
        assert_eq!(chain(&index, &"/a".repeat(10_000)).len(), 99);
        assert!(chain(&index, &"/".repeat(10_000)).is_empty());
    }
}
