//! Listeners that come, change and go while the process runs, as they are wanted.
//!
//! Whose address stays keeps its socket, and takes what has changed besides with its next connection. Streams come from
//! Pingora without buffers: see [`super::buffered`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use socket2::Socket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::{Front, Now};
use super::drain::Drain;
use super::metrics::{FrontMetrics, ListenerMetrics};
use super::socket::{BindFault, bind, overlap};
use super::sources::Sources;
use super::tls::TlsListener;
use crate::capacity::Capacity;
use crate::listener::ListenerId;
use crate::pressure::Memory;
use crate::snapshot::Snapshot;
use crate::snapshot::listener::Listener;
use crate::telemetry::record::Recorder;

/// A listener that accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Its name.
    pub id: ListenerId,
    /// Its real address, port included.
    pub address: SocketAddr,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The drain has begun.
    #[error("listener `{id}`: tidegate is stopping")]
    Stopping {
        /// The listener.
        id: ListenerId,
    },
    /// The socket cannot be had: the address is in use, not of this machine, or not permitted.
    #[error("listener `{id}`: cannot listen on {address}")]
    Bind {
        /// The listener.
        id: ListenerId,
        /// The address that it wants.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("listener `{id}`: cannot set up TLS")]
    Tls {
        /// The listener.
        id: ListenerId,
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
    running: Mutex<BTreeMap<ListenerId, Running>>,
    app_told: AtomicBool,
}

/// A listener that accepts, and how it is changed and ended.
pub(super) struct Running {
    /// The address that it was wanted at.
    wanted: SocketAddr,
    address: SocketAddr,
    now: Arc<ArcSwap<Now>>,
    drain: Arc<Drain>,
    metrics: Arc<ListenerMetrics>,
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
        self.lock().iter().map(|(id, running)| Bound { id: id.clone(), address: running.address }).collect()
    }

    /// Makes a listener what it is wanted to be, on the runtime that this is called in: starts it, or changes it where
    /// it runs at its address. It accepts when this returns. One that runs elsewhere goes on until then; it is given
    /// back, to be retired.
    ///
    /// # Errors
    /// The address cannot be had, TLS cannot be set up, or the drain has begun. What runs goes on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn put(&self, wanted: &Listener) -> Result<Option<Running>, ListenError> {
        let mut running = self.lock();
        if self.drain.has_begun() {
            return Err(ListenError::Stopping { id: wanted.id.clone() });
        }
        if let Some(known) = running.get(&wanted.id).filter(|known| known.wanted == wanted.address) {
            let now = self.now(wanted, Some(&known.now.load()))?;
            known.now.store(Arc::new(now));
            return Ok(None);
        }
        let started = self.start(wanted)?;
        tracing::info!(listener = %wanted.id, address = %started.address, "listener started");
        Ok(running.insert(wanted.id.clone(), started))
    }

    fn start(&self, wanted: &Listener) -> Result<Running, ListenError> {
        let metrics = self.metrics.listener(wanted.id.name());
        metrics.is_wanted.store(true, Ordering::Relaxed);
        let now = Arc::new(ArcSwap::from_pointee(self.now(wanted, None)?));
        let (socket, address) = bind(wanted.address).map_err(|source| {
            metrics.count_bind_fault(BindFault::from(&source));
            ListenError::Bind { id: wanted.id.clone(), address: wanted.address, source }
        })?;
        let (drain, stop) = (Drain::part_of(&self.drain), watch::Sender::new(false));
        let front = Front {
            app: self.app.clone(),
            id: wanted.id.clone(),
            now: now.clone(),
            snapshot: self.snapshot.clone(),
            drain: drain.clone(),
            capacity: self.capacity.clone(),
            metrics: metrics.clone(),
            memory: self.memory.clone(),
            sources: self.sources.clone(),
            recorder: self.recorder.clone(),
        };
        let task = tokio::spawn(accept(front, socket, address, stop.subscribe(), self.accept_tasks));
        metrics.is_up.store(true, Ordering::Relaxed);
        Ok(Running { wanted: wanted.address, address, now, drain, metrics, stop, task })
    }

    fn now(&self, wanted: &Listener, before: Option<&Now>) -> Result<Now, ListenError> {
        let Listener { protocol, serves, .. } = *wanted;
        let before = before.and_then(|before| before.tls.as_ref()).and_then(|tls| tls.kept_for(wanted));
        let new = || TlsListener::new(wanted, self.snapshot.clone());
        let tls = protocol.is_tls().then(|| before.map_or_else(new, Ok)).transpose();
        let tls = tls.map_err(|source| ListenError::Tls { id: wanted.id.clone(), source })?;
        Ok(Now { protocol, serves, tls })
    }

    /// Starts, changes and retires listeners so that those which run are those which are wanted. Gives those that cannot
    /// be had; whoever asks again tries them again. Connections of retired ones have `patience` to end.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) async fn reconcile(&self, wanted: &[Arc<Listener>], patience: Duration) -> Vec<ListenError> {
        self.retire(self.take_leaving(wanted), patience).await;
        let mut failed = Vec::new();
        for listener in wanted {
            match self.put(listener) {
                Ok(moved) => self.retire(moved.map(|moved| (listener.id.clone(), moved)), patience).await,
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    /// Those that nobody wants any more, and those that move and are in the way of one that is wanted.
    fn take_leaving(&self, wanted: &[Arc<Listener>]) -> BTreeMap<ListenerId, Running> {
        self.metrics.only_wanted(|name| wanted.iter().any(|listener| listener.id.name() == name));
        let is_leaving = |id: &ListenerId, running: &Running| match wanted.iter().find(|wanted| wanted.id == *id) {
            None => true,
            Some(own) if own.address == running.wanted => false,
            Some(_) => wanted.iter().any(|wanted| overlap(wanted.address, running.address)),
        };
        let mut running = self.lock();
        let (leaving, staying) = std::mem::take(&mut *running).into_iter().partition(|(id, it)| is_leaving(id, it));
        *running = staying;
        leaving
    }

    /// Stops accepting; when this resolves, the addresses are free. What is open there ends as in a graceful stop, and
    /// is cut after `patience`.
    async fn retire(&self, leaving: impl IntoIterator<Item = (ListenerId, Running)>, patience: Duration) {
        for (id, Running { address, drain, metrics, stop, task, .. }) in leaving {
            drain.begin();
            stop.send_replace(true);
            let _ended = task.await;
            // One that has moved is up elsewhere.
            metrics.is_up.store(self.lock().contains_key(&id), Ordering::Relaxed);
            tracing::info!(listener = %id, %address, open = drain.open(), "listener stopped");
            tokio::spawn(async move {
                if tokio::time::timeout(patience, drain.idle()).await.is_err() {
                    tracing::warn!(listener = %id, open = drain.open(), "deadline passed, cutting what is still open");
                    drain.cut();
                }
            });
        }
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ListenerId, Running>> {
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
    let mut service = Service::new(front.id.to_string(), front);
    service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::unbuffered()));
    // A table of its own for each listener: in a shared one the descriptor of a stopped listener would be found again
    // under its address. Pingora takes the descriptor over from here.
    let mut table = Fds::new();
    table.add(address.to_string(), socket.into_raw_fd());
    let table: ListenFds = Arc::new(table.into());
    service.start_service(Some(table), stop, accept_tasks).await;
}
