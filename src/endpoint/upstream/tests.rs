use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::endpoint::Table;
use crate::quantity;
use crate::upstream::{Balance, HealthCheck, HttpProbe, Protocol};

fn address(port: u16, weight: u16) -> Address {
    Address { address: SocketAddr::from(([127, 0, 0, 1], port)), weight }
}

fn equal(ports: std::ops::RangeInclusive<u16>) -> Vec<Address> {
    ports.map(|port| address(port, 1)).collect()
}

fn checked(balance: Balance) -> UpstreamConfig {
    let interval = quantity::Duration(Duration::from_secs(5));
    let check = HealthCheck { interval, unhealthy_threshold: 1, ..HealthCheck::default() };
    UpstreamConfig { balance, health_check: Some(check), ..UpstreamConfig::default() }
}

fn upstream(config: UpstreamConfig, addresses: &[Address]) -> (Table, Arc<Upstream>) {
    let table = Table::default();
    let upstream = table.upstream_of("test/web:80", None);
    upstream.set_config(config);
    upstream.set_endpoints(addresses);
    (table, upstream)
}

fn pick_port(upstream: &Upstream) -> u16 {
    upstream.pick(&mut Tried::default()).unwrap().address().port()
}

fn share(upstream: &Upstream, picks: usize) -> BTreeMap<u16, usize> {
    let mut share = BTreeMap::new();
    (0..picks).for_each(|_| *share.entry(pick_port(upstream)).or_default() += 1);
    share
}

fn set_health(upstream: &Upstream, port: u16, is_healthy: bool) {
    let state = upstream.state.load();
    let member = state.members().iter().find(|member| member.endpoint.address().port() == port).unwrap();
    member.health.as_ref().unwrap().force(is_healthy);
}

#[test]
fn no_endpoints_is_told_apart_from_all_tried() {
    let (_table, upstream) = upstream(UpstreamConfig::default(), &[]);
    assert_eq!(upstream.pick(&mut Tried::default()).unwrap_err(), NoPick::Empty);
    upstream.set_endpoints(&equal(1..=1));
    let mut tried = Tried::default();
    upstream.pick(&mut tried).unwrap();
    assert_eq!(upstream.pick(&mut tried).unwrap_err(), NoPick::Exhausted);
}

#[test]
fn equal_endpoints_get_equal_shares() {
    let (_table, upstream) = upstream(UpstreamConfig::default(), &equal(1..=10));
    let expected: BTreeMap<u16, usize> = (1..=10).map(|port| (port, 10)).collect();
    assert_eq!(share(&upstream, 100), expected);
}

#[test]
fn weighted_endpoints_get_exactly_their_share() {
    let (_table, upstream) = upstream(UpstreamConfig::default(), &[address(1, 5), address(2, 1), address(3, 1)]);
    assert_eq!(share(&upstream, 70), BTreeMap::from([(1, 50), (2, 10), (3, 10)]));
}

#[test]
fn an_endpoint_of_weight_0_gets_nothing() {
    let (_table, upstream) = upstream(UpstreamConfig::default(), &[address(1, 0), address(2, 3)]);
    assert_eq!(share(&upstream, 10), BTreeMap::from([(2, 10)]));
}

#[test]
fn a_retry_goes_elsewhere_and_takes_no_turn() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let config = UpstreamConfig { balance, ..UpstreamConfig::default() };
        let (_table, upstream) = upstream(config, &equal(1..=4));
        let mut first = BTreeSet::new();
        for _ in 0..100 {
            let mut tried = Tried::default();
            let ports: Vec<u16> = (0..4).map(|_| upstream.pick(&mut tried).unwrap().address().port()).collect();
            assert_eq!(BTreeSet::from_iter(&ports).len(), 4, "{balance:?}: {ports:?}");
            assert_eq!(upstream.pick(&mut tried).unwrap_err(), NoPick::Exhausted);
            first.insert(ports[0]);
        }
        assert_eq!(first.len(), 4, "{balance:?}: first tries reach all");
    }
}

