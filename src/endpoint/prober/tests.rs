use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicU32};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::health::{Spec, Target};
use super::*;
use crate::endpoint::{Address, Upstream};
use crate::quantity;
use crate::upstream::{CaBundle, HealthCheck, HttpProbe, Protocol, UpstreamConfig, UpstreamTls};

/// A table with its scheduler running.
struct Running {
    table: Arc<Table>,
    _stop: watch::Sender<bool>,
}

/// An HTTP/1 server that answers every request with the status of the moment.
#[derive(Clone)]
struct Server {
    status: Arc<AtomicU16>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start() -> Self {
        Self::start_with(Arc::default())
    }

    fn start_with(table: Arc<Table>) -> Self {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(run(Arc::clone(&table), stopped));
        Self { table, _stop: stop }
    }

    fn upstream(&self, id: &str, config: UpstreamConfig, address: SocketAddr) -> Arc<Upstream> {
        let upstream = self.table.upstream_of(id, None);
        upstream.set_config(config);
        upstream.set_endpoints(&[Address { address, weight: 1 }]);
        upstream
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the health should change");
    }
}

impl Server {
    fn new(status: u16) -> Self {
        Self { status: Arc::new(AtomicU16::new(status)), heads: Arc::default() }
    }

    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().answer(stream));
            }
        });
        address
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        self.heads.lock().unwrap().push(String::from_utf8(head).unwrap());
        let status = self.status.load(Ordering::Relaxed);
        let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 {status} X\r\nContent-Length: 100000\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn http(path: &str, host: Option<&str>, statuses: &[u16]) -> Option<HttpProbe> {
    Some(HttpProbe { path: path.into(), host: host.map(Into::into), statuses: statuses.to_vec() })
}

fn checked(http: Option<HttpProbe>) -> UpstreamConfig {
    let check = HealthCheck {
        http,
        interval: quantity::Duration(Duration::from_millis(10)),
        timeout: Some(quantity::Duration(Duration::from_secs(20))),
        healthy_threshold: 2,
        unhealthy_threshold: 2,
    };
    UpstreamConfig { health_check: Some(check), ..UpstreamConfig::default() }
}

fn is_healthy(upstream: &Upstream) -> bool {
    upstream.counts().healthy == 1
}

fn error_of(upstream: &Upstream) -> String {
    upstream.endpoints()[0].last_probe_error.clone().unwrap_or_default()
}

#[tokio::test]
async fn an_http_endpoint_turns_bad_and_good_again() {
    let running = Running::start();
    let server = Server::new(503);
    let address = server.listen().await;
    let upstream = running.upstream("web", checked(http("/up?deep=1", None, &[])), address);
    assert!(is_healthy(&upstream), "it begins healthy");
    running.until(|| !is_healthy(&upstream)).await;
    assert!(error_of(&upstream).contains("503"), "{}", error_of(&upstream));
    server.status.store(204, Ordering::Relaxed);
    running.until(|| is_healthy(&upstream)).await;
    assert_eq!(error_of(&upstream), "");
    server.status.store(404, Ordering::Relaxed);
    running.until(|| !is_healthy(&upstream)).await;
    let head = server.heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /up?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    let stats = running.table.stats();
    assert!(stats.probes_total.load(Ordering::Relaxed) >= 6);
    assert!(stats.probe_failures_total.load(Ordering::Relaxed) >= 4);
}

#[tokio::test]
async fn host_and_statuses_are_as_configured() {
    let running = Running::start();
    let server = Server::new(200);
    let upstream = running.upstream("web", checked(http("/", Some("shop.test"), &[418])), server.listen().await);
    running.until(|| !is_healthy(&upstream)).await;
    assert!(server.heads.lock().unwrap()[0].to_lowercase().contains("host: shop.test\r\n"));
    server.status.store(418, Ordering::Relaxed);
    running.until(|| is_healthy(&upstream)).await;
}

