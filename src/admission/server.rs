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
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::Current;
use super::review::{self, Verdict};
use crate::telemetry::http::accept;

/// Makes verdicts.
pub trait Judge: Send + Sync + 'static {
    /// The verdict on a request; `None`: nothing is loaded yet that it could be held against.
    fn judge(&self, request: &review::Request) -> Option<Verdict>;
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
    max_life: Duration,
}

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// Reviews at once; more are answered 503, and the configuration's `failurePolicy` decides.
const MAX_REVIEWS: usize = 32;
/// An API server takes objects of 3 MiB, and an update has two of them.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// For a handshake, a head and a body each.
const PATIENCE: Duration = Duration::from_secs(10);
/// After which a connection takes no more requests: one that asks and never reads would stay for good.
const MAX_LIFE: Duration = Duration::from_secs(300);
/// For what is under way when a connection or the server ends.
const LAST_REVIEW: Duration = Duration::from_secs(5);

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
        Ok(Self {
            listener,
            acceptor: Arc::new(config).into(),
            judge,
            counts,
            max_reviews: MAX_REVIEWS,
            max_life: MAX_LIFE,
        })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// The system does not know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true or its sender is gone; then reviews under way end.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let reviews = Arc::new(Semaphore::new(self.max_reviews));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &slots) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some((stream, slot)) = accepted else { continue };
            let desk = Desk { judge: self.judge.clone(), counts: self.counts.clone(), reviews: reviews.clone() };
            let (acceptor, stop, max_life) = (self.acceptor.clone(), stop.clone(), self.max_life);
            connections.spawn(async move {
                connection(stream, acceptor, desk, max_life, stop).await;
                drop(slot);
            });
        }
        drop(self.listener);
        // Each ends by itself in this time; what does not is cut with the set.
        let _ = timeout(LAST_REVIEW, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    desk: Desk,
    max_life: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = until_over(max_life, &mut stop) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_REVIEW, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection of the webhook ended");
    }
}

async fn until_over(max_life: Duration, stop: &mut watch::Receiver<bool>) {
    // An error is the end of the process, too.
    let _ = timeout(max_life, stop.wait_for(|stop| *stop)).await;
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
        let Ok(turn) = self.reviews.clone().try_acquire_owned() else {
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
        // The turn goes with the work, which goes on when the client has left.
        let judged = spawn_blocking(move || {
            let _turn = turn;
            let review: Review = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let Some(verdict) = judge.judge(&review.request) else { return Ok(None) };
            Ok::<_, String>(Some((verdict.to_json(&review.request.uid), verdict.refusal.is_none())))
        });
        match judged.await {
            Ok(Ok(Some((answer, is_allowed)))) => {
                let count = if is_allowed { &self.counts.allowed } else { &self.counts.refused };
                count.fetch_add(1, Ordering::Relaxed);
                Ok(response(StatusCode::OK, "application/json", answer.to_string()))
            }
            Ok(Ok(None)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "nothing is loaded yet"),
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
