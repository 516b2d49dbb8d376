//! Passwords that were found right, so that a browser's next request costs no hash.
//!
//! A slot is one atomic word of 64 bits of a keyed digest over user, password and the user's hash; the key is made anew
//! with each instance. A lookup is a load, a new entry takes the place of another: memory is fixed, nothing waits.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots: 32 KiB.
const SLOTS: usize = 4096;

#[derive(Debug)]
pub(super) struct Cache {
    slots: Box<[AtomicU64]>,
    keys: [RandomState; 2],
}

/// What is remembered of a user with a password: where, and 63 bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    slot: usize,
    word: u64,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), keys: Default::default() }
    }

    pub(super) fn digest(&self, user: &str, password: &str) -> Digest {
        let [place, word] = &self.keys;
        // Two keyed hashes (SipHash) of 64 bits: 76 bits have to meet for a stranger's password to be taken for right.
        let slot = usize::try_from(place.hash_one((user, password)) % SLOTS as u64).unwrap_or_default();
        Digest { slot, word: word.hash_one((user, password)) | 1 }
    }

    pub(super) fn has(&self, digest: Digest) -> bool {
        self.slots.get(digest.slot).is_some_and(|slot| slot.load(Ordering::Relaxed) == digest.word)
    }

    pub(super) fn put(&self, digest: Digest) {
        if let Some(slot) = self.slots.get(digest.slot) {
            slot.store(digest.word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_and_nothing_else() {
        let cache = Cache::new();
        let ann = cache.digest("ann", "secret");
        assert!(!cache.has(ann));
        cache.put(ann);
        assert!(cache.has(ann));
        assert!(!cache.has(cache.digest("ann", "secret2")) && !cache.has(cache.digest("anns", "ecret")));
    }

    #[test]
    fn a_hundred_thousand_entries_take_no_more_memory() {
        let cache = Cache::new();
        (0..100_000).for_each(|n| cache.put(cache.digest("ann", &n.to_string())));
        assert_eq!(cache.slots.len(), SLOTS);
    }
}
