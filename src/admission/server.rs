//! The webhook's HTTPS server: `POST /validate` with an AdmissionReview. Everything that it waits for has a limit.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::{Clients, Current};
use super::review::{self, Verdict};
use crate::telemetry::http::{Arrival, Door, Mark, Places, SeatCounts, Seats, WriteLimit};
use crate::telemetry::metrics::{Emit, Sample, family};

/// Makes verdicts.
pub(crate) trait Judge: Send + Sync + 'static {
    /// The verdict on a request; `None`: nothing is loaded yet that it could be held against.
    fn judge(&self, request: &review::Request) -> Option<Verdict>;
}

/// Counters of reviews by result.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Objects that were let through.
    pub allowed: AtomicU64,
    /// Objects that were refused.
    pub refused: AtomicU64,
    /// Requests that got no verdict.
    pub failed: AtomicU64,
}

/// A bound server.
pub(crate) struct Server {
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    judge: Arc<dyn Judge>,
    counts: Arc<Counts>,
    limits: Limits,
    seats: Arc<SeatCounts>,
}

/// TLS settings: the certificate, and the verifier of client certificates.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// The certificate that is served.
    pub certificate: Arc<Current>,
    /// Whose certificate clients must have; `None`: nobody's.
    pub clients: Option<Arc<Clients>>,
}

/// Limits and timeouts of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections; more take the places of those that wait longest.
    pub places: Places,
    /// Reviews that are judged at once.
    pub reviews: usize,
    /// For a handshake, and for a body.
    pub patience: Duration,
    /// After which a connection takes no more requests.
    pub life: Duration,
}

/// Connections at once.
pub(crate) const MAX_CONNECTIONS: usize = 128;
/// Reviews at once; more are answered 503, and the configuration's `failurePolicy` decides.
const MAX_REVIEWS: usize = 32;
/// An API server takes objects of 3 MiB, and an update has two of them.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Bodies up to this are read whoever else sends some,
const SMALL_BODY: usize = 256 * 1024;
/// and so many larger ones at once.
const MAX_LARGE: usize = 8;
/// For a handshake, and for a body: who asks waits for 5 s in all, as we are shipped.
const PATIENCE: Duration = Duration::from_secs(2);
/// For a head, and for waiting for the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For an answer to be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// After which a connection takes no more requests: one that asks and never reads would stay for good.
const MAX_LIFE: Duration = Duration::from_secs(300);
/// For what is under way when a connection or the server ends.
const LAST_REVIEW: Duration = Duration::from_secs(5);

// === impl Counts ===

impl Counts {
    /// Tells the metrics.
    pub(crate) fn observe(&self, emit: Emit<'_>) {
        for (result, count) in [("allowed", &self.allowed), ("refused", &self.refused), ("failed", &self.failed)] {
            let value = count.load(Ordering::Relaxed) as f64;
            emit(Sample { family: &family::ADMISSION_REVIEWS, labels: &[result], value });
        }
    }
}

// === impl Limits, Server ===

impl Default for Limits {
    /// An API server asks from one address, or through one.
    fn default() -> Self {
        let places = Places { all: MAX_CONNECTIONS, of_source: MAX_CONNECTIONS / 2 };
        Self { places, reviews: MAX_REVIEWS, patience: PATIENCE, life: MAX_LIFE }
    }
}

