use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::admission::certificate::Pair;

struct Fixed(Option<&'static str>);

impl Judge for Fixed {
    fn judge(&self, _: &review::Request) -> Option<Verdict> {
        Some(Verdict { refusal: self.0.map(str::to_owned), warnings: Vec::new() })
    }
}

struct Fixture {
    address: SocketAddr,
    counts: Arc<Counts>,
    client: tokio_rustls::TlsConnector,
    stop: watch::Sender<bool>,
}

impl Fixture {
    async fn start(refusal: Option<&'static str>) -> Self {
        Self::with(Arc::new(Fixed(refusal)), MAX_REVIEWS).await
    }

    async fn with(judge: Arc<dyn Judge>, reviews: usize) -> Self {
        Self::limited(judge, Limits { reviews, ..Limits::default() }).await
    }

    async fn limited(judge: Arc<dyn Judge>, limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pair = Pair::make(&["hook.edge.svc".to_owned()], SystemTime::now()).unwrap();
        let current = Arc::new(Current::default());
        current.set(&pair).unwrap();
        let counts = Arc::new(Counts::default());
        let trust = Trust { certificate: current, clients: None };
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), &trust, judge, counts.clone()).unwrap();
        let server = server.with_limits(limits);
        let address = server.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.serve(stopped));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pair.authorities).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address, counts, client: Arc::new(config).into(), stop }
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.client.connect("hook.edge.svc".try_into().unwrap(), stream).await.unwrap()
    }

    /// What is answered to these bytes, up to the end of the connection.
    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has seen enough may close before it has read all.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.expect("an answer");
        String::from_utf8(answer).unwrap()
    }

    async fn post(&self, body: &str) -> String {
        let head = "POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length:";
        self.ask(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await
    }
}

const REVIEW: &str =
    r#"{ "request": { "uid": "7", "operation": "CREATE", "kind": { "kind": "Ingress" }, "object": {} } }"#;

