//! Real sockets on loopback in front of Pingora's own proxy, whose app answers everything itself.

mod changes;
mod deadlines;
mod stop;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use http::HeaderValue;
use pingora::apps::ServerApp;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{HttpProxy, ProxyHttp, Session, http_proxy};
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream as Client;
use tokio::sync::Notify;

use super::accept::{Front, Now};
use super::buffered::BufferedStream;
use super::failure::HandshakeFailure;
use super::guarded::Guarded;
use super::metrics::ListenerMetrics;
use super::*;
use crate::connection::ConnectionInfo;
use crate::edge::{self, Limits};
use crate::host::HostPattern;
use crate::listener::{ListenerProtocol, Serves, TlsSettings};
use crate::origin::Origin;
use crate::quantity;
use crate::snapshot::certificates::{Certificates, Presented, ServedCertificate};
use crate::snapshot::edge::Edge;
use crate::snapshot::edge::claims::Claims;
use crate::snapshot::host_map::HostMap;
use crate::snapshot::listener::Listener;
use crate::snapshot::router::Router;
use crate::snapshot::{Served, Snapshot};
use crate::telemetry::record::{Recorder, RequestRecord, SessionRecord};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Answers with the facts of the connection; some paths misbehave.
#[derive(Default)]
struct App {
    arrived: Arc<Notify>,
    release: Arc<Notify>,
}

#[async_trait]
impl ProxyHttp for App {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<()> {
        info(session).head_arrived();
        if session.req_header().headers.contains_key("content-length") {
            info(session).body_expected();
        } else if !session.is_http2() {
            info(session).note_request_len(Some(session.to_h1_raw().len() as u64));
        }
        session.set_keepalive(Some(60));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        let info = info(session);
        let mut answer = format!("{} {:?} {:?}", info.listener, info.protocol(), info.tls).into_bytes();
        match session.req_header().uri.path() {
            "/wait" => {
                self.arrived.notify_one();
                self.release.notified().await;
            }
            "/body" => {
                while session.read_request_body().await?.is_some() {}
                info.body_arrived();
            }
            // Otherwise Pingora closes a connection whose request was answered before its body was read.
            "/keep" => session.as_downstream_mut().set_close_on_response_before_downstream_finish(false),
            "/big" => answer = vec![b'x'; 64 << 20],
            "/panic" => panic!("asked to"),
            _ => {}
        }
        let mut head = ResponseHeader::build(200, None)?;
        head.insert_header("Content-Length", answer.len().to_string())?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(answer.into()), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        unreachable!("every request is answered")
    }

    async fn logging(&self, session: &mut Session, _: Option<&pingora::Error>, (): &mut ()) {
        info(session).request_done();
    }
}

fn info(session: &Session) -> Arc<ConnectionInfo> {
    ConnectionInfo::of(session.digest().unwrap()).unwrap().clone()
}

/// Listeners with their app and snapshot.
struct House {
    listeners: Arc<Listeners<HttpProxy<App>>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    arrived: Arc<Notify>,
    release: Arc<Notify>,
    answers: Arc<Answers>,
}

/// What was recorded.
#[derive(Default)]
struct Answers(std::sync::Mutex<Vec<(u16, crate::reason::Reason)>>, std::sync::Mutex<Vec<String>>);

impl Recorder for Answers {
    fn record(&self, record: &RequestRecord<'_>) {
        assert_eq!((record.method, record.host, record.path, record.listener), ("", "", "", "http"));
        self.0.lock().unwrap().push((record.status, record.reason));
    }

    fn record_session(&self, session: &SessionRecord<'_>) {
        assert_eq!(session.client, session.peer, "nobody announces anybody");
        self.1.lock().unwrap().push(format!("{} {}", session.listener, session.reason));
    }
}

impl House {
    fn new(edge: Edge) -> Self {
        Self::with(snapshot(edge, &[], certificate("default.test")))
    }

