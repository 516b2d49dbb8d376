//! Where clients arrive: listeners, TLS, deadlines and limits, in front of the engine.
//!
//! A connection goes through visible steps: accept → limit → facts → peek the ClientHello → choose → handshake →
//! guard → serve. What comes out is a stream with its facts ([`crate::connection::ConnectionInfo`]), handed to
//! Pingora's `HttpProxy`. It must not know requests, routes or Kubernetes.

pub(crate) mod drain;
pub(crate) mod listeners;
pub(crate) mod metrics;
pub(crate) mod tls;

mod ahead;
mod buffered;
mod deadline;
mod early;
mod guarded;
mod handshake;
mod head;
mod linger;
mod pooled_buffer;
mod retire;
mod serve;
mod sources;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::HeaderValue;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{ALPN, GetSocketDigest, IO, Stream};
use pingora::server::ShutdownWatch;
use tidegate_plugin::TlsFacts;

pub(crate) use drain::Drain;
pub(crate) use listeners::{ListenerSpec, Listeners};
pub(crate) use metrics::{FrontMetrics, ListenerCounts, ListenerMetrics};
pub(crate) use tls::TlsPolicy;

use crate::capacity::Capacity;
use crate::connection::{ConnectionInfo, Protocol};
use crate::listener::ListenerProtocol;
use crate::pressure::{LetIn, Memory};
use crate::snapshot::Snapshot;
use crate::telemetry::record::Recorder;
use buffered::BufferedStream;
use deadline::Waits;
use early::Early;
use guarded::Guarded;
use head::HeadBytes;
use metrics::{Counted, add_one};
use sources::Sources;
use tls::TlsListener;

/// Serves the connections of one listener with an app.
pub(crate) struct Front<A> {
    app: Arc<A>,
    listener: Arc<str>,
    /// What is spoken; over TLS the handshake says it.
    protocol: ListenerProtocol,
    tls: Option<TlsListener>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    drain: Arc<Drain>,
    capacity: Arc<Capacity>,
    metrics: Arc<ListenerMetrics>,
    memory: Arc<Memory>,
    sources: Arc<Sources>,
    recorder: Arc<dyn Recorder>,
}

/// What is known of a connection before a byte of it is read.
struct Arrival {
    peer: SocketAddr,
    accepted_at: Instant,
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
        let arrival = self.arrival(&stream, &snapshot, accepted_at);
        let (_counted, _let_in) = self.let_in(&arrival, &snapshot)?;
        // An open connection must not hold on to the snapshot it began with.
        drop(snapshot);
        self.drain.unless_cut(self.accepted(*stream, arrival)).await;
        None
    }

    // `cleanup` is not forwarded: Pingora calls it when one listener ends, and the app would end for all of them.
}

impl<A: HttpServerApp + Send + Sync + 'static> Front<A> {
    fn arrival(&self, stream: &TcpStream, snapshot: &Snapshot, accepted_at: Instant) -> Arrival {
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let edge = &snapshot.edge;
        Arrival {
            peer: canonical(peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))),
            accepted_at,
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

    /// Counts the connection to its source, and lets it in while there is memory for it.
    fn let_in(&self, arrival: &Arrival, snapshot: &Snapshot) -> Option<(sources::Counted, LetIn)> {
        let (address, edge) = (arrival.peer.ip(), &snapshot.edge);
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

    async fn accepted(&self, stream: TcpStream, arrival: Arrival) {
        let stream = BufferedStream::new(stream);
        match &self.tls {
            None => self.serve(self.guard(stream, arrival, None)).await,
            // In a box: what TLS comes to is not held by those without.
            Some(tls) => Box::pin(self.encrypted(stream, tls, arrival)).await,
        }
    }

    async fn encrypted(&self, stream: BufferedStream<TcpStream>, tls: &TlsListener, arrival: Arrival) {
        let handshaking = Counted::in_gauge(&self.metrics.handshaking);
        let shaken = tokio::select! {
            shaken = handshake::handshake(stream, tls) => shaken,
            () = self.drain.begun() => return,
        };
        drop(handshaking);
        match shaken {
            Ok((stream, facts)) => self.serve(self.guard(*stream, arrival, Some(facts))).await,
            Err(reason) => {
                self.metrics.count_handshake_failure(reason);
                tracing::debug!(
                    listener = %self.listener, client = %arrival.peer, reason = reason.as_str(),
                    "TLS handshake failed"
                );
            }
        }
    }

    // Not an `async fn`: the stream would be held several times over by one's state.
    fn guard<S: IO + 'static>(&self, stream: S, arrival: Arrival, tls: Option<TlsFacts>) -> Option<Box<Guarded<S>>> {
        let protocol = match (self.protocol, stream.selected_alpn_proto()) {
            (ListenerProtocol::H2c, _) | (_, Some(ALPN::H2)) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let Arrival { peer, accepted_at, waits, server, max_requests } = arrival;
        let mut info = ConnectionInfo::new(self.listener.clone(), peer, accepted_at, tls, protocol);
        if let Some(limit) = max_requests {
            info = info.with_max_requests(limit);
        }
        let early = Early::new(self.recorder.clone(), server);
        let guarded = Guarded::new(stream, Arc::new(info), self.metrics.clone(), waits, early).ok()?;
        Some(Box::new(guarded.telling_protocol(self.protocol == ListenerProtocol::Http)))
    }

    async fn serve<S: IO + 'static>(&self, guarded: Option<Box<Guarded<S>>>) {
        let _active = Counted::in_gauge(&self.metrics.active);
        if let Some(guarded) = guarded {
            serve::connection(&self.app, &self.drain, guarded).await;
        }
    }
}

/// An address that a dual-stack socket shows in its IPv6 form is the IPv4 address that it stands for.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// === impl PanicCounter ===

impl Drop for PanicCounter<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            add_one(&self.0.panicked);
        }
    }
}
