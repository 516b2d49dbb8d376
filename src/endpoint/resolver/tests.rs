use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use tokio::net::UdpSocket;

use super::*;
use crate::quantity;
use crate::upstream::{ExternalName, HealthCheck, UpstreamConfig};

const A: u16 = 1;
const AAAA: u16 = 28;

/// What the DNS server says about every name (RFC 1035, 4.1.1: the response code).
#[derive(Clone, Debug)]
enum Say {
    Addresses(Vec<IpAddr>),
    Code(u8),
}

/// A DNS server on loopback.
#[derive(Clone)]
struct Dns {
    v4: Arc<Mutex<Say>>,
    v6: Arc<Mutex<Say>>,
}

impl Dns {
    fn new(v4: Say) -> Self {
        Self { v4: Arc::new(Mutex::new(v4)), v6: Arc::new(Mutex::new(Say::Addresses(Vec::new()))) }
    }

    async fn listen(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dns = self.clone();
        tokio::spawn(async move {
            let mut query = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                // Names that begin with `silent` have a server that says nothing.
                if query[..length].windows(6).any(|bytes| bytes.eq_ignore_ascii_case(b"silent")) {
                    continue;
                }
                let _ = socket.send_to(&dns.answer(&query[..length]), client).await;
            }
        });
        address
    }

    /// RFC 1035, 4.1: header, the question as it came, one record an address with a TTL of 0.
    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let question = &query[12..name_end + 4];
        let kind = u16::from_be_bytes([query[name_end], query[name_end + 1]]);
        let say = if kind == A { self.v4.lock().unwrap().clone() } else { self.v6.lock().unwrap().clone() };
        let (code, addresses) = match say {
            Say::Addresses(addresses) => (0, addresses),
            Say::Code(code) => (code, Vec::new()),
        };
        let mut answer = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1];
        answer.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        answer.extend([0, 0, 0, 0]);
        answer.extend(question);
        for ip in addresses {
            let data = match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let kind = if ip.is_ipv4() { A } else { AAAA };
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()]);
            answer.extend(data);
        }
        answer
    }
}

struct Running {
    table: Arc<Table>,
    _stop: watch::Sender<bool>,
}

impl Running {
    fn start(nameserver: SocketAddr) -> Self {
        let table = Arc::new(Table::default());
        let (stop, stopped) = watch::channel(false);
        let config = Config {
            nameserver: Some(nameserver),
            min_ttl: Duration::from_millis(10),
            min_retry: Duration::from_millis(10),
            max_retry: Duration::from_millis(20),
            ..Config::default()
        };
        tokio::spawn(run(Arc::clone(&table), config, stopped));
        Self { table, _stop: stop }
    }

    fn upstream(&self, name: &str) -> Arc<Upstream> {
        let upstream = self.table.upstream_of("test/external:80", None);
        upstream.set_config(external(name));
        upstream
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the name should be resolved");
    }

    /// Waits for `count` more failures.
    async fn failures(&self, count: u64) {
        let table = Arc::clone(&self.table);
        let failures = move || table.stats().resolution_failures_total.load(Ordering::Relaxed);
        let goal = failures() + count;
        self.until(|| failures() >= goal).await;
    }
}

