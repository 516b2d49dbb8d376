use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn name(group: &str) -> Arc<str> {
    group.into()
}

fn drain<T>(turns: &mut Turns<T>, now: Instant) -> Vec<(Arc<str>, T)> {
    std::iter::from_fn(|| turns.next(now)).map(|turn| (turn.group, turn.work)).collect()
}

#[test]
fn groups_have_their_turn_one_after_the_other() {
    let (mut turns, now) = (Turns::new(100), Instant::now());
    (0..50).for_each(|work| turns.push(&name("many"), now, work));
    (50..52).for_each(|work| turns.push(&name("few"), now, work));
    let first: Vec<_> = drain(&mut turns, now).into_iter().take(5).map(|(_, work)| work).collect();
    assert_eq!(first, [50, 0, 51, 1, 2], "of those that are due at once the first by name begins");
}

#[test]
fn a_group_leaves_a_quarter_of_the_places() {
    let (mut turns, now) = (Turns::new(64), Instant::now());
    (0..1000).for_each(|work| turns.push(&name("many"), now, work));
    assert_eq!(drain(&mut turns, now).len(), 48);
    turns.push(&name("few"), now, 1000);
    assert_eq!(drain(&mut turns, now), [(name("few"), 1000)]);
    turns.done(&name("many"));
    assert_eq!(drain(&mut turns, now), [(name("many"), 48)]);
}

#[test]
fn nothing_comes_before_it_is_due() {
    let (mut turns, now) = (Turns::new(4), Instant::now());
    let second = Duration::from_secs(1);
    turns.push(&name("a"), now + 3 * second, 3);
    turns.push(&name("a"), now + second, 1);
    turns.push(&name("b"), now + 2 * second, 2);
    assert_eq!((turns.next(now), turns.next_due()), (None, Some(now + second)));
    let turn = turns.next(now + second * 2).unwrap();
    assert_eq!((turn.work, turn.due), (1, now + second));
    assert_eq!(turns.next(now + second * 2).unwrap().work, 2);
    assert_eq!((turns.next(now + second * 2), turns.next_due()), (None, Some(now + second * 3)));
    assert_eq!((turns.len(), turns.len_of("a"), turns.len_of("b")), (1, 1, 0));
}

#[test]
fn a_group_that_is_done_is_forgotten() {
    let (mut turns, now) = (Turns::new(4), Instant::now());
    turns.push(&name("a"), now, ());
    turns.next(now).unwrap();
    assert_eq!(turns.groups.len(), 1);
    turns.done(&name("a"));
    assert!(turns.groups.is_empty() && turns.ready.is_empty() && turns.waiting.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Push { group: usize, after: u64 },
    Next,
    Done(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..5usize, 0..20u64).prop_map(|(group, after)| Step::Push { group, after }),
        4 => Just(Step::Next),
        3 => (0..5usize).prop_map(Step::Done),
        1 => (0..10u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..400)
}

/// What must hold, told by a list of everything that waits.
#[derive(Default)]
struct Reference {
    waiting: Vec<(Instant, usize, usize)>,
    taken: [usize; 5],
    /// Turns that others had since a group could have had one.
    passed: [usize; 5],
}

impl Reference {
    fn may_start(&self, group: usize, places: usize, now: Instant) -> bool {
        let left = places - self.taken.iter().sum::<usize>();
        let is_due = self.waiting.iter().any(|(due, of, _)| *of == group && *due <= now);
        is_due && left > 0 && may_take(self.taken[group], left, RESERVE)
    }

    /// Takes out what came first of the group's.
    fn take(&mut self, group: usize) -> (Instant, usize) {
        let of_group = self.waiting.iter().enumerate().filter(|(_, (_, of, _))| *of == group);
        let (at, &(due, _, id)) = of_group.min_by_key(|(_, (due, _, id))| (*due, *id)).unwrap();
        self.waiting.remove(at);
        self.taken[group] += 1;
        (due, id)
    }
}

proptest! {
    /// Nothing is lost or early, each group's work comes in order, no group exceeds its part, and who can have a turn
    /// has one before any other has two.
    #[test]
    fn turns_are_fair_whatever_happens(steps in steps(), places in 1..12usize) {
        let (mut turns, mut reference) = (Turns::new(places), Reference::default());
        let names: Vec<Arc<str>> = (0..5).map(|group: usize| group.to_string().into()).collect();
        let mut now = Instant::now();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { group, after } => {
                    let due = now + Duration::from_millis(after);
                    turns.push(&names[group], due, id);
                    reference.waiting.push((due, group, id));
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Done(group) if reference.taken[group] > 0 => {
                    turns.done(&names[group]);
                    reference.taken[group] -= 1;
                }
                Step::Done(_) => {}
                Step::Next => {
                    let able: Vec<bool> = (0..5).map(|group| reference.may_start(group, places, now)).collect();
                    prop_assert_eq!(turns.has_next(now), able.contains(&true));
                    let Some(turn) = turns.next(now) else { continue };
                    let group: usize = turn.group.parse().unwrap();
                    prop_assert!(able[group]);
                    prop_assert_eq!((turn.due, turn.work), reference.take(group));
                    for (other, passed) in reference.passed.iter_mut().enumerate() {
                        *passed = if able[other] && other != group { *passed + 1 } else { 0 };
                        prop_assert!(*passed <= 4, "group {} was passed over", other);
                    }
                }
            }
            prop_assert_eq!(turns.len(), reference.waiting.len());
        }
    }
}
