//! A connection from its first moment on, in visible steps: let in → announce → hello → decide → shake → guard → serve.
//!
//! Each step that reads or decides is a file; what comes out is a stream with its facts
//! ([`crate::connection::ConnectionInfo`]), handed to the engine. It must not know requests or routes.

mod announce;
mod decide;
mod hello;
mod shake;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::HeaderValue;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{ALPN, IO, Stream};
use pingora::server::ShutdownWatch;
use tidegate_plugin::TlsFacts;

use self::decide::{Course, Start};
use self::hello::Hello;
use super::buffered::BufferedStream;
use super::deadline::Waits;
use super::drain::Drain;
use super::early::Early;
use super::failure::HandshakeFailure;
use super::guarded::Guarded;
use super::head::HeadBytes;
use super::metrics::{Counted, ListenerMetrics, add_one};
use super::serve;
use super::sources::{self, Sources};
use super::tls::TlsListener;
use crate::capacity::Capacity;
use crate::connection::{Announced, ConnectionInfo, Protocol};
use crate::listener::{ListenerId, ListenerProtocol, Serves};
use crate::pressure::{LetIn, Memory};
use crate::snapshot::Snapshot;
use crate::telemetry::record::{Recorder, SessionRecord};

/// A stream as it was accepted.
type Plain = BufferedStream<TcpStream>;

/// Serves the connections of one listener with an app.
pub(super) struct Front<A> {
    pub(super) app: Arc<A>,
    pub(super) id: ListenerId,
    /// What the listener is at the moment; a connection keeps what it was when it was accepted.
    pub(super) now: Arc<ArcSwap<Now>>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) drain: Arc<Drain>,
    pub(super) capacity: Arc<Capacity>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) memory: Arc<Memory>,
    pub(super) sources: Arc<Sources>,
    pub(super) recorder: Arc<dyn Recorder>,
}

/// What of a listener may change while its socket stays.
pub(super) struct Now {
    /// What is spoken; over TLS the handshake says it.
    pub(super) protocol: ListenerProtocol,
    pub(super) serves: Serves,
    /// What handshakes need, where TLS is spoken.
    pub(super) tls: Option<TlsListener>,
}

/// What is known of a connection before a byte of it is read.
struct Arrival {
    announced: Announced,
    accepted_at: Instant,
    protocol: ListenerProtocol,
    serves: Serves,
    waits: Waits,
    server: Option<HeaderValue>,
    /// Requests on one connection.
    max_requests: Option<u32>,
}

/// Counts a panic of the task that serves a connection, which ends that connection only.
struct PanicCounter<'m>(&'m ListenerMetrics);

// === impl Front ===

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Front<A> {
    /// Serves one connection to its end. The signal of the listener is not passed on: connections outlive their
    /// listener and end with the drain.
    async fn process_new(self: &Arc<Self>, stream: Stream, _listener: &ShutdownWatch) -> Option<Stream> {
        let accepted_at = Instant::now();
        let _panics = PanicCounter(&self.metrics);
        let snapshot = self.snapshot.load_full();
        add_one(&self.metrics.accepted);
        let max = self.capacity.max_connections(snapshot.edge.capacity());
        let Some(_open) = self.drain.enter(max) else {
            add_one(&self.metrics.refused);
            return None;
        };
        let _connected = self.capacity.connected();
        let stream = stream.into_any().downcast::<TcpStream>().ok()?;
        let now = self.now.load_full();
        // In a box: it is handed on from step to step, each of which would have room for it.
        let arrival = Box::new(arrival(&stream, &snapshot, &now, accepted_at));
        let (_counted, _let_in) = self.let_in(&arrival, &snapshot)?;
        // An open connection must not hold on to the snapshot it began with.
        drop(snapshot);
        self.drain.unless_cut(self.accepted(*stream, now, arrival)).await;
        None
    }

    // `cleanup` is not forwarded: Pingora calls it when one listener ends, and the app would end for all of them.
}

