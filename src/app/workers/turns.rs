//! Who is next: lines of lines in which everybody gets the same share of time.
//!
//! A round of flows that each have a credit: a flow with some left is served and pays what its piece costs; when nobody
//! has any left, all get the same. Whoever is dear pays longer, whoever is cheap goes on meanwhile, and no order of
//! arrival changes that. A deficit round robin (Shreedhar and Varghese 1995), which charges afterwards.
//! Pure: no clock, no thread.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Microseconds of time.
pub(super) type Micros = u64;

/// A queued job.
#[derive(Debug)]
pub(super) struct Piece<T> {
    pub(super) ticket: u64,
    /// What it was expected to take when it came.
    pub(super) expected: Micros,
    pub(super) payload: T,
}

/// Estimated cost of a job when its turn comes.
pub(super) trait Cost {
    fn cost(&self) -> Micros;
}

/// Pieces that wait for their turn.
pub(super) trait Line<T>: Default {
    /// Where a piece waits inside of it.
    type Place;

    fn push(&mut self, place: Self::Place, piece: Piece<T>);

    /// Takes the next one.
    fn pop(&mut self) -> Option<Piece<T>>;

    /// Takes that one out of its turn.
    fn take(&mut self, place: Self::Place, ticket: u64) -> Option<Piece<T>>;

    /// How much work would be done before a piece that came to this place now.
    fn ahead(&self, place: Self::Place) -> Micros;

    fn len(&self) -> usize;

    /// What all of it is expected to take.
    fn expected(&self) -> Micros;
}

/// One after the other.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    pieces: VecDeque<Piece<T>>,
    expected: Micros,
}

/// Flows that take turns.
#[derive(Debug)]
pub(super) struct Round<K, L> {
    /// Those in which something waits, and those that have not paid yet for what they had.
    flows: HashMap<K, Flow<L>>,
    /// Those in which something waits, next first.
    ring: VecDeque<K>,
    /// What the dearest piece of late cost: with that much at once, everybody who is owed a turn gets one.
    portion: Micros,
    len: usize,
    expected: Micros,
}

#[derive(Debug, Default)]
struct Flow<L> {
    line: L,
    credit: i64,
}

// === impl Fifo ===

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), expected: 0 }
    }
}

impl<T> Line<T> for Fifo<T> {
    type Place = ();

    fn push(&mut self, (): (), piece: Piece<T>) {
        self.expected += piece.expected;
        self.pieces.push_back(piece);
    }

    fn pop(&mut self) -> Option<Piece<T>> {
        let piece = self.pieces.pop_front()?;
        self.expected -= piece.expected;
        Some(piece)
    }

    fn take(&mut self, (): (), ticket: u64) -> Option<Piece<T>> {
        let index = self.pieces.iter().position(|piece| piece.ticket == ticket)?;
        let piece = self.pieces.remove(index)?;
        self.expected -= piece.expected;
        Some(piece)
    }

    fn ahead(&self, (): ()) -> Micros {
        self.expected
    }

    fn len(&self) -> usize {
        self.pieces.len()
    }

    fn expected(&self) -> Micros {
        self.expected
    }
}

// === impl Round ===

impl<K, L> Default for Round<K, L> {
    fn default() -> Self {
        Self { flows: HashMap::new(), ring: VecDeque::new(), portion: 1, len: 0, expected: 0 }
    }
}

impl<K: Clone + Eq + Hash, T: Cost, L: Line<T>> Line<T> for Round<K, L>
where
    Flow<L>: Default,
{
    type Place = (K, L::Place);

    fn push(&mut self, (key, place): (K, L::Place), piece: Piece<T>) {
        self.len += 1;
        self.expected += piece.expected;
        let flow = self.flows.entry(key.clone()).or_default();
        if flow.line.len() == 0 {
            self.ring.push_back(key);
        }
        flow.line.push(place, piece);
    }

    fn pop(&mut self) -> Option<Piece<T>> {
        if !self.turn_to_credit() {
            self.pay_out();
            self.turn_to_credit();
        }
        let key = self.ring.front()?;
        let flow = self.flows.get_mut(key)?;
        let piece = flow.line.pop()?;
        let cost = piece.payload.cost().max(1);
        flow.credit = flow.credit.saturating_sub_unsigned(cost);
        self.portion = cost.max(self.portion - self.portion / 8);
        self.len -= 1;
        self.expected -= piece.expected;
        if flow.line.len() == 0 {
            self.leave_ring(0);
        }
        Some(piece)
    }

    fn take(&mut self, (key, place): (K, L::Place), ticket: u64) -> Option<Piece<T>> {
        let flow = self.flows.get_mut(&key)?;
        let piece = flow.line.take(place, ticket)?;
        self.len -= 1;
        self.expected -= piece.expected;
        if flow.line.len() == 0
            && let Some(index) = self.ring.iter().position(|waiting| *waiting == key)
        {
            self.leave_ring(index);
        }
        Some(piece)
    }

    fn ahead(&self, (key, place): (K, L::Place)) -> Micros {
        let flow = self.flows.get(&key);
        let own = flow.map_or(0, |flow| flow.line.ahead(place));
        let waiting = flow.filter(|flow| flow.line.len() > 0);
        let others = self.ring.len() - usize::from(waiting.is_some());
        // While the own work is done, each of the others has as much done, and a piece more.
        let share = (own + self.portion).saturating_mul(others as u64);
        own + share.min(self.expected - waiting.map_or(0, |flow| flow.line.expected()))
    }

    fn len(&self) -> usize {
        self.len
    }

    fn expected(&self) -> Micros {
        self.expected
    }
}

impl<K: Clone + Eq + Hash, L> Round<K, L> {
    /// Brings a flow with credit to the front; false: nobody has any.
    fn turn_to_credit(&mut self) -> bool {
        for _ in 0..self.ring.len() {
            let front = self.ring.front().and_then(|key| self.flows.get(key));
            if front.is_some_and(|flow| flow.credit > 0) {
                return true;
            }
            self.ring.rotate_left(1);
        }
        false
    }

    /// Gives everybody the same, so much that somebody has a portion. Whoever has paid and waits for nothing is gone.
    fn pay_out(&mut self) {
        let most = self.ring.iter().filter_map(|key| self.flows.get(key)).map(|flow| flow.credit).max();
        let Some(most) = most else { return };
        let amount = i64::try_from(self.portion).unwrap_or(i64::MAX).saturating_sub(most).max(1);
        self.flows.values_mut().for_each(|flow| flow.credit = flow.credit.saturating_add(amount));
        let ring = &self.ring;
        if self.flows.len() > ring.len() {
            let waiting: std::collections::HashSet<&K> = ring.iter().collect();
            self.flows.retain(|key, flow| flow.credit < 0 || waiting.contains(key));
        }
    }

    /// The flow at that place has nothing left that waits. What it owes is kept while others wait.
    fn leave_ring(&mut self, index: usize) {
        let Some(key) = self.ring.remove(index) else { return };
        if self.ring.is_empty() {
            self.flows.clear();
        } else if self.flows.get(&key).is_some_and(|flow| flow.credit >= 0) {
            self.flows.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
