//! A small HTTP/1.1 server for pages about the process: telemetry and admin.
//!
//! It shares nothing with the data plane, so that it answers when that one is in trouble. Pages are made on the
//! blocking pool. Limits: [`MAX_CONNECTIONS`] at once (more wait to be accepted), [`HEADER_TIMEOUT`] for a head and
//! between requests, [`MAX_LIFE`] for a connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Makes pages.
pub trait Pages: Send + Sync + 'static {
    /// The page for a GET or HEAD request. May take its time.
    fn page(&self, request: &Request<()>) -> Page;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A bound server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    header_timeout: Duration,
}

/// Connections at once.
pub const MAX_CONNECTIONS: usize = 64;
/// For a request's head, and for waiting for the next one.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole connection.
pub const MAX_LIFE: Duration = Duration::from_secs(300);

/// For connections to end after the stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// After a failed accept, such as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

// === impl Page ===

impl Page {
    /// A page of one content type. It is neither cached nor sniffed.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { status, headers, body: body.into() }
    }

    /// A short text.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

// === impl Server ===

impl Server {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, header_timeout: HEADER_TIMEOUT })
    }

    /// The address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) fn with_header_timeout(self, header_timeout: Duration) -> Self {
        Self { header_timeout, ..self }
    }

    /// Serves until `shutdown` is done; then requests under way end, for five seconds at most.
    pub async fn serve(self, pages: Arc<dyn Pages>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let (stop, stopped) = watch::channel(());
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&self.listener, &slots) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            if let Some((stream, slot)) = stream {
                let (pages, stopped, header_timeout) = (Arc::clone(&pages), stopped.clone(), self.header_timeout);
                connections.spawn(async move {
                    connection(stream, pages, header_timeout, stopped).await;
                    drop(slot);
                });
            }
        }
        drop(self.listener);
        drop(stop);
        let ended = timeout(STOP_DEADLINE, async { while connections.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Accepts a connection when a slot is free: more connections wait in the kernel's queue. `None`: none came, and
/// after a pause another may.
pub(crate) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::debug!(%error, "connection not accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    pages: Arc<dyn Pages>,
    header_timeout: Duration,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(move |request| answer(Arc::clone(&pages), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = timeout(MAX_LIFE, async {
        tokio::select! {
            result = connection.as_mut() => return result,
            // The sender is dropped, never used.
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    });
    // Clients that go away, send nonsense or are too slow concern nobody.
    if let Ok(Err(error)) = served.await {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer(pages: Arc<dyn Pages>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = Page::text(StatusCode::METHOD_NOT_ALLOWED, "read-only\n").header(ALLOW, "GET, HEAD");
        return Ok(refused.into_response());
    }
    let (parts, _) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let page = spawn_blocking(move || pages.page(&request)).await;
    let failed = || Page::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    Ok(page.unwrap_or_else(|_| failed()).into_response())
}
