//! How much memory the process has and may have, and who is turned away when it is nearly used up.
//!
//! Somebody samples; everybody else reads one atomic. What is refused is new work only: what is under way goes on, and
//! gives its memory back. A leaf module: it must not know who samples, what a connection is or who configures it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// New work is refused from this part of the limit on, in percent.
const FULL: u64 = 90;
/// And taken again below this one. What lies between keeps it from going back and forth.
const RELIEVED: u64 = 85;
/// Connections at once that are still accepted meanwhile, so that clients are told why.
const TOLD: u64 = 64;

/// Memory usage of the process, its limit, and counters of what was refused.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes; 0: no limit.
    limit: AtomicU64,
    used: AtomicU64,
    is_full: AtomicBool,
    told: AtomicU64,
    refused_connections: AtomicU64,
    refused_requests: AtomicU64,
}

/// A connection that was let in. One that came while memory was full is counted until this is dropped.
#[derive(Debug)]
pub struct LetIn(Option<Arc<Memory>>);

/// Change of the overload state by a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on new work is refused.
    Full,
    /// New work is taken again.
    Relieved,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub limit: u64,
    pub used: u64,
    pub is_full: bool,
    pub refused_connections: u64,
    pub refused_requests: u64,
}

// === impl Memory ===

impl Memory {
    /// Takes a sample: bytes that are used, and that there may be; a limit of 0 is none.
    pub fn sample(&self, used: u64, limit: u64) -> Option<Change> {
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        let was_full = self.is_full();
        let bound = if was_full { RELIEVED } else { FULL };
        let is_full = limit > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(bound);
        self.is_full.store(is_full, Ordering::Relaxed);
        match (was_full, is_full) {
            (false, true) => Some(Change::Full),
            (true, false) => Some(Change::Relieved),
            _ => None,
        }
    }

    /// Whether new work is refused.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Whether a new request is to be refused, which is counted then.
    pub fn refuses_request(&self) -> bool {
        let is_full = self.is_full();
        if is_full {
            self.refused_requests.fetch_add(1, Ordering::Relaxed);
        }
        is_full
    }

    /// Lets a connection in. While memory is full there are a few at once, whose requests are answered that it is;
    /// more are refused, and counted.
    pub fn let_in(self: &Arc<Self>) -> Option<LetIn> {
        if !self.is_full() {
            return Some(LetIn(None));
        }
        if self.told.fetch_add(1, Ordering::Relaxed) >= TOLD {
            self.told.fetch_sub(1, Ordering::Relaxed);
            self.refused_connections.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(LetIn(Some(Arc::clone(self))))
    }

    /// The numbers now.
    pub fn numbers(&self) -> Numbers {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Numbers {
            limit: read(&self.limit),
            used: read(&self.used),
            is_full: self.is_full(),
            refused_connections: read(&self.refused_connections),
            refused_requests: read(&self.refused_requests),
        }
    }
}

// === impl LetIn ===

impl Drop for LetIn {
    fn drop(&mut self) {
        if let Some(memory) = &self.0 {
            memory.told.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_nine_tenths_and_relieved_below() {
        let memory = Memory::default();
        for (used, change) in
            [(89, None), (90, Some(Change::Full)), (200, None), (85, None), (84, Some(Change::Relieved)), (89, None)]
        {
            assert_eq!(memory.sample(used, 100), change, "{used}");
        }
        assert_eq!(memory.sample(u64::MAX, 0), None, "no limit");
        assert_eq!(memory.sample(u64::MAX, u64::MAX), Some(Change::Full));
        assert_eq!(memory.sample(u64::MAX, 0), Some(Change::Relieved));
    }

    #[test]
    fn while_it_is_full_a_few_connections_are_let_in_to_be_told() {
        let memory = Arc::new(Memory::default());
        let before: Vec<_> = (0..TOLD + 9).map(|_| memory.let_in().unwrap()).collect();
        memory.sample(1, 1);
        let mut told: Vec<_> = (0..TOLD).map(|_| memory.let_in().unwrap()).collect();
        assert!(memory.let_in().is_none());
        drop(before);
        assert!(memory.let_in().is_none(), "those that came before do not count");
        drop(told.pop());
        assert!(memory.let_in().is_some());
        assert!(memory.refuses_request());
        let numbers = memory.numbers();
        assert_eq!((numbers.refused_connections, numbers.refused_requests), (2, 1));
    }
}