fn external(name: &str) -> UpstreamConfig {
    UpstreamConfig { external: Some(ExternalName { name: name.into(), port: 8080 }), ..UpstreamConfig::default() }
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

fn addresses(upstream: &Upstream) -> Vec<IpAddr> {
    upstream.endpoints().iter().map(|endpoint| endpoint.address.ip()).collect()
}

#[tokio::test]
async fn a_name_becomes_endpoints_and_follows_its_records() {
    let dns = Dns::new(Say::Addresses(vec![v4(2), v4(1)]));
    *dns.v6.lock().unwrap() = Say::Addresses(vec![v6(1)]);
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("shop.example.");
    running.until(|| addresses(&upstream) == [v4(1), v4(2), v6(1)]).await;
    assert!(upstream.endpoints().iter().all(|endpoint| endpoint.address.port() == 8080));
    *dns.v4.lock().unwrap() = Say::Addresses(vec![v4(3)]);
    *dns.v6.lock().unwrap() = Say::Addresses(Vec::new());
    running.until(|| addresses(&upstream) == [v4(3)]).await;
    assert_eq!(running.table.stats().resolution_failures_total.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_last_answer_is_kept_while_the_server_fails() {
    let dns = Dns::new(Say::Addresses(vec![v4(1)]));
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("shop.example.");
    running.until(|| addresses(&upstream) == [v4(1)]).await;
    for code in [2, 3] {
        *dns.v4.lock().unwrap() = Say::Code(code);
        *dns.v6.lock().unwrap() = Say::Code(code);
        running.failures(2).await;
        assert_eq!(addresses(&upstream), [v4(1)], "response code {code}");
    }
    *dns.v4.lock().unwrap() = Say::Addresses(vec![v4(2)]);
    running.until(|| addresses(&upstream) == [v4(2)]).await;
}

#[tokio::test]
async fn a_family_that_fails_keeps_its_addresses() {
    let dns = Dns::new(Say::Addresses(vec![v4(1)]));
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("shop.example.");
    running.until(|| addresses(&upstream) == [v4(1)]).await;
    *dns.v4.lock().unwrap() = Say::Code(2);
    *dns.v6.lock().unwrap() = Say::Addresses(vec![v6(7)]);
    running.until(|| addresses(&upstream) == [v4(1), v6(7)]).await;
}

#[tokio::test]
async fn a_name_that_appears_later_is_found() {
    let dns = Dns::new(Say::Code(3));
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("late.example.");
    running.failures(2).await;
    assert!(addresses(&upstream).is_empty());
    *dns.v4.lock().unwrap() = Say::Addresses(vec![v4(9)]);
    running.until(|| addresses(&upstream) == [v4(9)]).await;
}

#[tokio::test]
async fn another_name_does_not_keep_the_endpoints_of_the_first_when_it_fails() {
    let dns = Dns::new(Say::Addresses(vec![v4(1)]));
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("one.example.");
    running.until(|| addresses(&upstream) == [v4(1)]).await;
    *dns.v4.lock().unwrap() = Say::Code(3);
    upstream.set_config(external("two.example."));
    assert_eq!(addresses(&upstream), [v4(1)], "nothing is known of the second name yet");
    running.until(|| addresses(&upstream).is_empty()).await;
}

#[tokio::test]
async fn given_endpoints_wait_until_the_name_is_gone() {
    let dns = Dns::new(Say::Addresses(vec![v4(1)]));
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("shop.example.");
    running.until(|| addresses(&upstream) == [v4(1)]).await;
    upstream.set_endpoints(&[Address { address: SocketAddr::new(v4(200), 1), weight: 1 }]);
    assert_eq!(addresses(&upstream), [v4(1)]);
    upstream.set_config(UpstreamConfig::default());
    assert_eq!(addresses(&upstream), [v4(200)]);
}

#[tokio::test]
async fn addresses_and_localhost_need_no_server() {
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    let running = Running::start(closed);
    running.table.set_address_rules(allowing("127.0.0.0/8"));
    let cases = [
        ("localhost", IpAddr::from(Ipv4Addr::LOCALHOST)),
        ("app.LOCALHOST.", Ipv4Addr::LOCALHOST.into()),
        ("192.0.2.7", v4(7)),
        ("2001:db8::7", v6(7)),
        ("[2001:db8::8]", v6(8)),
    ];
    for (name, expected) in cases {
        let upstream = running.upstream(name);
        running.until(|| addresses(&upstream) == [expected]).await;
    }
    assert_eq!(running.table.stats().resolution_failures_total.load(Ordering::Relaxed), 0);
}

fn allowing(network: &str) -> Arc<AddressRules> {
    Arc::new(AddressRules { allowed: vec![network.parse().unwrap()], ..AddressRules::default() })
}

#[tokio::test]
async fn answers_that_lead_to_this_machine_are_no_endpoints_until_they_are_allowed() {
    let loopback = IpAddr::from([127, 9, 9, 9]);
    let dns = Dns::new(Say::Addresses(vec![v4(1), loopback, [169, 254, 169, 254].into(), [0, 0, 0, 0].into()]));
    let mapped = Ipv4Addr::new(127, 0, 0, 1).to_ipv6_mapped();
    *dns.v6.lock().unwrap() = Say::Addresses(vec![Ipv6Addr::LOCALHOST.into(), mapped.into(), v6(1)]);
    let running = Running::start(dns.listen().await);
    let upstream = running.upstream("rebound.example.");
    upstream.set_config(UpstreamConfig { health_check: Some(check()), ..external("rebound.example.") });
    running.until(|| addresses(&upstream) == [v4(1), v6(1)]).await;
    assert_eq!(upstream.refused().len(), 5, "{:?}", upstream.refused());
    running.table.set_address_rules(allowing("127.9.0.0/16"));
    running.until(|| addresses(&upstream) == [loopback, v4(1), v6(1)]).await;
    running.table.set_address_rules(Arc::default());
    running.until(|| addresses(&upstream) == [v4(1), v6(1)]).await;
    *dns.v4.lock().unwrap() = Say::Addresses(vec![loopback]);
    *dns.v6.lock().unwrap() = Say::Addresses(Vec::new());
    running.until(|| addresses(&upstream).is_empty()).await;
    assert_eq!(upstream.refused().iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.9.9.9:8080 (loopback)"]);
    upstream.set_config(UpstreamConfig::default());
    assert!(upstream.refused().is_empty());
}

/// Nobody connects to what is refused: not the health checks either.
#[tokio::test]
async fn a_refused_address_is_not_probed() {
    let inside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dns = Dns::new(Say::Addresses(vec![[127, 0, 0, 1].into()]));
    let running = Running::start(dns.listen().await);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(crate::endpoint::prober::run(Arc::clone(&running.table), stopped));
    let upstream = running.table.upstream_of("test/probed:80", None);
    let external = Some(ExternalName { name: "rebound.example.".into(), port: inside.local_addr().unwrap().port() });
    upstream.set_config(UpstreamConfig { external, health_check: Some(check()), ..UpstreamConfig::default() });
    let resolved = |count| {
        let table = Arc::clone(&running.table);
        move || table.stats().resolutions_total.load(Ordering::Relaxed) >= count
    };
    let (first, third) = (resolved(1), resolved(3));
    running.until(first).await;
    running.until(third).await;
    assert_eq!(running.table.stats().probes_total.load(Ordering::Relaxed), 0);
    running.table.set_address_rules(allowing("127.0.0.0/8"));
    let probed = tokio::time::timeout(Duration::from_secs(60), inside.accept()).await;
    probed.expect("what is allowed is probed").unwrap();
}

fn check() -> HealthCheck {
    let interval = quantity::Duration(Duration::from_millis(10));
    let timeout = Some(quantity::Duration(Duration::from_secs(60)));
    HealthCheck { interval, timeout, ..HealthCheck::default() }
}

#[tokio::test]
async fn the_task_ends_when_told() {
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(Arc::new(Table::default()), Config::default(), stopped));
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_hold_for_their_ttl_within_bounds_and_failures_wait_longer_each_time() {
    let table = Table::default();
    let upstream = table.upstream_of("test/external:80", None);
    upstream.set_config(external("shop.example."));
    let mut name = Name::new(&upstream, ExternalName { name: "shop.example.".into(), port: 8080 });
    let config = Config::default();
    let mut wait = |answer: Result<Resolved, String>| {
        let before = Instant::now();
        name.take(answer, &config, &AddressRules::default());
        name.due.map(|due| (due - before).as_secs())
    };
    let for_seconds = |ttl| Ok(Resolved::of(v4(1)).with_ttl(Duration::from_secs(ttl)));
    assert_eq!([1, 42, 9000].map(for_seconds).map(&mut wait), [Some(5), Some(42), Some(300)]);
    let failures = [(); 6].map(|()| wait(Err("no".to_owned())));
    assert_eq!(failures, [5, 10, 20, 40, 60, 60].map(Some));
    assert_eq!(wait(for_seconds(42)), Some(42));
    assert_eq!(wait(Err("no".to_owned())), Some(5), "a success starts over");
    assert_eq!(wait(Ok(Resolved::of(v4(1)))), None, "an address is not resolved again");
}

#[tokio::test]
async fn slow_names_of_one_namespace_do_not_keep_the_others_waiting() {
    let dns = Dns::new(Say::Addresses(vec![v4(1)]));
    let running = Running::start(dns.listen().await);
    for index in 0..200 {
        let upstream = running.table.upstream_of(&format!("slow/{index}:80"), Some("slow"));
        upstream.set_config(external(&format!("silent{index}.example.")));
    }
    let other = running.table.upstream_of("other/web:80", Some("other"));
    other.set_config(external("shop.example."));
    let begun = Instant::now();
    running.until(|| addresses(&other) == [v4(1)]).await;
    assert!(begun.elapsed() < Config::default().timeout, "no place had to become free: {:?}", begun.elapsed());
}
