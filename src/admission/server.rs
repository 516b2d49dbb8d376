//! The webhook's HTTPS server: `POST /validate` with an AdmissionReview. Everything that it waits for has a limit.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
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
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::Current;
use super::review::{self, Verdict};

/// Makes verdicts.
pub trait Judge: Send + Sync + 'static {
    /// The verdict on a request.
    fn judge(&self, request: &review::Request) -> Verdict;
}

/// What was answered, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Objects that were let through.
    pub allowed: AtomicU64,
    /// Objects that were refused.
    pub refused: AtomicU64,
    /// Requests that got no verdict.
    pub failed: AtomicU64,
}

/// A bound server.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    judge: Arc<dyn Judge>,
    counts: Arc<Counts>,
    max_reviews: usize,
}

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// Reviews at once; more are answered 503, and the configuration's `failurePolicy` decides.
const MAX_REVIEWS: usize = 32;
/// An API server takes objects of 3 MiB, and an update has two of them.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// For a handshake, a head and a body each.
const PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Review {
    request: review::Request,
}

// === impl Server ===

impl Server {
    /// Binds the address; handshakes fail until there is a certificate.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        certificate: Arc<Current>,
        judge: Arc<dyn Judge>,
        counts: Arc<Counts>,
    ) -> std::io::Result<Self> {
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, acceptor: Arc::new(config).into(), judge, counts, max_reviews: MAX_REVIEWS })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true or its sender is gone.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let reviews = Arc::new(Semaphore::new(self.max_reviews));
        loop {
            let Ok(slot) = connections.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let desk = Desk { judge: self.judge.clone(), counts: self.counts.clone(), reviews: reviews.clone() };
            let (acceptor, mut stop) = (self.acceptor.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = connection(stream, acceptor, desk) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                drop(slot);
            });
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, desk: Desk) {
    let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection of the webhook ended");
    }
}

/// What answers need.
#[derive(Clone)]
struct Desk {
    judge: Arc<dyn Judge>,
    counts: Arc<Counts>,
    reviews: Arc<Semaphore>,
}

// === impl Desk ===

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.review(request).await {
            Ok(answer) => answer,
            Err((status, text)) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                response(status, "text/plain; charset=utf-8", format!("{text}\n"))
            }
        }
    }

    async fn review(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
        let refuse = |status, text: &str| Err((status, text.to_owned()));
        if request.uri().path() != "/validate" {
            return refuse(StatusCode::NOT_FOUND, "not found: /validate");
        }
        if request.method() != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
        }
        let Ok(_turn) = self.reviews.try_acquire() else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many reviews at once");
        };
        let body = match timeout(PATIENCE, Limited::new(request.into_body(), MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the review is too large");
            }
            Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body is too slow"),
        };
        let judge = self.judge.clone();
        // Translation is quick, but the runtime's threads are not for work without a pause.
        let judged = spawn_blocking(move || {
            let review: Review = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let verdict = judge.judge(&review.request);
            Ok::<_, String>((verdict.to_json(&review.request.uid), verdict.refusal.is_none()))
        });
        match judged.await {
            Ok(Ok((answer, is_allowed))) => {
                let count = if is_allowed { &self.counts.allowed } else { &self.counts.refused };
                count.fetch_add(1, Ordering::Relaxed);
                Ok(response(StatusCode::OK, "application/json", answer.to_string()))
            }
            Ok(Err(error)) => refuse(StatusCode::BAD_REQUEST, &format!("not an AdmissionReview: {error}")),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "no verdict"),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
