//! Schedules for weighted round robin.
//!
//! Takes weights, gives the order in which endpoints have their turn, computed once when the set changes.
//! It must not know endpoints, health or requests.
//! Source: nginx, `ngx_http_upstream_round_robin.c` (smooth weighted round robin).

/// Most slots that a schedule has, unless there are more endpoints.
const MAX_SLOTS: u64 = 4096;

/// The order of turns, walked round and round.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Indexes of endpoints; `None`: each in its order.
    slots: Option<Box<[u32]>>,
    /// How many turns a round has.
    len: usize,
    /// Where the first round begins: random, so that many upstreams or processes which reload together do not
    /// all send their first request to the first endpoint.
    offset: usize,
}

// === impl Schedule ===

impl Schedule {
    /// Makes the schedule of endpoints with these weights, none of which is 0.
    pub(super) fn new(weights: &[u16]) -> Self {
        let slots = smooth(weights);
        let len = slots.as_deref().map_or(weights.len(), <[u32]>::len);
        let offset = if len == 0 { 0 } else { fastrand::usize(0..len) };
        Self { slots, len, offset }
    }

    /// The index of the endpoint whose turn it is. 0 if there is none.
    pub(super) fn at(&self, turn: usize) -> usize {
        let Some(slot) = turn.wrapping_add(self.offset).checked_rem(self.len) else { return 0 };
        match &self.slots {
            None => slot,
            Some(slots) => slots.get(slot).map_or(0, |index| *index as usize),
        }
    }

    /// The index of an endpoint by chance, each as likely as its share. 0 if there is none.
    pub(super) fn any(&self) -> usize {
        if self.len == 0 { 0 } else { self.at(fastrand::usize(0..self.len)) }
    }
}

/// One round of smooth weighted round robin: each index as often as its weight, spread evenly.
/// `None` when all weights are equal.
fn smooth(weights: &[u16]) -> Option<Box<[u32]>> {
    let first = weights.first()?;
    if weights.iter().all(|weight| weight == first) {
        return None;
    }
    let mut shares: Vec<(u32, i64, i64)> =
        (0..).zip(reduced(weights)).map(|(index, share)| (index, i64::from(share), 0)).collect();
    let total: i64 = shares.iter().map(|(_, share, _)| share).sum();
    let round = (0..total).map(|_| turn(&mut shares, total));
    Some(round.collect())
}

/// One step: everybody gains its share, the one with the most has the turn and pays the total.
fn turn(shares: &mut [(u32, i64, i64)], total: i64) -> u32 {
    let mut best: Option<&mut (u32, i64, i64)> = None;
    for candidate in shares {
        candidate.2 += candidate.1;
        if best.as_ref().is_none_or(|best| candidate.2 > best.2) {
            best = Some(candidate);
        }
    }
    best.map_or(0, |best| {
        best.2 -= total;
        best.0
    })
}

/// Weights without their common divisor, scaled down to [`MAX_SLOTS`] together, none below 1.
fn reduced(weights: &[u16]) -> Vec<u32> {
    let divisor = u64::from(weights.iter().copied().fold(0, greatest_common_divisor).max(1));
    let total: u64 = weights.iter().map(|weight| u64::from(*weight) / divisor).sum();
    let scale = |weight: &u16| {
        let share = u64::from(*weight) / divisor;
        let share = if total > MAX_SLOTS { (share * MAX_SLOTS / total).max(1) } else { share };
        u32::try_from(share).unwrap_or(u32::MAX)
    };
    weights.iter().map(scale).collect()
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_endpoint_is_interleaved_with_the_light_ones() {
        assert_eq!(smooth(&[5, 1, 1]).unwrap().as_ref(), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn common_divisors_shorten_the_round() {
        assert_eq!(smooth(&[200, 100]).unwrap().len(), 3);
    }

    #[test]
    fn equal_weights_need_no_slots() {
        assert!(smooth(&[7, 7, 7]).is_none());
        assert!(smooth(&[]).is_none());
    }

    #[test]
    fn huge_weights_are_scaled_down_and_nobody_is_left_out() {
        let slots = smooth(&[65535, 65534, 1]).unwrap();
        assert!(slots.len() <= 4097, "{} slots", slots.len());
        assert_eq!(slots.iter().filter(|index| **index == 2).count(), 1);
        let heavy = slots.iter().filter(|index| **index == 0).count();
        assert!((2040..=2050).contains(&heavy), "{heavy} of 4096");
    }

    #[test]
    fn each_round_holds_the_exact_shares_wherever_it_begins() {
        let schedule = Schedule::new(&[3, 2, 1]);
        let mut seen = [0; 3];
        (1000..1060).for_each(|turn| seen[schedule.at(turn)] += 1);
        assert_eq!(seen, [30, 20, 10]);
    }

    #[test]
    fn an_empty_schedule_gives_zero() {
        let schedule = Schedule::new(&[]);
        assert_eq!((schedule.at(5), schedule.any()), (0, 0));
    }
}