#[tokio::test]
async fn a_port_without_listener_is_unhealthy_until_somebody_listens() {
    let running = Running::start();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let upstream = running.upstream("tcp", checked(None), address);
    running.until(|| !is_healthy(&upstream)).await;
    socket.listen(128).unwrap();
    running.until(|| is_healthy(&upstream)).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_unhealthy() {
    let running = Running::start();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = checked(http("/", None, &[]));
    config.health_check.as_mut().unwrap().timeout = Some(quantity::Duration(Duration::from_millis(50)));
    let upstream = running.upstream("silent", config, silent.local_addr().unwrap());
    running.until(|| !is_healthy(&upstream)).await;
    assert!(error_of(&upstream).contains("50ms"), "{}", error_of(&upstream));
}

/// RFC 9113, 3.3: HTTP/2 in clear with prior knowledge.
#[tokio::test]
async fn an_h2c_endpoint_is_asked_over_http_2() {
    let running = Running::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, mut question) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let _ = asked.send(request.uri().to_string());
                    let response = http::Response::builder().status(500).body(()).unwrap();
                    let _ = respond.send_response(response, true);
                }
            });
        }
    });
    let config = UpstreamConfig { protocol: Protocol::H2c, ..checked(http("/up", Some("grpc.test"), &[])) };
    let upstream = running.upstream("grpc", config, address);
    running.until(|| !is_healthy(&upstream)).await;
    assert_eq!(question.recv().await.unwrap(), "http://grpc.test/up");
    assert!(error_of(&upstream).contains("500"), "{}", error_of(&upstream));
}

/// A TLS server for `a.test`, and its certificate.
async fn tls_server(status: u16) -> (SocketAddr, Vec<u8>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    Server::new(status).answer(stream).await;
                }
            });
        }
    });
    (address, made.cert.der().to_vec())
}

#[tokio::test]
async fn certificates_are_verified_as_the_upstream_says() {
    let running = Running::start();
    let (address, certificate) = tls_server(200).await;
    let tls = |verify, name: &str, ca: &[u8]| UpstreamTls {
        verify,
        server_name: Some(name.into()),
        ca: Some(CaBundle([ca.to_vec()].into())),
    };
    let config = |probe, tls| UpstreamConfig { protocol: Protocol::Https, tls: Some(tls), ..checked(probe) };
    for probe in [None, http("/", None, &[])] {
        let name = format!("{probe:?}");
        let good = config(probe.clone(), tls(true, "a.test", &certificate));
        let bad_name = config(probe.clone(), tls(true, "b.test", &certificate));
        let no_certificate = config(probe.clone(), tls(true, "a.test", b"nonsense"));
        let unverified = config(probe.clone(), tls(false, "b.test", &certificate));
        let upstream = running.upstream("tls", good.clone(), address);
        let probes = running.table.stats().probes_total.load(Ordering::Relaxed);
        for bad in [bad_name, no_certificate] {
            upstream.set_config(bad);
            running.until(|| !is_healthy(&upstream)).await;
            assert!(error_of(&upstream).to_lowercase().contains("certificate"), "{name}: {}", error_of(&upstream));
        }
        for good in [good, unverified] {
            upstream.set_config(good);
            upstream.state.load().members()[0].health.as_ref().unwrap().force(false);
            running.until(|| is_healthy(&upstream)).await;
        }
        assert!(running.table.stats().probes_total.load(Ordering::Relaxed) >= probes + 8);
    }
}

#[tokio::test]
async fn a_removed_upstream_is_probed_no_more_though_requests_still_hold_it() {
    let running = Running::start();
    let server = Server::new(200);
    let upstream = running.upstream("web", checked(http("/", None, &[])), server.listen().await);
    let health = upstream.state.load().members()[0].health.as_ref().map(Arc::downgrade).unwrap();
    running.table.remove("web").unwrap();
    upstream.set_config(checked(None));
    let gone = async {
        while health.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("nobody should hold the health");
    assert!(upstream.state.load().members()[0].health.is_none(), "nor does it get a new one");
    assert_eq!(upstream.counts().total, 1);
}

/// Servers that accept and never answer, and how many probes they hold.
async fn silent(count: usize) -> (Vec<Address>, Arc<AtomicU32>) {
    let held = Arc::new(AtomicU32::new(0));
    let mut addresses = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(Address { address: listener.local_addr().unwrap(), weight: 1 });
        let held = Arc::clone(&held);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.fetch_add(1, Ordering::SeqCst);
                kept.push(stream);
            }
        });
    }
    (addresses, held)
}

