//! Keeps the listeners as the snapshot in force wants them, and tells of those that cannot be had.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::live::Live;
use super::shared::Shared;
use super::sources::findings;
use crate::code::{Code, Severity};
use crate::compile::compile_listeners;
use crate::diagnostic::Diagnostic;
use crate::engine::Engine;
use crate::front::{ListenError, Listeners};
use crate::resources::Batch;
use crate::settings::{self, Settings};
use crate::snapshot::listener::{Listener, Listeners as Wanted};
use crate::source::conf;
use crate::translate;

/// Name under which their findings stand among those of sources.
const NAME: &str = "listeners";
/// After how long an address is tried again that cannot be had; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Whoever keeps them.
pub(super) struct Listening {
    shared: Arc<Shared>,
    live: Arc<Live>,
    listeners: Arc<Listeners<Engine>>,
    sender: mpsc::Sender<Batch>,
    bound: watch::Sender<Vec<SocketAddr>>,
    told: Mutex<Vec<Diagnostic>>,
}

/// The listeners that settings name, and reads their certificates.
///
/// # Errors
/// A certificate that cannot be used: a process that begins has no other one.
pub(super) fn first(settings: &mut Settings) -> anyhow::Result<Wanted> {
    let mut found = conf::read_certificates(settings, None);
    let wanted = translate::listeners(&settings.conf, &settings::origin(&settings.file));
    let (listeners, told) = compile_listeners(&wanted, &[]);
    found.extend(told);
    match found.iter().find(|diagnostic| diagnostic.severity == Severity::Error) {
        Some(error) => bail!("{}: {}", error.origin.field, error.message),
        None => Ok(listeners),
    }
}

// === impl Listening ===

impl Listening {
    /// `sender`: the control plane, which is told what cannot be had.
    pub(super) fn new(
        shared: Arc<Shared>,
        live: Arc<Live>,
        listeners: Arc<Listeners<Engine>>,
        sender: mpsc::Sender<Batch>,
    ) -> Arc<Self> {
        let bound = watch::Sender::new(addresses(&listeners));
        Arc::new(Self { shared, live, listeners, sender, bound, told: Mutex::default() })
    }

    /// Where they listen.
    pub(super) fn bound(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.bound.subscribe()
    }

    /// Starts keeping them, until everything stops.
    pub(super) fn start(self: Arc<Self>) {
        let pulse = self.shared.vitals.pulse("listeners");
        tokio::spawn(async move { pulse.supervise(|| self.clone().follow()).await });
    }

    async fn follow(self: Arc<Self>) {
        let (mut done, mut again): (Option<Wanted>, Option<Instant>) = (None, None);
        let (mut revision, mut pause) = (0, FIRST_PAUSE);
        loop {
            let wanted = self.shared.snapshot.load().listeners.clone();
            let is_new = done.as_ref().is_none_or(|done| !Arc::ptr_eq(done, &wanted));
            if is_new {
                pause = FIRST_PAUSE;
            }
            if is_new || again.is_some_and(|due| due <= Instant::now()) {
                let is_done = self.reconcile(&wanted).await;
                again = (!is_done).then(|| Instant::now() + pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                done = Some(wanted);
            }
            let due = again;
            tokio::select! {
                () = self.shared.after(revision) => {}
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
                () = self.listeners.drain_state().begun() => return,
            }
            revision = self.shared.revision();
        }
    }

    /// Whether all of them could be had.
    async fn reconcile(&self, wanted: &[Arc<Listener>]) -> bool {
        let failed = self.listeners.reconcile(wanted, self.live.shutdown().timeout.0).await;
        self.bound.send_if_modified(|bound| {
            let now = addresses(&self.listeners);
            let is_other = *bound != now;
            *bound = now;
            is_other
        });
        let diagnostics: Vec<Diagnostic> = failed.iter().filter_map(|error| not_bound(error, wanted)).collect();
        self.tell(diagnostics).await;
        failed.is_empty()
    }

    async fn tell(&self, diagnostics: Vec<Diagnostic>) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if *told == diagnostics {
                return;
            }
            told.clone_from(&diagnostics);
        }
        // Nobody listens any more: the process is about to end.
        let _ = self.sender.send(findings(NAME, diagnostics)).await;
    }
}

fn addresses(listeners: &Listeners<Engine>) -> Vec<SocketAddr> {
    listeners.bound().into_iter().map(|bound| bound.address).collect()
}

fn not_bound(error: &ListenError, wanted: &[Arc<Listener>]) -> Option<Diagnostic> {
    let (id, why) = match error {
        ListenError::Stopping { .. } => return None,
        ListenError::Bind { id, source, .. } => (id, source.to_string()),
        ListenError::Tls { id, source } => (id, source.to_string()),
    };
    let origin = &wanted.iter().find(|listener| listener.id == *id)?.origin;
    let origin = origin.at(format!("{}.address", origin.field));
    let diagnostic = Diagnostic::error(Code::ListenerNotBound, &origin, format!("{error}: {why}"));
    Some(diagnostic.hint("it is tried again until it can be had"))
}
