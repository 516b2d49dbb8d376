use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::admission::certificate::Pair;

struct Fixed(Option<&'static str>);

impl Judge for Fixed {
    fn judge(&self, _: &review::Request) -> Verdict {
        Verdict { refusal: self.0.map(str::to_owned), warnings: Vec::new() }
    }
}

struct Fixture {
    address: SocketAddr,
    counts: Arc<Counts>,
    client: tokio_rustls::TlsConnector,
    _stop: watch::Sender<bool>,
}

impl Fixture {
    async fn start(refusal: Option<&'static str>) -> Self {
        Self::with(Arc::new(Fixed(refusal)), MAX_REVIEWS).await
    }

    async fn with(judge: Arc<dyn Judge>, max_reviews: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pair = Pair::make(&["hook.edge.svc".to_owned()], SystemTime::now()).unwrap();
        let current = Arc::new(Current::default());
        current.set(&pair).unwrap();
        let counts = Arc::new(Counts::default());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), current, judge, counts.clone()).await.unwrap();
        let server = Server { max_reviews, ..server };
        let address = server.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(server.serve(stopped));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pair.authorities).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address, counts, client: Arc::new(config).into(), _stop }
    }

    /// What is answered to these bytes, up to the end of the connection.
    async fn ask(&self, request: &[u8]) -> String {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = self.client.connect("hook.edge.svc".try_into().unwrap(), stream).await.unwrap();
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
    fn judge(&self, _: &review::Request) -> Verdict {
        self.begun.send(()).unwrap();
        let _ = self.go.lock().unwrap().recv_timeout(Duration::from_secs(30));
        Verdict::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_reviews_than_are_done_at_once_are_turned_away() {
    let ((begun, has_begun), (go, wait)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let judge = Slow { begun, go: std::sync::Mutex::new(wait) };
    let fixture = Arc::new(Fixture::with(Arc::new(judge), 1).await);
    let first = fixture.clone();
    let first = tokio::spawn(async move { first.post(REVIEW).await });
    tokio::task::spawn_blocking(move || has_begun.recv_timeout(Duration::from_secs(30)).unwrap()).await.unwrap();
    let answer = fixture.post(REVIEW).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    go.send(()).unwrap();
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
}
