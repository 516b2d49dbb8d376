//! Counts how often keys may do something, by GCRA, in memory of fixed size and without a lock.
//!
//! A slot is one atomic word: 18 bits of the key's hash and 46 bits of its theoretical arrival time in microseconds.
//! Eight slots are a set; a new key takes the slot whose time is oldest, so under more keys than slots the least
//! busy are forgotten. Two keys of one set with equal bits share a limit: about 1 of 30,000 new keys in a full set.

use std::sync::atomic::{AtomicU64, Ordering};

const TIME_BITS: u32 = 46;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// How often in how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: u64,
    pub(crate) seconds: u64,
}

/// A table of keys.
#[derive(Debug)]
pub(crate) struct Gcra {
    limit: Limit,
    slots: Box<[[AtomicU64; 8]]>,
}

/// How much one key may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    interval_us: u64,
    tolerance_us: u64,
}

// === impl Rate, Limit ===

impl Rate {
    /// Reads `100/s`, `30/m` or `1000/h`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let count = count.parse().ok().filter(|count| (1..=1_000_000 * seconds).contains(count))?;
        Some(Self { count, seconds })
    }
}

impl Limit {
    /// So often, and so many at once; the error says what is wrong with the burst.
    pub(crate) fn new(rate: Rate, burst: u32) -> Result<Self, &'static str> {
        if !(1..=1_000_000).contains(&burst) {
            return Err("must be from 1 to 1000000");
        }
        let interval_us = (rate.seconds * 1_000_000).div_ceil(rate.count);
        if interval_us * u64::from(burst) > 1 << (TIME_BITS - 2) {
            return Err("takes more than 200 days to refill at this rate");
        }
        Ok(Self { interval_us, tolerance_us: interval_us * u64::from(burst - 1) })
    }
}

// === impl Gcra ===

impl Gcra {
    /// A table for so many keys, rounded up to a power of two, 8 bytes each.
    pub(crate) fn new(limit: Limit, max_keys: u32) -> Self {
        let sets = max_keys.next_power_of_two().div_ceil(8);
        Self { limit, slots: (0..sets).map(|_| Default::default()).collect() }
    }

    /// Counts one; an error is the time in microseconds until one would pass, and counts nothing.
    pub(crate) fn admit(&self, hash: u64, now: u64) -> Result<(), u64> {
        let Some((tag, set)) = self.set(hash) else { return Err(self.limit.interval_us) };
        loop {
            let words = set.iter().map(|slot| (slot, slot.load(Ordering::Relaxed)));
            let own = words.clone().find(|(_, word)| is_of(tag, *word));
            let Some((slot, word)) = own.or_else(|| words.min_by_key(|(_, word)| word & TIME_MASK)) else {
                return Err(self.limit.interval_us);
            };
            let arrival = if own.is_some() { (word & TIME_MASK).max(now) } else { now };
            let over = self.over(arrival, now);
            if over > 0 {
                return Err(over);
            }
            let next = tag << TIME_BITS | (arrival + self.limit.interval_us).min(TIME_MASK);
            if slot.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// Whether one would pass; counts nothing. An error is the time in microseconds until one would.
    pub(crate) fn check(&self, hash: u64, now: u64) -> Result<(), u64> {
        let Some((tag, set)) = self.set(hash) else { return Err(self.limit.interval_us) };
        let own = set.iter().map(|slot| slot.load(Ordering::Relaxed)).find(|word| is_of(tag, *word));
        match own.map_or(0, |word| self.over((word & TIME_MASK).max(now), now)) {
            0 => Ok(()),
            over => Err(over),
        }
    }

    fn set(&self, hash: u64) -> Option<(u64, &[AtomicU64; 8])> {
        let index = usize::try_from(hash & TIME_MASK).unwrap_or(0) & (self.slots.len() - 1);
        Some((hash >> TIME_BITS, self.slots.get(index)?))
    }

    fn over(&self, arrival: u64, now: u64) -> u64 {
        (arrival - now).saturating_sub(self.limit.tolerance_us)
    }
}

fn is_of(tag: u64, word: u64) -> bool {
    word != 0 && word >> TIME_BITS == tag
}

/// Time as the table has it.
pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(TIME_MASK).min(TIME_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rate: &str, burst: u32, max_keys: u32) -> Gcra {
        Gcra::new(Limit::new(Rate::parse(rate).unwrap(), burst).unwrap(), max_keys)
    }

    #[test]
    fn a_burst_passes_then_one_an_interval() {
        let table = table("10/s", 3, 65_536);
        let passed = (0..5).filter(|_| table.admit(7, 1_000).is_ok()).count();
        assert_eq!(passed, 3);
        assert_eq!(table.admit(7, 1_000), Err(100_000));
        assert_eq!(table.admit(7, 101_000), Ok(()));
        assert!(table.admit(7, 101_000).is_err());
        assert_eq!(table.admit(8, 101_000), Ok(()), "another key of the same set has its own limit or slot");
    }

    #[test]
    fn a_look_counts_nothing() {
        let table = table("10/s", 1, 64);
        assert!((0..5).all(|_| table.check(7, 1_000) == Ok(())));
        assert_eq!(table.admit(7, 1_000), Ok(()));
        assert!((0..5).all(|_| table.check(7, 1_000) == Err(100_000)));
        assert_eq!(table.check(7, 101_000), Ok(()));
    }

    #[test]
    fn a_million_keys_stay_within_the_memory_that_was_asked_for() {
        let table = table("1/m", 1, 100);
        (0..1_000_000_u64).for_each(|key| _ = table.admit(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1));
        assert_eq!(table.slots.len() * 8, 128);
    }
}