impl<A: HttpServerApp + Send + Sync + 'static> Front<A> {
    /// Counts the connection to its source, and lets it in while there is memory for it.
    fn let_in(&self, arrival: &Arrival, snapshot: &Snapshot) -> Option<(sources::Counted, LetIn)> {
        let (address, edge) = (arrival.announced.socket_peer.ip(), &snapshot.edge);
        // A trusted proxy stands for many clients.
        let max = edge.limits.source_connections().filter(|_| !edge.trusts(address));
        let Some(counted) = self.sources.enter(address, max) else {
            add_one(&self.metrics.refused_source);
            return None;
        };
        let Some(let_in) = self.memory.let_in() else {
            add_one(&self.metrics.refused_memory);
            return None;
        };
        Some((counted, let_in))
    }

    async fn accepted(&self, stream: TcpStream, now: Arc<Now>, arrival: Box<Arrival>) {
        let stream = BufferedStream::new(stream);
        match decide::start(&now) {
            Start::Plain => self.serve(self.guard(stream, *arrival, None)).await,
            // In a box: what TLS comes to is not held by those without.
            Start::Hello(tls) => Box::pin(self.greeted(stream, tls, arrival)).await,
        }
    }

    async fn greeted(&self, mut stream: Plain, tls: &TlsListener, arrival: Box<Arrival>) {
        match self.shaking(hello::read(&mut stream, tls.handshake_timeout)).await {
            Some(Ok(hello)) => match decide::course(tls, hello) {
                Course::Terminate(tls, hello) => Box::pin(self.terminate(stream, tls, hello, arrival)).await,
            },
            Some(Err(failure)) => self.not_shaken(failure, &arrival),
            None => {}
        }
    }

    async fn terminate(&self, stream: Plain, tls: &TlsListener, hello: Hello, arrival: Box<Arrival>) {
        match self.shaking(shake::shake(stream, tls, hello)).await {
            Some(Ok((stream, facts))) => self.serve(self.guard(*stream, *arrival, Some(facts))).await,
            Some(Err(failure)) => self.not_shaken(failure, &arrival),
            None => {}
        }
    }

    /// A part of the handshake; `None`: everything stops.
    async fn shaking<T>(&self, part: impl Future<Output = T>) -> Option<T> {
        let _handshaking = Counted::in_gauge(&self.metrics.handshaking);
        tokio::select! {
            shaken = part => Some(shaken),
            () = self.drain.begun() => None,
        }
    }

    fn not_shaken(&self, failure: HandshakeFailure, arrival: &Arrival) {
        self.metrics.count_handshake_failure(failure);
        self.recorder.record_session(&SessionRecord {
            duration: arrival.accepted_at.elapsed(),
            client: arrival.announced.peer,
            peer: arrival.announced.socket_peer,
            listener: self.id.as_str(),
            reason: failure.as_str(),
        });
    }

    // Not an `async fn`: the stream would be held several times over by one's state.
    fn guard<S: IO + 'static>(&self, stream: S, arrival: Arrival, tls: Option<TlsFacts>) -> Option<Box<Guarded<S>>> {
        let protocol = match (arrival.protocol, stream.selected_alpn_proto()) {
            (ListenerProtocol::H2c, _) | (_, Some(ALPN::H2)) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let is_telling = arrival.protocol == ListenerProtocol::Http;
        let Arrival { announced, accepted_at, serves, waits, server, max_requests, .. } = arrival;
        let name = self.id.name().clone();
        let mut info = ConnectionInfo::new(name, serves, announced, accepted_at, tls, protocol);
        if let Some(limit) = max_requests {
            info = info.with_max_requests(limit);
        }
        let early = Early::new(self.recorder.clone(), server);
        let guarded = Guarded::new(stream, Arc::new(info), self.metrics.clone(), waits, early).ok()?;
        Some(Box::new(guarded.telling_protocol(is_telling)))
    }

    async fn serve<S: IO + 'static>(&self, guarded: Option<Box<Guarded<S>>>) {
        let _active = Counted::in_gauge(&self.metrics.active);
        if let Some(guarded) = guarded {
            serve::connection(&self.app, &self.drain, guarded).await;
        }
    }
}

fn arrival(stream: &TcpStream, snapshot: &Snapshot, now: &Now, accepted_at: Instant) -> Arrival {
    let edge = &snapshot.edge;
    Arrival {
        announced: announce::by_socket(stream),
        accepted_at,
        protocol: now.protocol,
        serves: now.serves,
        waits: Waits {
            header: edge.limits.header_timeout.0,
            idle: edge.limits.keep_alive_timeout.0,
            body: edge.limits.body_timeout.0,
            write: edge.limits.send_timeout.0,
            head_bytes: HeadBytes::of(edge.limits.uri.as_usize(), edge.limits.headers.as_usize()),
            h2_streams: edge.limits.h2_streams,
        },
        server: edge.server_header.clone(),
        max_requests: edge.limits.keep_alive_requests,
    }
}

// === impl PanicCounter ===

impl Drop for PanicCounter<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            add_one(&self.0.panicked);
        }
    }
}
