//! How many connections each source has open, and how many it may have.
//!
//! A source is an IPv4 address, or the /64 network of an IPv6 address: less than that is given to nobody. Counted when a
//! connection is accepted and when it ends, never on the way of a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 32;

/// Connections by source. Whoever has none takes no memory.
#[derive(Debug)]
pub(super) struct Sources {
    shards: [Mutex<HashMap<Source, usize, ahash::RandomState>>; SHARDS],
    hasher: ahash::RandomState,
}

/// An open connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Option<(Arc<Sources>, Source)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

// === impl Sources ===

impl Default for Sources {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: ahash::RandomState::new() }
    }
}

impl Sources {
    /// Counts a connection in, unless its source has `max` open; `None`: there is no limit, and nothing is counted.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, max: Option<usize>) -> Option<Counted> {
        let Some(max) = max else { return Some(Counted(None)) };
        let source = Source::of(address);
        let mut shard = self.shard(source);
        let open = shard.entry(source).or_default();
        // One that is at its limit has connections open, so that no entry of nothing is left.
        if *open >= max {
            return None;
        }
        *open += 1;
        Some(Counted(Some((Arc::clone(self), source))))
    }

    fn leave(&self, source: Source) {
        let mut shard = self.shard(source);
        if let Some(open) = shard.get_mut(&source) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                shard.remove(&source);
            }
        }
        if shard.is_empty() {
            // A flood of sources leaves nothing behind.
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, source: Source) -> MutexGuard<'_, HashMap<Source, usize, ahash::RandomState>> {
        let index = self.hasher.hash_one(source) as usize % SHARDS;
        let [first, ..] = &self.shards;
        let shard = self.shards.get(index).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((sources, source)) = self.0.take() {
            sources.leave(source);
        }
    }
}

// === impl Source ===

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_may_have_so_many_and_others_are_not_touched() {
        let sources = Arc::<Sources>::default();
        let enter = |text: &str| sources.enter(address(text), Some(2));
        let held = [enter("10.0.0.1"), enter("::ffff:10.0.0.1")].map(Option::unwrap);
        assert!(enter("10.0.0.1").is_none(), "in whichever form");
        let other = enter("10.0.0.2").unwrap();
        assert!(sources.enter(address("10.0.0.1"), None).is_some(), "without a limit nothing is counted");
        assert_eq!(sources.len(), 2);
        drop(held);
        assert!(enter("10.0.0.1").is_some());
        drop(other);
        assert_eq!(sources.len(), 0, "whoever has none is forgotten");
    }

    #[test]
    fn addresses_of_one_v6_network_are_one_source() {
        let sources = Arc::<Sources>::default();
        let first = sources.enter(address("2001:db8:0:1::1"), Some(1));
        assert!(first.is_some() && sources.enter(address("2001:db8:0:1:ffff::2"), Some(1)).is_none());
        assert!(sources.enter(address("2001:db8:0:2::1"), Some(1)).is_some());
    }
}