#[tokio::test]
async fn reviews_are_answered_over_tls() {
    let fixture = Fixture::start(None).await;
    let answer = fixture.post(REVIEW).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""allowed":true"#), "{answer}");
    assert!(answer.contains(r#""uid":"7""#), "{answer}");
    let fixture = Fixture::start(Some("why")).await;
    let answer = fixture.post(REVIEW).await;
    assert!(answer.contains(r#""allowed":false"#) && answer.contains("tidegate: why"), "{answer}");
    assert_eq!(fixture.counts.refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_no_review_gets_no_verdict() {
    let fixture = Fixture::start(None).await;
    let close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (request, status) in [(format!("GET /validate {close}"), 405), (format!("GET / {close}"), 404)] {
        let answer = fixture.ask(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    for body in ["", "{", "{}", "[]", r#"{ "request": 7 }"#] {
        let answer = fixture.post(body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
    }
    assert_eq!(fixture.counts.failed.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let fixture = Fixture::start(None).await;
    let head =
        format!("POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
    let mut request = head.into_bytes();
    request.resize(request.len() + MAX_BODY + 1, b' ');
    let answer = fixture.ask(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Says that it has begun and waits until it is let go.
struct Slow {
    begun: std::sync::mpsc::Sender<()>,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Judge for Slow {
    fn judge(&self, _: &review::Request) -> Option<Verdict> {
        self.begun.send(()).unwrap();
        let _ = self.go.lock().unwrap().recv_timeout(Duration::from_secs(30));
        Some(Verdict::default())
    }
}

impl Slow {
    /// With what tells that reviews have begun, and what lets them go.
    fn new() -> (Self, Begun, std::sync::mpsc::Sender<()>) {
        let ((begun, has_begun), (go, wait)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        (Self { begun, go: std::sync::Mutex::new(wait) }, Begun(has_begun), go)
    }
}

struct Begun(std::sync::mpsc::Receiver<()>);

impl Begun {
    async fn wait(self) -> Self {
        let waited = tokio::task::spawn_blocking(move || (self.0.recv_timeout(Duration::from_secs(30)), self));
        let (result, begun) = waited.await.unwrap();
        result.expect("a review begins");
        begun
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_reviews_than_are_done_at_once_are_turned_away() {
    let (judge, begun, go) = Slow::new();
    let fixture = Arc::new(Fixture::with(Arc::new(judge), 1).await);
    let first = fixture.clone();
    let first = tokio::spawn(async move { first.post(REVIEW).await });
    begun.wait().await;
    let answer = fixture.post(REVIEW).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    go.send(()).unwrap();
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_does_not_make_room_for_more_reviews_than_are_done() {
    let (judge, begun, go) = Slow::new();
    let fixture = Fixture::with(Arc::new(judge), 1).await;
    let mut leaves = fixture.connect().await;
    let head = format!("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", REVIEW.len());
    leaves.write_all(format!("{head}{REVIEW}").as_bytes()).await.unwrap();
    begun.wait().await;
    drop(leaves);
    for _ in 0..20 {
        let answer = fixture.post(REVIEW).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    go.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_under_way_ends_when_the_server_stops() {
    let (judge, begun, go) = Slow::new();
    let fixture = Arc::new(Fixture::with(Arc::new(judge), 1).await);
    let mut idle = fixture.connect().await;
    let asking = fixture.clone();
    let under_way = tokio::spawn(async move { asking.post(REVIEW).await });
    begun.wait().await;
    fixture.stop.send_replace(true);
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(30), idle.read_to_end(&mut rest)).await.expect("an idle one is closed");
    go.send(()).unwrap();
    let answer = under_way.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_connection_does_not_stay_for_good() {
    let limits = Limits { life: Duration::from_millis(1), ..Limits::default() };
    let fixture = Fixture::limited(Arc::new(Fixed(None)), limits).await;
    let begun = std::time::Instant::now();
    let mut idle = fixture.connect().await;
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(30), idle.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(begun.elapsed() < HEADER_TIMEOUT, "not only because it is idle");
}

struct Unloaded;

impl Judge for Unloaded {
    fn judge(&self, _: &review::Request) -> Option<Verdict> {
        None
    }
}

#[tokio::test]
async fn before_anything_is_loaded_there_is_no_verdict() {
    let fixture = Fixture::with(Arc::new(Unloaded), 1).await;
    let answer = fixture.post(REVIEW).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_from_a_review() {
    let fixture = Fixture::with(Arc::new(Fixed(None)), 1).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut slow = fixture.connect().await;
        slow.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
        held.push(slow);
    }
    for _ in 0..5 {
        assert!(fixture.post(REVIEW).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn silent_connections_give_their_places_to_those_who_come() {
    let places = Places { all: 4, of_source: 4 };
    let fixture = Fixture::limited(Arc::new(Fixed(None)), Limits { places, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(TcpStream::connect(fixture.address).await.unwrap());
        assert!(fixture.post(REVIEW).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_handshake_and_a_body_that_are_too_slow_end() {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let fixture = Fixture::limited(Arc::new(Fixed(None)), limits).await;
    let mut silent = TcpStream::connect(fixture.address).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(9), silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the handshake has a limit of its own");
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{";
    let answer = fixture.ask(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn large_bodies_are_few_at_once_and_small_ones_pass() {
    let fixture = Fixture::start(None).await;
    let size = SMALL_BODY * 2;
    let head = format!("POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..MAX_LARGE {
        let mut slow = fixture.connect().await;
        slow.write_all(head.as_bytes()).await.unwrap();
        slow.write_all(&vec![b' '; size - 1]).await.unwrap();
        slow.flush().await.unwrap();
        held.push(slow);
    }
    // They are large once they were read so far; who asks before that takes a place and gives it back.
    let refused = async {
        let body = vec![b' '; size];
        while !fixture.ask(&[head.as_bytes(), &body].concat()).await.starts_with("HTTP/1.1 503") {}
    };
    timeout(Duration::from_secs(30), refused).await.expect("one more is refused");
    assert!(fixture.post(REVIEW).await.starts_with("HTTP/1.1 200"));
}

/// A client that must show a certificate: with one of the right authority, of another one, and with none.
#[tokio::test]
async fn a_client_without_the_authoritys_certificate_is_refused_and_authorities_change_live() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = || client_pair();
    let (server_pair, ours, others) =
        (Pair::make(&["hook.edge.svc".to_owned()], SystemTime::now()).unwrap(), made(), made());
    let current = Arc::new(Current::default());
    current.set(&server_pair).unwrap();
    let clients = Arc::new(Clients::default());
    let trust = Trust { certificate: current, clients: Some(clients.clone()) };
    let judge = Arc::new(Fixed(None));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &trust, judge, Arc::default()).unwrap();
    let address = server.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(server.serve(stopped));
    let connector = |pair: Option<&Pair>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&server_pair.authorities).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match pair {
            Some(pair) => {
                let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(&pair.key).unwrap();
                config.with_client_auth_cert(vec![CertificateDer::from_pem_slice(&pair.chain).unwrap()], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        tokio_rustls::TlsConnector::from(Arc::new(config))
    };
    let is_answered = async |connector: &tokio_rustls::TlsConnector| {
        let stream = TcpStream::connect(address).await.unwrap();
        let Ok(mut stream) = connector.connect("hook.edge.svc".try_into().unwrap(), stream).await else { return false };
        let head = "POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length:";
        let _ = stream.write_all(format!("{head} {}\r\n\r\n{REVIEW}", REVIEW.len()).as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer.starts_with(b"HTTP/1.1 200")
    };
    let (known, foreign, nobody) = (connector(Some(&ours)), connector(Some(&others)), connector(None));
    assert!(!is_answered(&known).await, "before there are authorities");
    clients.set(&ours.authorities).unwrap();
    for (connector, expected) in [(&known, true), (&foreign, false), (&nobody, false)] {
        assert_eq!(is_answered(connector).await, expected);
    }
    assert!(clients.set(b"rubbish").is_err() && clients.set(b"").is_err());
    assert!(is_answered(&known).await, "the old ones stay");
    clients.set(&others.authorities).unwrap();
    for (connector, expected) in [(&known, false), (&foreign, true)] {
        assert_eq!(is_answered(connector).await, expected, "also where the client would take its session up again");
    }
}

/// An authority, and a client certificate of it.
fn client_pair() -> Pair {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let trusted = authority.self_signed(&authority_key).unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec!["api".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = leaf.signed_by(&key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
    Pair {
        chain: signed.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        authorities: trusted.pem().into_bytes(),
    }
}
