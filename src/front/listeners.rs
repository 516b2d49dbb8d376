//! Listeners that come and go while the process runs.
//!
//! Sockets are bound here, so that a bad address is an error value at once and port 0 tells its real number; accepting
//! is Pingora's. Its streams come without buffers: see [`super::buffered`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Front;
use super::drain::Drain;
use super::metrics::FrontMetrics;
use super::sources::Sources;
use super::tls::{TlsListener, TlsPolicy};
use crate::capacity::Capacity;
use crate::listener::ListenerProtocol;
use crate::pressure::Memory;
use crate::snapshot::Snapshot;
use crate::telemetry::record::Recorder;

/// Connections that may wait to be accepted; the system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// A listener as it is wanted.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSpec {
    /// Name, unique among listeners.
    pub name: Arc<str>,
    /// Address; port 0: the system chooses. `[::]` takes IPv4 as well, every other IPv6 address IPv6 only.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// TLS settings; read for `https` only.
    pub tls: TlsPolicy,
}

/// A listener that accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Its name.
    pub name: Arc<str>,
    /// Its real address, port included.
    pub address: SocketAddr,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// A listener of this name runs.
    #[error("listener `{name}`: a listener of this name runs already; stop it first")]
    Runs {
        /// The name.
        name: Arc<str>,
    },
    /// The drain has begun.
    #[error("listener `{name}`: tidegate is stopping")]
    Stopping {
        /// The name.
        name: Arc<str>,
    },
    /// The socket cannot be had: the address is in use, not of this machine, or not permitted.
    #[error("listener `{name}`: cannot listen on {address}")]
    Bind {
        /// The listener.
        name: Arc<str>,
        /// The address that it wants.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("listener `{name}`: cannot set up TLS")]
    Tls {
        /// The listener.
        name: Arc<str>,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// The listeners of the process, all in front of one app.
pub(crate) struct Listeners<A> {
    app: Arc<A>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    drain: Arc<Drain>,
    capacity: Arc<Capacity>,
    metrics: Arc<FrontMetrics>,
    memory: Arc<Memory>,
    sources: Arc<Sources>,
    recorder: Arc<dyn Recorder>,
    accept_tasks: usize,
    running: Mutex<BTreeMap<Arc<str>, Running>>,
    app_told: AtomicBool,
}

struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

// === impl Listeners ===

impl<A: HttpServerApp + Send + Sync + 'static> Listeners<A> {
    /// Makes listeners in front of an app; none runs yet. `accept_tasks` (at least 1) accept on each listener.
    /// `recorder` gets what is answered before the app sees a request.
    pub(crate) fn new(
        app: Arc<A>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        accept_tasks: usize,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        Self {
            app,
            snapshot,
            drain: Arc::default(),
            capacity: Arc::default(),
            metrics: Arc::default(),
            memory: Arc::default(),
            sources: Arc::default(),
            recorder,
            accept_tasks: accept_tasks.max(1),
            running: Mutex::default(),
            app_told: AtomicBool::new(false),
        }
    }

    /// Counts their connections there, and accepts no more than there is room for.
    #[must_use]
    pub(crate) fn with_capacity(self, capacity: Arc<Capacity>) -> Self {
        Self { capacity, ..self }
    }

    /// Accepts no more than memory allows.
    #[must_use]
    pub(crate) fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// The state of the graceful stop.
    pub(crate) fn drain_state(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// Counts of connections.
    pub(crate) fn metrics(&self) -> &Arc<FrontMetrics> {
        &self.metrics
    }

    /// The listeners that run, by name.
    pub(crate) fn bound(&self) -> Vec<Bound> {
        self.lock().iter().map(|(name, running)| Bound { name: name.clone(), address: running.address }).collect()
    }

    /// Starts a listener on the runtime that this is called in. It accepts when this returns.
    ///
    /// # Errors
    /// The address cannot be had, the name is taken, TLS cannot be set up, or the drain has begun.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(&self, spec: &ListenerSpec) -> Result<Bound, ListenError> {
        let name = &spec.name;
        let mut running = self.lock();
        if self.drain.has_begun() {
            return Err(ListenError::Stopping { name: name.clone() });
        }
        if running.contains_key(name) {
            return Err(ListenError::Runs { name: name.clone() });
        }
        let tls = match spec.protocol {
            ListenerProtocol::Http | ListenerProtocol::Http1 | ListenerProtocol::H2c => None,
            ListenerProtocol::Https => Some(
                TlsListener::new(&spec.tls, self.snapshot.clone())
                    .map_err(|source| ListenError::Tls { name: name.clone(), source })?,
            ),
        };
        let (socket, address) = bind(spec.address).map_err(|source| ListenError::Bind {
            name: name.clone(),
            address: spec.address,
            source,
        })?;
        let front = self.front(spec, tls);
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(accept(front, socket, address, stop.subscribe(), self.accept_tasks));
        running.insert(name.clone(), Running { address, stop, task });
        tracing::info!(listener = %name, %address, "listener started");
        Ok(Bound { name: name.clone(), address })
    }

    /// Begins the graceful stop: no listener accepts any more, idle connections close, the others after their current
    /// request. Resolves when all of that is told; await [`Drain::idle`] next, with a deadline, then [`Drain::cut`].
    pub(crate) async fn drain(&self) {
        let running = {
            let mut running = self.lock();
            self.drain.begin();
            std::mem::take(&mut *running)
        };
        for listener in running.values() {
            listener.stop.send_replace(true);
        }
        for listener in running.into_values() {
            let _ended = listener.task.await;
        }
        // The app releases connections that wait for a request, for all listeners together, and never serves again.
        if !self.app_told.swap(true, Ordering::SeqCst) {
            ServerApp::cleanup(&*self.app).await;
        }
        tracing::info!(open = self.drain.open(), "draining connections");
    }

    fn front(&self, spec: &ListenerSpec, tls: Option<TlsListener>) -> Front<A> {
        Front {
            app: self.app.clone(),
            listener: spec.name.clone(),
            protocol: spec.protocol,
            tls,
            snapshot: self.snapshot.clone(),
            drain: self.drain.clone(),
            capacity: self.capacity.clone(),
            metrics: self.metrics.listener(&spec.name),
            memory: self.memory.clone(),
            sources: self.sources.clone(),
            recorder: self.recorder.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until stopped. The socket is closed when this ends.
async fn accept<A: HttpServerApp + Send + Sync + 'static>(
    front: Front<A>,
    socket: Socket,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
    accept_tasks: usize,
) {
    let mut service = Service::new(front.listener.to_string(), front);
    service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::unbuffered()));
    // A table of its own for each listener: in a shared one the descriptor of a stopped listener would be found again
    // under its address. Pingora takes the descriptor over from here.
    let mut table = Fds::new();
    table.add(address.to_string(), socket.into_raw_fd());
    let table: ListenFds = Arc::new(table.into());
    service.start_service(Some(table), stop, accept_tasks).await;
}

/// A listening, non-blocking socket and its real address.
fn bind(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of a previous process in TIME_WAIT must not keep the address from us.
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Pingora listens once more, which is harmless; only this one tells that another process listens already.
    socket.listen(BACKLOG)?;
    let real = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_tells_its_real_number() {
        let (_socket, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(address.port(), 0);
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let (_socket, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
