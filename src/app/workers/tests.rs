use std::sync::mpsc::{Receiver, Sender, channel};

use tidegate_plugin::testing::{Request, block_on};
use tidegate_plugin::{NotDone, Waiting};

use super::*;

/// A piece of work of a client at a route of that namespace.
fn run<T: Send + 'static>(
    lane: &Blocking,
    (namespace, client): (&str, &str),
    work: impl FnOnce() -> T + Send + 'static,
) -> Waiting<T> {
    Request::get("/").namespace(namespace).from(client).with_context(|cx| lane.run(cx, work))
}

fn done<T>(waiting: Waiting<T>) -> Result<T, NotDone>
where
    T: Send,
{
    block_on(Box::pin(waiting))
}

/// A piece that has begun and ends when the sender is dropped.
fn hold(lane: &Blocking) -> (Sender<()>, Waiting<()>) {
    let (release, gate) = channel::<()>();
    let (begun, begins) = channel();
    let held = run(lane, ("held", "10.9.9.9"), move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    });
    begins.recv().unwrap();
    (release, held)
}

fn meter(pool: &Pool, name: &str) -> Arc<Meter> {
    pool.desk.meters().into_iter().find(|meter| &*meter.name == name).unwrap()
}

/// Sets what a piece of the instance is expected to take.
fn expect(pool: &Pool, name: &str, cost: Duration) {
    let meter = meter(pool, name);
    meter.cost_us.store(micros(cost), Ordering::Relaxed);
    // What is measured from now on moves it, and does not replace it.
    meter.is_measured.store(true, Ordering::Relaxed);
}

#[test]
fn what_would_wait_too_long_is_refused_and_others_are_not() {
    let pool = Pool::start(1).unwrap();
    let (dear, cheap) = (pool.lane("dear"), pool.lane("cheap"));
    let (release, held) = hold(&dear);
    expect(&pool, "dear", Duration::from_millis(500));
    let mut taken = Vec::new();
    for _ in 0..20 {
        taken.push(run(&dear, ("b", "10.0.0.1"), || ()));
    }
    let refused = meter(&pool, "dear").refused.load(Ordering::Relaxed);
    assert!((14..=18).contains(&refused), "{refused}");
    // Another client of the same instance, another instance, another namespace.
    let others = [
        run(&dear, ("b", "10.0.0.2"), || ()),
        run(&cheap, ("b", "10.0.0.1"), || ()),
        run(&dear, ("a", "10.0.0.1"), || ()),
    ];
    assert_eq!(meter(&pool, "dear").refused.load(Ordering::Relaxed), refused);
    drop(release);
    assert_eq!(done(held), Ok(()));
    assert!(others.into_iter().all(|other| done(other) == Ok(())));
    let results: Vec<_> = taken.into_iter().map(done).collect();
    assert_eq!(results.iter().filter(|result| **result == Err(NotDone::Refused)).count() as u64, refused);
}

#[test]
fn cheap_pieces_are_bounded_by_number() {
    let pool = Pool::start(1).unwrap();
    let lane = pool.lane("one");
    let (release, held) = hold(&lane);
    expect(&pool, "one", Duration::ZERO);
    let taken: Vec<_> = (0..MAX_PIECES).map(|_| run(&lane, ("", "10.0.0.1"), || ())).collect();
    assert_eq!(meter(&pool, "one").refused.load(Ordering::Relaxed), 1, "the held one counts too");
    drop((release, held));
    assert_eq!(taken.into_iter().filter_map(|piece| done(piece).ok()).count() as u64, MAX_PIECES - 1);
}

/// The order in which pieces of these places are done behind one that is held.
fn order(places: &[(&str, &'static str, &'static str)]) -> Vec<usize> {
    let pool = Pool::start(1).unwrap();
    let lanes = ["x", "y"].map(|name| (name, pool.lane(name)));
    // Before anything has its turn: a dear piece lets each other go on for as long.
    ["x", "y"].iter().for_each(|name| expect(&pool, name, Duration::from_millis(1)));
    let (release, held) = hold(&lanes[0].1);
    let (tell, told): (Sender<usize>, Receiver<usize>) = channel();
    let waiting: Vec<_> = (0..)
        .zip(places)
        .map(|(number, (namespace, name, client))| {
            let (_, lane) = lanes.iter().find(|(known, _)| known == name).unwrap();
            let tell = tell.clone();
            run(lane, (namespace, client), move || tell.send(number).unwrap())
        })
        .collect();
    drop((release, tell));
    done(held).unwrap();
    waiting.into_iter().for_each(|piece| done(piece).unwrap());
    told.into_iter().collect()
}

#[test]
fn namespaces_instances_and_clients_take_turns() {
    let position = |order: Vec<usize>| order.iter().position(|number| *number == 10).unwrap();
    for late in [("a", "x", "10.0.0.1"), ("b", "y", "10.0.0.1"), ("b", "x", "10.0.0.2")] {
        let mut places = vec![("b", "x", "10.0.0.1"); 10];
        places.push(late);
        assert!(position(order(&places)) <= 2, "{late:?}");
    }
    assert_eq!(position(order(&[("b", "x", "10.0.0.1"); 11])), 10);
}

#[test]
fn what_nobody_awaits_is_left_at_once() {
    let pool = Pool::start(1).unwrap();
    let lane = pool.lane("one");
    let (release, held) = hold(&lane);
    let gone: Vec<_> = (0..5).map(|_| run(&lane, ("", "10.0.0.1"), || panic!("was left"))).collect();
    drop(gone);
    let meter = meter(&pool, "one");
    assert_eq!((meter.waiting.load(Ordering::Relaxed), meter.left.load(Ordering::Relaxed)), (1, 5));
    let next = run(&lane, ("", "10.0.0.1"), || 7);
    drop(release);
    assert_eq!((done(held), done(next)), (Ok(()), Ok(7)));
}

#[test]
fn what_takes_long_is_measured() {
    let pool = Pool::start(1).unwrap();
    let lane = pool.lane("one");
    let spin = || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {}
    };
    done(run(&lane, ("", "10.0.0.1"), spin)).unwrap();
    // The thread measures after it has handed over the result; the next piece shows that it has.
    done(run(&lane, ("", "10.0.0.1"), || ())).unwrap();
    let meter = meter(&pool, "one");
    let cost = meter.cost();
    assert!(cost >= 1_800, "{cost}");
    assert!(meter.busy_us.load(Ordering::Relaxed) >= 2_000);
}

#[test]
fn a_panic_ends_one_piece_of_work_only() {
    let pool = Pool::start(1).unwrap();
    let lane = pool.lane("one");
    let panics = || -> u8 { panic!("as the test wants") };
    assert_eq!(done(run(&lane, ("", "10.0.0.1"), panics)), Err(NotDone::Lost));
    assert_eq!(done(run(&lane, ("", "10.0.0.1"), || 7)), Ok(7));
}

#[test]
fn the_meter_of_an_instance_that_is_gone_is_gone() {
    let pool = Pool::start(1).unwrap();
    (0..1000).for_each(|_| drop(pool.lane("gone")));
    let kept = pool.lane("kept");
    assert_eq!(pool.desk.meters().len(), 1);
    assert!(pool.desk.meters.lock().unwrap().len() < 100);
    drop(kept);
}
