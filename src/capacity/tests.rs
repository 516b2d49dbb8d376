use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { reserve: 25, connections: 100, requests: 100 };

/// Takes requests until none is granted; gives how many were.
fn fill(capacity: &Capacity, takers: Takers<'_>, limits: Limits) -> usize {
    (0..1_000_000).take_while(|_| capacity.enter(takers, Link::Alone, limits)).count()
}

fn alone(upstream: &ActiveRequests) -> Takers<'_> {
    Takers { upstream, namespace: None }
}

#[test]
fn one_upstream_comes_to_three_quarters_and_the_next_to_three_quarters_of_the_rest() {
    let capacity = Capacity::default();
    let [first, second, third] = [(); 3].map(|()| ActiveRequests::default());
    assert_eq!(fill(&capacity, alone(&first), LIMITS), 75);
    assert_eq!(fill(&capacity, alone(&second), LIMITS), 19);
    assert_eq!(fill(&capacity, alone(&third), LIMITS), 5);
    assert_eq!(capacity.requests(LIMITS), Use { taken: 99, limit: 100 });
}

#[test]
fn the_upstreams_of_a_namespace_together_leave_half_of_the_reserve() {
    let capacity = Capacity::default();
    let (namespace, others) = (ActiveRequests::default(), ActiveRequests::default());
    let upstreams: [ActiveRequests; 20] = Default::default();
    let takers = |upstream| Takers { upstream, namespace: Some(&namespace) };
    let all: usize = upstreams.iter().map(|upstream| fill(&capacity, takers(upstream), LIMITS)).sum();
    assert_eq!((all, namespace.get()), (88, 88));
    assert!(fill(&capacity, alone(&others), LIMITS) >= 9, "others get the most of what is left");
}

#[test]
fn without_a_reserve_one_may_take_all() {
    let limits = Limits { reserve: 0, ..LIMITS };
    assert_eq!(fill(&Capacity::default(), alone(&ActiveRequests::default()), limits), 100);
}

#[test]
fn few_connections_are_no_reason_to_refuse_those_who_have_them() {
    for connections in 1..=3 {
        let limits = Limits { connections, ..LIMITS };
        let capacity = Arc::new(Capacity::default());
        let upstream = ActiveRequests::default();
        for count in 1..=connections {
            let open: Vec<Connected> = (0..connections).map(|_| capacity.connected()).collect();
            assert!(capacity.enter(alone(&upstream), Link::Alone, limits), "{count} of {connections}");
            drop(open);
        }
    }
}

#[test]
fn what_was_refused_is_not_counted_and_what_ended_makes_room() {
    let (capacity, upstream) = (Capacity::default(), ActiveRequests::default());
    assert_eq!(fill(&capacity, alone(&upstream), LIMITS), 75);
    assert_eq!(upstream.get(), 75);
    assert!(!capacity.enter(alone(&upstream), Link::Alone, LIMITS));
    capacity.leave(alone(&upstream), Link::Alone);
    assert!(capacity.enter(alone(&upstream), Link::Alone, LIMITS));
}

#[test]
fn a_loop_of_requests_leaves_a_quarter_of_the_descriptors() {
    // Each round takes a client connection, then one to the upstream.
    let limits = Limits { connections: 100_000, requests: 100_000, ..LIMITS };
    for descriptors in [256, 1024, 4096, 20_000, 100_000] {
        let (capacity, upstream) = (Arc::new(Capacity::new(descriptors)), ActiveRequests::default());
        let mut open = Vec::new();
        while open.len() < capacity.max_connections(limits) {
            open.push(capacity.connected());
            if !capacity.enter(alone(&upstream), Link::Alone, limits) {
                break;
            }
        }
        let taken = capacity.descriptors().taken;
        assert!(taken * 4 <= descriptors * 3, "{taken} of {descriptors}");
        assert!(taken * 8 >= descriptors * 5, "one may take the most of them: {taken} of {descriptors}");
        assert!(capacity.enter(alone(&ActiveRequests::default()), Link::Alone, limits), "others are served");
    }
}

#[test]
fn requests_that_share_a_connection_take_no_descriptors() {
    let (capacity, upstream) = (Arc::new(Capacity::new(256)), ActiveRequests::default());
    let limits = Limits { connections: 100_000, requests: 100_000, ..LIMITS };
    let _client = capacity.connected();
    assert!((0..300).all(|_| capacity.enter(alone(&upstream), Link::Shared, limits)));
    assert_eq!(capacity.descriptors().taken, 1);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => (0..6usize).prop_map(Step::Enter), 1 => (0..6usize).prop_map(Step::Leave)];
    proptest::collection::vec(step, 0..2000)
}

proptest! {
    /// Whatever six upstreams of two namespaces and one of the conf do: counts are right, no one is granted more than
    /// its part of what the others leave it, and whoever holds nothing is granted while anything is left.
    #[test]
    fn nobody_takes_the_last_of_anything(steps in steps(), reserve in 1..=90usize, requests in 1..400usize) {
        let limits = Limits { reserve, connections: 100_000, requests };
        let capacity = Capacity::default();
        let namespaces: [ActiveRequests; 2] = Default::default();
        let upstreams: [ActiveRequests; 6] = Default::default();
        let takers = |index: usize| Takers { upstream: &upstreams[index], namespace: namespaces.get(index / 3) };
        let mut held = [0usize; 6];
        for step in steps {
            match step {
                Step::Leave(index) if held[index] > 0 => {
                    capacity.leave(takers(index), Link::Alone);
                    held[index] -= 1;
                }
                Step::Leave(_) => {}
                Step::Enter(index) => {
                    let left = requests - held.iter().sum::<usize>();
                    let of_namespace: usize = held[index / 3 * 3..][..3].iter().sum();
                    let granted = capacity.enter(takers(index), Link::Alone, limits);
                    let part = |held: usize, whole: usize| held * reserve < left * (whole - reserve);
                    prop_assert_eq!(granted, part(held[index], 100) && part(of_namespace, 200));
                    prop_assert!(granted || of_namespace > 0 || left == 0);
                    held[index] += usize::from(granted);
                }
            }
            prop_assert_eq!(upstreams.each_ref().map(ActiveRequests::get), held);
            prop_assert_eq!(capacity.requests(limits).taken, held.iter().sum::<usize>());
        }
    }
}

#[test]
fn servers_that_tell_have_a_part_of_the_reserve() {
    let of = |descriptors| Capacity::new(descriptors).server_connections(64);
    assert_eq!((of(usize::MAX), of(20_000), of(1024), of(64)), (64, 64, 32, 4));
}
