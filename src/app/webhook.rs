//! Starts the admission webhook: its server, and whoever brings its certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tracing::warn;

use super::shared::Shared;
use crate::admission::certificate::{Current, Pair};
use crate::admission::review::{Request, Verdict, review};
use crate::admission::server::{Counts, Judge, Server};
use crate::settings::AdmissionSpec;
use crate::source::kubernetes::webhook::{Kept, Maker};

/// How often certificate files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A webhook that serves.
pub(super) struct Webhook {
    pub(super) address: SocketAddr,
    pub(super) counts: Arc<Counts>,
    /// The certificate in force.
    pub(super) current: Arc<Current>,
    /// Its sender goes when the last review has ended.
    ended: watch::Receiver<()>,
}

/// Judges by what is live.
struct Live(Arc<Shared>);

/// Makes certificates for names.
pub(super) struct OwnMaker {
    pub(super) names: Vec<String>,
    pub(super) current: Arc<Current>,
}

/// Binds and starts it.
///
/// # Errors
/// An address that cannot be bound, or certificate files that cannot be used.
pub(super) async fn start(
    spec: &AdmissionSpec,
    folder: &Path,
    shared: &Arc<Shared>,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<Webhook> {
    let (current, counts) = (Arc::new(Current::default()), Arc::new(Counts::default()));
    if let (Some(chain), Some(key)) = (&spec.certificate_file, &spec.key_file) {
        let files = Files { chain: folder.join(chain), key: folder.join(key) };
        let pair = files.read().context("admission")?;
        current.set(&pair).context("admission.certificateFile")?;
        tokio::spawn(files.follow(pair, current.clone(), stop.subscribe()));
    }
    let judge = Arc::new(Live(shared.clone()));
    let server = Server::bind(spec.address, current.clone(), judge, counts.clone())
        .await
        .with_context(|| format!("the admission webhook cannot listen on {}", spec.address))?;
    let address = server.local_addr()?;
    let (serving, ended) = watch::channel(());
    let stop = stop.subscribe();
    tokio::spawn(async move {
        server.serve(stop).await;
        drop(serving);
    });
    Ok(Webhook { address, counts, current, ended })
}

// === impl Webhook ===

impl Webhook {
    /// Resolves when it serves no more. It takes seconds at most after it was told to stop.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent: the error is the word.
        let _ = self.ended.clone().changed().await;
    }
}

// === impl Live ===

impl Judge for Live {
    fn judge(&self, request: &Request) -> Option<Verdict> {
        let snapshot = self.0.snapshot.load();
        (snapshot.generation > 0).then(|| review(request, &self.0.base.load(), &snapshot))
    }
}

// === impl OwnMaker ===

impl Maker for OwnMaker {
    fn renew(&self, old: Option<&Kept>, now: SystemTime) -> Option<Kept> {
        let old = old.map(pair);
        if old.as_ref().is_some_and(|old| !old.is_due(now) && Current::default().set(old).is_ok()) {
            return None;
        }
        match Pair::make(&self.names, now) {
            Ok(new) => {
                let Pair { chain, key, authorities } = old.iter().fold(new, Pair::after);
                Some(Kept { chain, key, authorities })
            }
            Err(error) => {
                warn!(%error, "certificate of the webhook not made");
                None
            }
        }
    }

    fn take(&self, kept: &Kept) {
        if let Err(error) = self.current.set(&pair(kept)) {
            warn!(%error, "certificate of the webhook not used");
        }
    }
}

fn pair(kept: &Kept) -> Pair {
    let Kept { chain, key, authorities } = kept.clone();
    Pair { chain, key, authorities }
}

/// A certificate that somebody else brings, cert-manager for instance.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

// === impl Files ===

impl Files {
    fn read(&self) -> anyhow::Result<Pair> {
        let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        Ok(Pair { chain: read(&self.chain)?, key: read(&self.key)?, authorities: Vec::new() })
    }

    /// Puts what changes in force; what cannot be used leaves the old one and is told once.
    async fn follow(self, mut known: Pair, current: Arc<Current>, mut stop: watch::Receiver<bool>) {
        let files = Arc::new(self);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let reading = files.clone();
            // Beside the serving threads: a mounted file may lie on a slow disk.
            let read = tokio::task::spawn_blocking(move || reading.read()).await;
            let new = match read {
                Ok(Ok(new)) if new != known => new,
                _ => continue,
            };
            if let Err(error) = current.set(&new) {
                warn!(%error, "certificate of the webhook not used");
            }
            known = new;
        }
    }
}
