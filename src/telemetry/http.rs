//! A small HTTP/1.1 server for pages about the process: telemetry and admin.
//!
//! It shares nothing with the data plane, so that it answers when that one is in trouble. What is known at once is
//! answered at once, beside whoever waits for a page that takes long: those are made one after the other. Limits:
//! [`Places`] for connections (more take the places of those that wait longest), [`HEADER_TIMEOUT`] for a head and
//! between requests, [`WRITE_TIMEOUT`] for an answer to be taken, [`MAX_LIFE`] for a connection.

mod door;
mod making;
mod seats;
mod write_limit;

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
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use self::door::{Arrival, Door};
use self::making::Making;
pub(crate) use self::seats::{Mark, Seats};
pub(crate) use self::seats::{Places, SeatCounts};
pub(crate) use self::write_limit::WriteLimit;

/// Makes pages.
pub(crate) trait Pages: Send + Sync + 'static {
    /// How a GET or HEAD request is answered. Must not take its time: probes are answered here.
    fn way(&self, request: &Request<()>) -> Rendering;

    /// The page for a request that takes one. May take its time.
    fn page(&self, request: &Request<()>) -> Page;
}

/// Rendering of a page: at once, alone or shared by concurrent requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rendering {
    /// At once.
    Now(Page),
    /// By a page that is made for it, when it is its turn.
    Alone,
    /// By a page that all get who ask for one of this kind before it is begun.
    Shared,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A bound server.
#[derive(Debug)]
pub(crate) struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    limits: Limits,
    counts: Arc<SeatCounts>,
}

/// Limits and timeouts of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections.
    pub places: Places,
    /// For a request's head, and for waiting for the next one.
    pub header: Duration,
    /// For an answer to be taken.
    pub write: Duration,
}

/// Connections at once.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// For a request's head, and for waiting for the next one.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For an answer to be taken.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole connection.
pub(crate) const MAX_LIFE: Duration = Duration::from_secs(300);

/// For connections to end after the stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

// === impl Page ===

impl Page {
    /// A page of one content type. It is neither cached nor sniffed.
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { status, headers, body: body.into() }
    }

    /// A short text.
    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

// === impl Server ===

impl Default for Limits {
    fn default() -> Self {
        let places = Places { all: MAX_CONNECTIONS, of_source: MAX_CONNECTIONS };
        Self { places, header: HEADER_TIMEOUT, write: WRITE_TIMEOUT }
    }
}

impl Server {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, limits: Limits::default(), counts: Arc::default() })
    }

    /// The address that is bound.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// With other limits.
    #[must_use]
    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What is counted of it.
    pub(crate) fn counts(&self) -> Arc<SeatCounts> {
        Arc::clone(&self.counts)
    }

    /// Serves until `shutdown` is done; then requests under way end, for five seconds at most. The runtime that this
    /// is polled in need not be the one that it was bound in.
    pub(crate) async fn serve(self, pages: Arc<dyn Pages>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut door = match Door::new(self.listener) {
            Ok(door) => door,
            Err(error) => return tracing::error!(%error, address = %self.address, "server not started"),
        };
        let (stop, stopped) = watch::channel(());
        let making = Arc::new(Making::new(pages));
        let mut seats = Seats::new(self.limits.places, self.counts);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                arrival = door.accept() => match arrival {
                    Arrival::Stream(stream, peer) => seats.seat(peer.ip(), |mark| {
                        let client = Client { making: Arc::clone(&making), mark };
                        connection(stream, client, self.limits, stopped.clone())
                    }),
                    Arrival::Full => seats.close_for_descriptors(),
                    Arrival::Nobody => {}
                },
                () = seats.vacated() => {}
            }
        }
        drop(door);
        drop(stop);
        seats.end(STOP_DEADLINE).await;
    }
}

/// State of a client connection.
struct Client {
    making: Arc<Making>,
    mark: Arc<Mark>,
}

async fn connection(stream: TcpStream, client: Client, limits: Limits, mut stopped: watch::Receiver<()>) {
    let client = Arc::new(client);
    let service = service_fn(move |request| answer(Arc::clone(&client), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .serve_connection(TokioIo::new(WriteLimit::new(stream, limits.write)), service);
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

async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = Page::text(StatusCode::METHOD_NOT_ALLOWED, "read-only\n").header(ALLOW, "GET, HEAD");
        return Ok(refused.into_response());
    }
    let (parts, _) = request.into_parts();
    let page = client.making.page(Request::from_parts(parts, ()), &client.mark).await;
    client.mark.touch();
    Ok(page.into_response())
}