impl Server {
    /// Binds the address; handshakes fail until there is a certificate.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn bind(
        address: SocketAddr,
        trust: &Trust,
        judge: Arc<dyn Judge>,
        counts: Arc<Counts>,
    ) -> std::io::Result<Self> {
        let config = rustls::ServerConfig::builder();
        let config = match &trust.clients {
            Some(clients) => config.with_client_cert_verifier(clients.clone()),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(trust.certificate.clone());
        if trust.clients.is_some() {
            // A session that is taken up again is not verified again, and authorities may have changed.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let listener = std::net::TcpListener::bind(address)?;
        let acceptor = Arc::new(config).into();
        Ok(Self { listener, acceptor, judge, counts, limits: Limits::default(), seats: Arc::default() })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// The system does not know it.
    pub(crate) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// With other limits.
    #[must_use]
    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What is counted of its connections.
    pub(crate) fn seats(&self) -> Arc<SeatCounts> {
        Arc::clone(&self.seats)
    }

    /// Serves until `stop` turns true or its sender is gone; then reviews under way end.
    pub(crate) async fn serve(self, mut stop: watch::Receiver<bool>) {
        let mut door = match Door::new(self.listener) {
            Ok(door) => door,
            Err(error) => return tracing::error!(%error, "admission webhook not started"),
        };
        let desk = Desk {
            judge: self.judge,
            counts: self.counts,
            reviews: Arc::new(Semaphore::new(self.limits.reviews)),
            large: Arc::new(Semaphore::new(MAX_LARGE)),
            patience: self.limits.patience,
        };
        let mut seats = Seats::new(self.limits.places, self.seats);
        let stopped = stop.clone();
        loop {
            tokio::select! {
                arrival = door.accept() => match arrival {
                    Arrival::Stream(stream, peer) => seats.seat(peer.ip(), |mark| {
                        connection(stream, self.acceptor.clone(), desk.clone(), mark, self.limits, stopped.clone())
                    }),
                    Arrival::Full => seats.close_for_descriptors(),
                    Arrival::Nobody => {}
                },
                () = seats.vacated() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        drop(door);
        // Each ends by itself in this time.
        seats.end(LAST_REVIEW).await;
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    desk: Desk,
    mark: Arc<Mark>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let Ok(Ok(stream)) = timeout(limits.patience, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let (desk, mark) = (desk.clone(), mark.clone());
        async move { Ok::<_, Infallible>(desk.answer(request, &mark).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let stream = TokioIo::new(WriteLimit::new(stream, WRITE_TIMEOUT));
    let mut connection = pin!(server.serve_connection(stream, service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = until_over(limits.life, &mut stop) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_REVIEW, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "webhook connection ended");
    }
}

async fn until_over(max_life: Duration, stop: &mut watch::Receiver<bool>) {
    // An error is the end of the process, too.
    let _ = timeout(max_life, stop.wait_for(|stop| *stop)).await;
}

/// Shared state of request handlers.
#[derive(Clone)]
struct Desk {
    judge: Arc<dyn Judge>,
    counts: Arc<Counts>,
    reviews: Arc<Semaphore>,
    large: Arc<Semaphore>,
    patience: Duration,
}

/// Why there is no verdict.
type Refused = (StatusCode, String);

/// A body, and the right to keep a large one.
type Body = (Vec<u8>, Option<OwnedSemaphorePermit>);

fn refused<T>(status: StatusCode, text: &str) -> Result<T, Refused> {
    Err((status, text.to_owned()))
}

// === impl Desk ===

impl Desk {
    async fn answer(&self, request: Request<Incoming>, mark: &Arc<Mark>) -> Response<Full<Bytes>> {
        let answer = self.review(request, mark).await;
        mark.touch();
        answer.unwrap_or_else(|(status, text)| {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            response(status, "text/plain; charset=utf-8", format!("{text}\n"))
        })
    }

    async fn review(&self, request: Request<Incoming>, mark: &Arc<Mark>) -> Result<Response<Full<Bytes>>, Refused> {
        if request.uri().path() != "/validate" {
            return refused(StatusCode::NOT_FOUND, "not found: /validate");
        }
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
        }
        let Ok(body) = timeout(self.patience, self.body(request.into_body())).await else {
            return refused(StatusCode::REQUEST_TIMEOUT, "the body is too slow");
        };
        let body = body?;
        // Only now: whoever sends slowly keeps nobody from a turn.
        let Ok(turn) = self.reviews.clone().try_acquire_owned() else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "too many reviews at once");
        };
        let _working = mark.work();
        let judge = self.judge.clone();
        // Translation is quick, but the runtime's threads are not for work without a pause.
        // The turn goes with the work, which goes on when the client has left.
        let judged = spawn_blocking(move || {
            let (_turn, (body, _large)) = (turn, body);
            let request = review::Request::read(&body).map_err(|error| error.to_string())?;
            let Some(verdict) = judge.judge(&request) else { return Ok(None) };
            Ok::<_, String>(Some((verdict.to_json(&request.uid), verdict.refusal.is_none())))
        });
        match judged.await {
            Ok(Ok(Some((answer, is_allowed)))) => {
                let count = if is_allowed { &self.counts.allowed } else { &self.counts.refused };
                count.fetch_add(1, Ordering::Relaxed);
                Ok(response(StatusCode::OK, "application/json", answer.to_string()))
            }
            Ok(Ok(None)) => refused(StatusCode::SERVICE_UNAVAILABLE, "nothing is loaded yet"),
            Ok(Err(error)) => refused(StatusCode::BAD_REQUEST, &format!("not an AdmissionReview: {error}")),
            Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "no verdict"),
        }
    }

    /// Reads a body. Large ones are few at once, so that their bytes are bounded.
    async fn body(&self, body: Incoming) -> Result<Body, Refused> {
        let mut body = Limited::new(body, MAX_BODY);
        let (mut bytes, mut large) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map(|data| &**data).unwrap_or_default()),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    return refused(StatusCode::PAYLOAD_TOO_LARGE, "the review is too large");
                }
                Err(_) => return refused(StatusCode::BAD_REQUEST, "the body broke off"),
            }
            if bytes.len() > SMALL_BODY && large.is_none() {
                let Ok(permit) = self.large.clone().try_acquire_owned() else {
                    return refused(StatusCode::SERVICE_UNAVAILABLE, "too many large reviews at once");
                };
                large = Some(permit);
            }
        }
        Ok((bytes, large))
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