#[tokio::test]
async fn slow_checks_of_one_namespace_leave_places_to_the_others() {
    let table = Arc::new(Table::default());
    let (addresses, held) = silent(100).await;
    let mut config = checked(http("/", None, &[]));
    config.health_check.as_mut().unwrap().timeout = Some(quantity::Duration(Duration::from_secs(3600)));
    // Two upstreams of one namespace: places are shared out by namespace.
    for (id, part) in ["slow/a:80", "slow/b:80"].into_iter().zip(addresses.chunks(50)) {
        let upstream = table.upstream_of(id, Some("slow"));
        upstream.set_config(config.clone());
        upstream.set_endpoints(part);
    }
    let running = Running::start_with(Arc::clone(&table));
    let server = Server::new(503);
    let other = table.upstream_of("other/web:80", Some("other"));
    other.set_config(checked(http("/", None, &[])));
    other.set_endpoints(&[Address { address: server.listen().await, weight: 1 }]);
    running.until(|| !is_healthy(&other)).await;
    server.status.store(200, Ordering::Relaxed);
    running.until(|| is_healthy(&other)).await;
    let is_full = async {
        while held.load(Ordering::SeqCst) < 48 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_full).await.expect("three quarters of the places");
    assert_eq!(held.load(Ordering::SeqCst), 48);
}

#[tokio::test(start_paused = true)]
async fn many_checks_of_one_namespace_leave_turns_to_the_others() {
    let shared = Arc::new(Shared::default());
    let mut scheduler = Scheduler::new(Arc::clone(&shared));
    let spec = |path: &str| Spec::new(&checked(http(path, None, &[]))).map(Arc::new).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let many: Vec<_> = (0..5000)
        .map(|index| shared.health.watch(&"many".into(), address, &spec(&format!("/{index}")), None))
        .collect();
    let few = shared.health.watch(&"few".into(), address, &spec("/"), None);
    let probed = |scheduler: &Scheduler, health: &Arc<Health>| {
        let mut running = scheduler.probed.values().map(|turn| &turn.work.health);
        running.any(|running| std::ptr::eq(running.as_ptr(), Arc::as_ptr(health)))
    };
    scheduler.take_new();
    scheduler.start_due();
    assert!(probed(&scheduler, &few), "its turn does not come after five thousand others");
    assert_eq!(scheduler.probed.len(), 49);
    let mut begun = 49;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        for (id, turn) in std::mem::take(&mut scheduler.probed) {
            scheduler.probed.insert(id, turn);
            scheduler.finish(Ok((id, ())));
        }
        scheduler.start_due();
        begun += scheduler.probed.len();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert!((1000..=1110).contains(&begun), "a thousand a second, and a hundred at once: {begun}");
    assert!(shared.stats.late_probes_total.load(Ordering::Relaxed) == 0, "none of them was a second late yet");
    drop(many);
}

#[tokio::test]
async fn a_task_that_begins_later_probes_what_is_there() {
    let table = Arc::new(Table::default());
    let first = Running::start_with(Arc::clone(&table));
    let server = Server::new(503);
    let upstream = first.upstream("web", checked(http("/", None, &[])), server.listen().await);
    drop(first);
    server.heads.lock().unwrap().clear();
    upstream.state.load().members()[0].health.as_ref().unwrap().force(true);
    let second = Running::start_with(table);
    second.until(|| !is_healthy(&upstream)).await;
}

#[tokio::test]
async fn the_task_ends_when_told() {
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(Arc::new(Table::default()), stopped));
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
}

#[test]
fn only_failures_in_a_row_count() {
    let spec = Spec::new(&checked(None)).map(Arc::new).unwrap();
    let health = Health::new(Target::new("t".into(), ([127, 0, 0, 1], 1).into(), spec), true);
    let mut record = |outcome: Result<(), &str>| health.record(outcome.map_err(str::to_owned));
    let changes = [Err("a"), Ok(()), Err("a"), Err("b"), Err("c"), Ok(()), Err("d"), Ok(()), Ok(())].map(&mut record);
    assert_eq!(changes, [false, false, false, true, false, false, false, false, true]);
}