    fn with(snapshot: Snapshot) -> Self {
        let app = App::default();
        let (arrived, release) = (app.arrived.clone(), app.release.clone());
        let proxy = http_proxy(&Arc::new(ServerConf::default()), app);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let answers = Arc::new(Answers::default());
        let listeners = Arc::new(Listeners::new(Arc::new(proxy), snapshot.clone(), 1, answers.clone()));
        Self { listeners, snapshot, arrived, release, answers }
    }

    fn plain(&self) -> SocketAddr {
        self.put(&spec(ListenerProtocol::Http, TlsSettings::default())).unwrap()
    }

    /// Starts or changes a listener that does not move, and gives its address.
    fn put(&self, wanted: &Listener) -> Result<SocketAddr, ListenError> {
        self.publish(&[Arc::new(wanted.clone())]);
        assert!(self.listeners.put(wanted)?.is_none(), "it moves");
        Ok(self.address(&wanted.id).unwrap())
    }

    fn publish(&self, listeners: &[Arc<Listener>]) {
        let Snapshot { generation, ref common, ref edge, .. } = **self.snapshot.load();
        let (common, edge) = (common.clone(), edge.clone());
        self.snapshot.store(Arc::new(Snapshot { generation, listeners: listeners.into(), common, edge }));
    }

    fn address(&self, id: &crate::listener::ListenerId) -> Option<SocketAddr> {
        self.listeners.bound().into_iter().find(|bound| bound.id == *id).map(|bound| bound.address)
    }

    /// The plain listener, started when it does not run yet.
    fn plain_once(&self) -> SocketAddr {
        self.listeners.bound().first().map_or_else(|| self.plain(), |bound| bound.address)
    }

    fn tls(&self, tls: TlsSettings) -> SocketAddr {
        self.put(&spec(ListenerProtocol::Https, tls)).unwrap()
    }

    fn counts(&self) -> ListenerCounts {
        self.listeners.metrics().snapshot().remove(0)
    }

    /// Waits until the counts are as they should be.
    async fn until(&self, reached: impl Fn(&ListenerCounts) -> bool) {
        while !reached(&self.counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn timeouts(&self, reason: crate::connection::TimedOut) -> u64 {
        self.counts().timeouts[reason as usize].1
    }
}

fn spec(protocol: ListenerProtocol, tls: TlsSettings) -> Listener {
    Listener {
        id: protocol.scheme().into(),
        origin: Origin::default(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        protocol,
        tls: Arc::new(tls),
        certificate: None,
        serves: Serves::Common,
    }
}

/// Deadlines that no test reaches unless it shortens one.
fn edge() -> Edge {
    let long = quantity::Duration(Duration::from_secs(60));
    let limits = Limits { keep_alive_timeout: long, connections: 1000, connections_per_source: 0, ..Limits::default() };
    Edge {
        settings: edge::Edge { limits, ..edge::Edge::default() },
        server_header: None,
        claims: Claims::known(),
        loop_id: HeaderValue::from_static("tidegate"),
    }
}

/// The same with other limits.
fn limited(change: impl FnOnce(&mut Limits)) -> Edge {
    let mut edge = edge();
    change(&mut edge.settings.limits);
    edge
}

fn snapshot(edge: Edge, hosts: &[(&str, &Arc<ServedCertificate>)], default: Arc<ServedCertificate>) -> Snapshot {
    let hosts = hosts.iter().map(|(host, served)| {
        let presented = Presented { served: Arc::clone(served), owner: Origin::default() };
        (HostPattern::parse(host).unwrap(), Some(Arc::from([presented])))
    });
    let certificates = Certificates { hosts: HostMap::default().with(hosts), default };
    Snapshot {
        generation: 1,
        listeners: Arc::default(),
        common: Arc::new(Served { router: Router::default(), default: None, certificates }),
        edge: Arc::new(edge),
    }
}

fn certificate(host: &str) -> Arc<ServedCertificate> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let key = ring::default_provider().key_provider.load_private_key(key).unwrap();
    Arc::new(ServedCertificate {
        name: host.into(),
        origin: Origin::default(),
        key: Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)),
        dns_names: vec![host.to_owned()].into(),
        not_after: i64::MAX,
    })
}

