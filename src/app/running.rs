//! A proxy that runs: its addresses, its state, and how it stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::live::Live;
use super::servers::Servers;
use super::shared::Shared;
use super::sources::Sources;
use crate::diagnostic::Diagnostic;
use crate::engine::Engine;
use crate::front::Listeners;
use crate::settings::ShutdownSpec;
use crate::snapshot::Snapshot;
use crate::telemetry::process_log::ProcessLog;

/// A proxy that serves until [`Running::stop`].
pub struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) listeners: Arc<Listeners<Engine>>,
    pub(super) servers: Servers,
    pub(super) sources: Sources,
    pub(super) stop: watch::Sender<bool>,
}

/// Handlers of process signals. Installed before anything starts: until then signals end the process.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

// === impl Signals ===

impl Signals {
    /// Heeds them from now on.
    ///
    /// # Errors
    /// When signals cannot be watched.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

// === impl Running ===

impl Running {
    /// Resolves when the first complete configuration is live.
    pub async fn ready(&self) {
        let mut revision = 0;
        while !self.shared.readiness.is_ready() {
            self.shared.after(revision).await;
            revision = self.shared.revision();
        }
    }

    /// The real address of a listener.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.bound().into_iter().find(|bound| bound.id.as_str() == name).map(|bound| bound.address)
    }

    /// The address of `/metrics`, `/healthz` and `/readyz`.
    pub fn telemetry(&self) -> Option<SocketAddr> {
        self.servers.telemetry
    }

    /// The address of the admin API.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.servers.admin
    }

    /// The address of the admission webhook.
    pub fn admission(&self) -> Option<SocketAddr> {
        self.servers.webhook.as_ref().map(|webhook| webhook.address)
    }

    /// Counts the changes of the input that were taken in, whether or not they changed what is served.
    pub fn revision(&self) -> u64 {
        self.shared.revision()
    }

    /// Resolves when more changes than `revision` were taken in.
    pub async fn after(&self, revision: u64) {
        self.shared.after(revision).await;
    }

    /// Counts the snapshots that were published.
    pub fn generation(&self) -> u64 {
        self.shared.snapshot.load().generation
    }

    /// Everything there is to say about the input now.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.shared.report.load().diagnostics.clone()
    }

    /// Reads the conf file again and opens log files again, as SIGHUP does.
    pub fn reload(&self) {
        self.sources.reload();
        self.shared.telemetry.reopen();
        self.live.reopen_log();
    }

    /// Stops gracefully: not ready, keeps serving for `shutdown.delay`, stops accepting, lets requests finish until
    /// `shutdown.timeout`, then cuts what is left. Returns as soon as nothing is open.
    pub async fn stop(&self) {
        let shutdown = self.live.shutdown();
        self.shared.readiness.begin_drain();
        info!(delay = %shutdown.delay, timeout = %shutdown.timeout, "stopping");
        // Others may lead while this process still serves, and an API server that is away holds up no client.
        tokio::join!(self.sources.stop_writing(), self.drain(&shutdown));
        self.servers.stop().await;
        self.stop.send_replace(true);
        self.shared.telemetry.set_access_log(None);
        info!("stopped");
    }

    async fn drain(&self, shutdown: &ShutdownSpec) {
        tokio::time::sleep(shutdown.delay.0).await;
        self.listeners.drain().await;
        let drain = self.listeners.drain_state();
        if tokio::time::timeout(shutdown.timeout.0, drain.idle()).await.is_err() {
            warn!(open = drain.open(), "shutdown timeout reached, closing open connections");
            drain.cut();
        }
    }

    /// Serves until SIGTERM or SIGINT, then stops gracefully; a second one ends the process's patience at once.
    /// SIGHUP reloads.
    pub(crate) async fn until_stopped(&self, signals: Signals) {
        let Signals { mut term, mut int, mut hup } = signals;
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => self.reload(),
            }
        }
        tokio::select! {
            () = self.stop() => {}
            _ = term.recv() => warn!("second signal to stop, stopping at once"),
            _ = int.recv() => warn!("second signal to stop, stopping at once"),
        }
    }

    /// Lets conf changes set the level of the process's log.
    pub(crate) fn attach_log(&self, log: ProcessLog) {
        self.live.attach_log(log);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// The conf file, for people.
    pub(crate) fn conf(&self) -> PathBuf {
        self.live.file().to_owned()
    }

    pub(crate) fn source_names(&self) -> String {
        self.sources.to_text()
    }

    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let snapshot = self.snapshot();
        let named = snapshot.listeners.iter();
        named.filter_map(|it| Some((it.protocol.scheme().to_owned(), self.listener(it.id.as_str())?))).collect()
    }
}