#[test]
fn unhealthy_endpoints_are_passed_over_until_nothing_else_is_left() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let (table, upstream) = upstream(checked(balance), &equal(1..=3));
        set_health(&upstream, 2, false);
        let seen: BTreeSet<u16> = share(&upstream, 200).into_keys().collect();
        assert_eq!(seen, BTreeSet::from([1, 3]), "{balance:?}");
        let mut tried = Tried::default();
        let last = (0..3).map(|_| upstream.pick(&mut tried).unwrap().address().port()).last();
        assert_eq!(last, Some(2), "{balance:?}: the unhealthy one is the last resort");
        assert_eq!(table.stats().panic_picks_total.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn what_an_unhealthy_endpoint_does_not_get_is_shared_by_all_others() {
    let (_table, upstream) = upstream(checked(Balance::RoundRobin), &equal(1..=10));
    set_health(&upstream, 1, false);
    let share = share(&upstream, 9000);
    assert!(share.values().all(|picks| (900..1200).contains(picks)), "{share:?}");
}

#[test]
fn all_are_tried_when_all_are_unhealthy() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let (table, upstream) = upstream(checked(balance), &equal(1..=4));
        (1..=4).for_each(|port| set_health(&upstream, port, false));
        assert_eq!(share(&upstream, 200).len(), 4, "{balance:?}");
        assert_eq!(table.stats().panic_picks_total.load(Ordering::Relaxed), 200);
        assert_eq!(upstream.counts(), Counts { total: 4, healthy: 0, in_flight: 0 });
        assert!(upstream.explain_pick().is_some());
    }
}

#[test]
fn the_less_busy_of_two_gets_the_request() {
    let config = UpstreamConfig { balance: Balance::LeastRequest, ..UpstreamConfig::default() };
    let (_table, upstream) = upstream(config, &equal(1..=2));
    let first = upstream.pick(&mut Tried::default()).unwrap();
    let idle = 3 - first.address().port();
    for _ in 0..50 {
        assert_eq!(upstream.explain_pick().unwrap().port(), idle);
        assert_eq!(pick_port(&upstream), idle);
    }
}

#[test]
fn the_load_of_an_endpoint_is_measured_by_its_weight() {
    let config = UpstreamConfig { balance: Balance::LeastRequest, ..UpstreamConfig::default() };
    let (_table, upstream) = upstream(config, &[address(1, 3), address(2, 1)]);
    let held: Vec<Pick> = (0..40).map(|_| upstream.pick(&mut Tried::default()).unwrap()).collect();
    let heavy = held.iter().filter(|pick| pick.address().port() == 1).count();
    assert!((29..=31).contains(&heavy), "{heavy} of 40");
}

#[test]
fn explain_tells_the_next_pick_and_takes_no_turn() {
    let (_table, upstream) = upstream(UpstreamConfig::default(), &[address(1, 5), address(2, 1), address(3, 1)]);
    for _ in 0..20 {
        let told = upstream.explain_pick().unwrap();
        assert_eq!(upstream.explain_pick(), Some(told));
        assert_eq!(pick_port(&upstream), told.port());
    }
}

#[test]
fn endpoints_that_stay_keep_what_is_known_of_them() {
    let (_table, upstream) = upstream(checked(Balance::RoundRobin), &equal(1..=2));
    set_health(&upstream, 2, false);
    let pick = upstream.pick(&mut Tried::default()).unwrap();
    upstream.set_endpoints(&[address(3, 1), address(2, 4), address(1, 2), address(1, 9)]);
    let view = |port, weight, healthy, in_flight: u32| EndpointView {
        address: address(port, 1).address,
        weight,
        healthy,
        in_flight,
        last_probe_error: None,
    };
    assert_eq!(upstream.endpoints(), [view(1, 2, true, 1), view(2, 4, false, 0), view(3, 1, true, 0)]);
    drop(pick);
    assert_eq!(upstream.counts(), Counts { total: 3, healthy: 2, in_flight: 0 });
}

#[test]
fn equal_input_changes_nothing() {
    let (_table, upstream) = upstream(checked(Balance::RoundRobin), &equal(1..=2));
    let before = upstream.state.load().clone();
    upstream.set_endpoints(&[address(2, 1), address(1, 1)]);
    upstream.set_config(checked(Balance::RoundRobin));
    assert!(Arc::ptr_eq(&before, &upstream.state.load()));
}

#[test]
fn upstreams_of_a_namespace_share_the_health_of_an_endpoint_checked_in_the_same_way() {
    let table = Table::default();
    let configs = [
        checked(Balance::RoundRobin),
        checked(Balance::LeastRequest),
        UpstreamConfig { protocol: Protocol::Https, ..checked(Balance::RoundRobin) },
    ];
    let elsewhere = table.upstream_of("there/web:80", Some("there"));
    elsewhere.set_config(configs[0].clone());
    elsewhere.set_endpoints(&equal(1..=1));
    let [same, also, other] = configs.map(|config| {
        let upstream = table.upstream_of(&format!("{config:?}"), Some("here"));
        upstream.set_config(config);
        upstream.set_endpoints(&equal(1..=1));
        upstream
    });
    set_health(&same, 1, false);
    assert_eq!((also.counts().healthy, other.counts().healthy), (0, 1));
    assert_eq!(elsewhere.counts().healthy, 1, "namespaces depend on nothing of one another");
}