/// Sends a request on a kept connection and gives head and body of its answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    answer(stream).await
}

async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if Some(body.len()) == length {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "closed after {text:?}");
    }
}

/// What comes until the connection ends, however it ends.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut read = Vec::new();
    while matches!(stream.read_buf(&mut read).await, Ok(1..)) {}
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn a_plain_connection_is_served_request_after_request() {
    let house = House::new(edge());
    let mut client = Client::connect(house.plain()).await.unwrap();
    for _ in 0..3 {
        let answer = ask(&mut client, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("http Http1 None"), "{answer}");
    }
    let counts = house.counts();
    assert_eq!((counts.accepted, counts.active, counts.malformed), (1, 1, 0));
    drop(client);
    house.until(|counts| counts.active == 0).await;
    house.listeners.drain_state().idle().await;
    assert_eq!(house.counts().malformed, 0, "a kept connection may be closed by the client");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_listener_and_address() {
    let house = House::new(edge());
    let address = house.plain();
    let second = Listener { id: "second".into(), address, ..spec(ListenerProtocol::Http, TlsSettings::default()) };
    let error = house.put(&second).unwrap_err();
    assert_eq!(error.to_string(), format!("listener `second`: cannot listen on {address}"));
    let mut client = Client::connect(address).await.unwrap();
    assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200"), "the first listener goes on");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let house = House::new(limited(|it| it.connections = 1));
    let address = house.plain();
    let mut first = Client::connect(address).await.unwrap();
    ask(&mut first, GET).await;
    let mut second = Client::connect(address).await.unwrap();
    assert_eq!(rest(&mut second).await, "");
    assert_eq!(house.counts().refused, 1);
    drop(first);
    house.listeners.drain_state().idle().await;
    let mut third = Client::connect(address).await.unwrap();
    assert!(ask(&mut third, GET).await.starts_with("HTTP/1.1 200"), "there is room again");
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let house = House::new(edge());
    let address = house.plain();
    let mut other = Client::connect(address).await.unwrap();
    ask(&mut other, GET).await;
    let mut broken = Client::connect(address).await.unwrap();
    broken.write_all(b"GET /panic HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut broken).await, "");
    house.until(|counts| counts.panicked == 1 && counts.active == 1).await;
    assert!(ask(&mut other, GET).await.starts_with("HTTP/1.1 200"));
    assert_eq!(house.listeners.drain_state().open(), 1);
}

#[tokio::test]
async fn requests_that_the_engine_refuses_are_counted() {
    let house = House::new(edge());
    let mut client = Client::connect(house.plain()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nbad header : x\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 400"));
    house.until(|counts| counts.malformed == 1).await;
    assert_eq!(house.listeners.metrics().listener(&"http".into()).malformed.load(Ordering::Relaxed), 1);
}

/// What a connection holds from its first moment on: the state of its task, whatever it may come to later.
#[tokio::test]
async fn the_task_of_a_connection_is_small() {
    let house = House::new(edge());
    let front = Arc::new(Front {
        app: Arc::new(http_proxy(&Arc::new(ServerConf::default()), App::default())),
        id: "http".into(),
        now: Arc::new(ArcSwap::from_pointee(Now {
            protocol: ListenerProtocol::Http,
            serves: Serves::Common,
            tls: None,
        })),
        snapshot: house.snapshot.clone(),
        drain: Arc::default(),
        capacity: Arc::default(),
        metrics: Arc::new(ListenerMetrics::new("http".into())),
        memory: Arc::default(),
        sources: Arc::default(),
        recorder: house.answers.clone(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = Client::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = TcpStream::from(listener.accept().await.unwrap().0);
    let (_stop, watch) = tokio::sync::watch::channel(false);
    let task = front.process_new(Box::new(stream), &watch);
    let bytes = std::mem::size_of_val(&*task);
    let guarded = std::mem::size_of::<Guarded<BufferedStream<TcpStream>>>();
    assert!(bytes < 4096 && guarded < 2048, "{bytes} bytes, {guarded} of the stream");
}
