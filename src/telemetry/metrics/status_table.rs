//! Counters by method, status and reason: a sparse table that only grows, without locks.
//!
//! A route sees a handful of combinations, of some ten thousand possible. Slots are taken in the order in which
//! combinations are first seen, sixteen a chunk; chunks are linked. An upstream that invents statuses fills at most
//! 256 slots: what comes after is counted together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::reason::Reason;

/// The table.
#[derive(Debug, Default)]
pub(super) struct StatusTable {
    first: OnceLock<Box<Chunk>>,
    overflow: AtomicU64,
}

/// One counter as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) method: &'static str,
    /// None: several, beyond the limit.
    pub(super) status: Option<u16>,
    pub(super) reason: &'static str,
    pub(super) count: u64,
}

#[derive(Debug, Default)]
struct Chunk {
    /// 0 is free; a key never is.
    keys: [AtomicU32; CHUNK],
    counts: [AtomicU64; CHUNK],
    next: OnceLock<Box<Self>>,
}

const CHUNK: usize = 16;
/// Chunks of one route: 256 combinations.
const MAX_CHUNKS: usize = 16;
const USED: u32 = 1 << 31;

/// The methods of RFC 9110 section 9.3 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const OTHER_METHOD: &str = "OTHER";
const OTHER_REASON: &str = "other";

// === impl StatusTable ===

impl StatusTable {
    /// Counts one request. Methods other than the known nine are counted as `OTHER`.
    pub(super) fn count(&self, method: &str, status: u16, reason: Reason) {
        let key = key(method, status, reason);
        let mut link = &self.first;
        for _ in 0..MAX_CHUNKS {
            let chunk = link.get_or_init(Box::default);
            if chunk.count(key) {
                return;
            }
            link = &chunk.next;
        }
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives every counter that is not zero.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut link = self.first.get();
        while let Some(chunk) = link {
            entries.extend(chunk.entries());
            link = chunk.next.get();
        }
        let overflow = self.overflow.load(Ordering::Relaxed);
        if overflow > 0 {
            entries.push(Entry { method: OTHER_METHOD, status: None, reason: OTHER_REASON, count: overflow });
        }
        entries
    }
}

// === impl Chunk ===

impl Chunk {
    /// Counts, unless the chunk is full of other keys.
    fn count(&self, key: u32) -> bool {
        for (slot, count) in self.keys.iter().zip(&self.counts) {
            let found = match slot.load(Ordering::Relaxed) {
                // Two threads may want the same slot; the loser looks whether the winner took it for the same key.
                0 => slot.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|k| k, |_| key),
                taken => taken,
            };
            if found == key {
                count.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let pairs = self.keys.iter().zip(&self.counts);
        let pairs = pairs.map(|(key, count)| (key.load(Ordering::Relaxed), count.load(Ordering::Relaxed)));
        pairs.filter(|(key, count)| *key != 0 && *count > 0).map(|(key, count)| entry(key, count))
    }
}

/// Used bit, method (7 bits), reason (8 bits), status (16 bits).
fn key(method: &str, status: u16, reason: Reason) -> u32 {
    let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
    USED | (method as u32) << 24 | u32::from(reason as u8) << 16 | u32::from(status)
}

fn entry(key: u32, count: u64) -> Entry {
    let method = METHODS.get((key >> 24 & 0x7f) as usize).copied().unwrap_or(OTHER_METHOD);
    let reason = Reason::ALL.get((key >> 16 & 0xff) as usize).map_or(OTHER_REASON, |reason| reason.as_str());
    Entry { method, status: Some((key & 0xffff) as u16), reason, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_combination_by_itself() {
        let table = StatusTable::default();
        for reason in Reason::ALL {
            table.count("GET", 200, *reason);
            table.count("GET", 200, *reason);
        }
        let entries = table.entries();
        assert_eq!(entries.len(), Reason::ALL.len());
        for (entry, reason) in entries.iter().zip(Reason::ALL) {
            assert_eq!(*entry, Entry { method: "GET", status: Some(200), reason: reason.as_str(), count: 2 });
        }
    }

    #[test]
    fn unknown_methods_fold_into_one() {
        let table = StatusTable::default();
        for method in ["BREW", "get", "", "GETT"] {
            table.count(method, 405, Reason::BadMethod);
        }
        assert_eq!(table.entries(), [Entry { method: "OTHER", status: Some(405), reason: "bad_method", count: 4 }]);
    }

    #[test]
    fn what_exceeds_the_limit_is_counted_together() {
        let table = StatusTable::default();
        for status in 0..1000 {
            table.count("GET", status, Reason::Upstream);
        }
        let entries = table.entries();
        assert_eq!(entries.len(), CHUNK * MAX_CHUNKS + 1);
        assert_eq!(entries.last().unwrap().count, 1000 - (CHUNK * MAX_CHUNKS) as u64);
        assert_eq!(entries.iter().map(|entry| entry.count).sum::<u64>(), 1000);
    }

    #[test]
    fn threads_lose_no_count() {
        let table = StatusTable::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..4000).for_each(|i| table.count("POST", i % 40, Reason::Upstream)));
            }
        });
        let entries = table.entries();
        assert_eq!(entries.len(), 40, "no combination takes two slots");
        assert!(entries.iter().all(|entry| entry.count == 400), "{entries:?}");
    }
}