#[test]
fn other_timing_keeps_the_verdict_and_another_probe_does_not() {
    let (_table, upstream) = upstream(checked(Balance::RoundRobin), &equal(1..=1));
    set_health(&upstream, 1, false);
    let mut config = checked(Balance::RoundRobin);
    config.health_check.as_mut().unwrap().interval = quantity::Duration(Duration::from_secs(9));
    upstream.set_config(config.clone());
    assert_eq!(upstream.counts().healthy, 0, "other timing");
    let probe = HttpProbe { path: "/".into(), host: None, statuses: Vec::new() };
    config.health_check.as_mut().unwrap().http = Some(probe);
    upstream.set_config(config);
    assert_eq!(upstream.counts().healthy, 1, "another probe");
    set_health(&upstream, 1, false);
    upstream.set_config(UpstreamConfig::default());
    assert_eq!(upstream.counts().healthy, 1, "no probe");
}

#[test]
fn one_load_gives_settings_key_and_pick() {
    let config = UpstreamConfig { protocol: Protocol::H2c, ..UpstreamConfig::default() };
    let (_table, upstream) = upstream(config.clone(), &equal(1..=1));
    let state = upstream.state.load();
    assert_eq!(**state.config(), config);
    assert_eq!(state.pick(&mut Tried::default()).unwrap().address().port(), 1);
    assert_eq!(*upstream.config(), config);
}

#[test]
fn picks_and_changes_at_the_same_time_leave_nothing_in_flight() {
    let (_table, upstream) = upstream(checked(Balance::LeastRequest), &equal(1..=10));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut tried = Tried::default();
                    let held: Vec<_> = (0..3).map(|_| upstream.pick(&mut tried)).collect();
                    std::hint::black_box(held);
                }
            });
        }
        for round in 0..500u16 {
            let balance = if round % 2 == 0 { Balance::RoundRobin } else { Balance::LeastRequest };
            upstream.set_config(checked(balance));
            let addresses: Vec<_> = (1..=10).filter(|port| (port + round) % 3 > 0).collect();
            upstream.set_endpoints(&addresses.iter().map(|port| address(*port, 1 + port % 4)).collect::<Vec<_>>());
        }
        upstream.set_endpoints(&equal(1..=10));
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(upstream.counts(), Counts { total: 10, healthy: 10, in_flight: 0 });
}

#[tokio::test]
async fn another_endpoint_is_picked_as_soon_as_there_is_one() {
    let (table, upstream) = upstream(UpstreamConfig::default(), &equal(1..=2));
    let mut tried = Tried::default();
    upstream.pick(&mut tried).unwrap();
    let stats = table.stats();
    let changes = async {
        while stats.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        upstream.set_endpoints(&[]);
        upstream.set_endpoints(&equal(3..=3));
    };
    let (picked, ()) = tokio::join!(upstream.pick_changed(&mut tried, Duration::from_secs(60)), changes);
    assert_eq!(picked.unwrap().address().port(), 3);
    assert_eq!(stats.waiting.load(Ordering::Relaxed), 0);

    upstream.set_endpoints(&equal(3..=4));
    let picked = upstream.pick_changed(&mut tried, Duration::from_secs(60)).await;
    assert_eq!(picked.unwrap().address().port(), 4, "they had changed already");
    assert_eq!(stats.waits_total.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_after_a_wait_in_vain() {
    let (table, upstream) = upstream(UpstreamConfig::default(), &equal(1..=2));
    let mut tried = Tried::default();
    upstream.pick(&mut tried).unwrap();
    for is_first in [true, false] {
        let started = tokio::time::Instant::now();
        let picked = upstream.pick_changed(&mut tried, Duration::from_secs(60)).await;
        assert_eq!(picked.unwrap_err(), NoPick::Exhausted, "the other one is no change");
        assert_eq!(started.elapsed() >= Duration::from_secs(60), is_first);
        assert_eq!(table.stats().vain_waits_total.load(Ordering::Relaxed), 1);
    }
}
