use proptest::prelude::*;

use super::*;

/// Its cost is known.
#[derive(Debug, PartialEq)]
struct Costs(Micros);

impl Cost for Costs {
    fn cost(&self) -> Micros {
        self.0
    }
}

type Tenants = Round<u8, Round<u8, Fifo<Costs>>>;

fn push(line: &mut Tenants, tenant: u8, client: u8, ticket: u64, cost: Micros) {
    line.push((tenant, (client, ())), Piece { ticket, expected: cost, payload: Costs(cost) });
}

fn order(line: &mut Tenants) -> Vec<u64> {
    std::iter::from_fn(|| line.pop()).map(|piece| piece.ticket).collect()
}

#[test]
fn clients_take_turns_and_each_keeps_its_order() {
    let mut line = Tenants::default();
    for (client, ticket) in [(1, 10), (1, 11), (1, 12), (2, 20), (2, 21), (3, 30)] {
        push(&mut line, 0, client, ticket, 100);
    }
    assert_eq!(order(&mut line), [10, 20, 30, 11, 21, 12]);
}

#[test]
fn whoever_is_dear_gets_the_same_time_and_not_the_same_number() {
    let mut line = Tenants::default();
    (0..100).for_each(|n| push(&mut line, 1, 1, 1000 + n, 200_000));
    (0..100).for_each(|n| push(&mut line, 2, 1, 2000 + n, 10_000));
    let mut spent = [0; 3];
    for _ in 0..60 {
        let piece = line.pop().unwrap();
        spent[usize::try_from(piece.ticket / 1000).unwrap()] += piece.payload.0;
    }
    assert!(spent[1].abs_diff(spent[2]) <= 400_000, "{spent:?}");
}

#[test]
fn one_who_comes_late_waits_for_one_piece_of_each_other_at_most() {
    let mut line = Tenants::default();
    for tenant in 0..10 {
        (0..50).for_each(|n| push(&mut line, tenant, 1, n, 100_000));
    }
    (0..20).for_each(|_| _ = line.pop());
    push(&mut line, 99, 1, 777, 10);
    let before = order(&mut line).iter().position(|ticket| *ticket == 777).unwrap();
    assert!(before <= 20, "{before}");
}

#[test]
fn who_sends_one_dear_piece_after_the_other_still_pays() {
    let mut line = Tenants::default();
    (0..1000).for_each(|n| push(&mut line, 2, 1, 2000 + n, 10_000));
    push(&mut line, 1, 1, 1000, 200_000);
    let mut spent = [0; 3];
    for _ in 0..200 {
        let piece = line.pop().unwrap();
        let tenant = usize::try_from(piece.ticket / 1000).unwrap();
        spent[tenant] += piece.payload.0;
        if tenant == 1 {
            push(&mut line, 1, 1, 1000, 200_000);
        }
    }
    assert!(spent[1] <= spent[2] + 400_000, "{spent:?}");
}

#[test]
fn what_is_taken_out_is_forgotten() {
    let mut line = Tenants::default();
    for (client, ticket) in [(1, 10), (1, 11), (2, 20)] {
        push(&mut line, 0, client, ticket, 100);
    }
    assert_eq!(line.take((0, (2, ())), 20).unwrap().ticket, 20);
    assert!(line.take((0, (2, ())), 20).is_none() && line.take((7, (2, ())), 20).is_none());
    assert_eq!((line.len(), line.expected()), (2, 200));
    assert_eq!(line.take((0, (1, ())), 10).unwrap().ticket, 10);
    assert_eq!(order(&mut line), [11]);
    assert_eq!((line.len(), line.expected(), line.flows.len(), line.ring.len()), (0, 0, 0, 0));
}

#[test]
fn what_is_ahead_counts_the_own_work_and_a_share_of_that_of_others() {
    let mut line = Tenants::default();
    (0..100).for_each(|n| push(&mut line, 1, 1, n, 1000));
    assert_eq!(line.ahead((1, (1, ()))), 100_000, "all of the same client's");
    assert!(line.ahead((1, (2, ()))) <= 1000, "one piece of another client's");
    assert!(line.ahead((2, (1, ()))) <= 1000, "one piece of another tenant's");
}

#[test]
fn debts_of_those_who_are_gone_take_no_memory_for_long() {
    let mut line = Tenants::default();
    (0..100_000).for_each(|n| push(&mut line, 1, 1, n, 1000));
    for n in 0..200 {
        push(&mut line, n, 1, 0, 5000);
        (0..3).for_each(|_| _ = line.pop());
    }
    assert!(line.flows.len() <= 64, "{}", line.flows.len());
}

proptest! {
    /// Whatever comes and goes: nothing is lost, done twice or forgotten in the sums.
    #[test]
    fn everything_that_waits_has_its_turn_once(
        steps in prop::collection::vec((0..3_u8, 0..3_u8, 1..5000_u64, 0..4_u8), 1..200),
    ) {
        let mut line = Tenants::default();
        let mut waiting = std::collections::BTreeMap::new();
        for (ticket, (tenant, client, cost, act)) in (0_u64..).zip(steps) {
            match act {
                0 => {
                    let gone = line.pop().map(|piece| piece.ticket);
                    prop_assert_eq!(gone.is_some(), !waiting.is_empty());
                    if let Some(gone) = gone {
                        prop_assert!(waiting.remove(&gone).is_some());
                    }
                }
                1 => {
                    if let Some((gone, (place, _))) = waiting.pop_first() {
                        prop_assert!(line.take(place, gone).is_some());
                    }
                }
                _ => {
                    push(&mut line, tenant, client, ticket, cost);
                    waiting.insert(ticket, ((tenant, (client, ())), cost));
                }
            }
            prop_assert_eq!(line.len(), waiting.len());
            prop_assert_eq!(line.expected(), waiting.values().map(|(_, cost)| *cost).sum::<u64>());
        }
        let mut rest = order(&mut line);
        rest.sort_unstable();
        prop_assert_eq!(rest, waiting.into_keys().collect::<Vec<_>>());
    }
}
