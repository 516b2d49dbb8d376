//! Starts the admission webhook: its server, and whoever brings its certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tracing::warn;

use super::observe;
use super::shared::Shared;
use crate::admission::certificate::{Clients, Current, Pair};
use crate::admission::review::{Request, Verdict, review};
use crate::admission::server::{Counts, Judge, Limits, MAX_CONNECTIONS, Server, Trust};
use crate::settings::AdmissionSpec;
use crate::source::kubernetes::webhook::{Maker, StoredCertificate};
use crate::telemetry::http::Places;

/// How often files are looked at.
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

/// Reviewer against the live configuration.
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
    let clients = spec.client_ca_file.is_some().then(Arc::<Clients>::default);
    let files = Files {
        pair: spec.certificate_file.as_ref().zip(spec.key_file.as_ref()).map(|(a, b)| (folder.join(a), folder.join(b))),
        authorities: spec.client_ca_file.as_ref().map(|file| folder.join(file)),
    };
    let trust = Trust { certificate: current.clone(), clients };
    let found = files.read();
    files.put(&found, &Found::default(), &trust)?;
    if files.pair.is_some() || files.authorities.is_some() {
        tokio::spawn(files.follow(found, trust.clone(), stop.subscribe()));
    }
    let judge = Arc::new(Live(shared.clone()));
    let all = shared.table.capacity().server_connections(MAX_CONNECTIONS);
    let places = Places { all, of_source: (all / 2).max(2) };
    let server = Server::bind(spec.address, &trust, judge, counts.clone())
        .with_context(|| format!("the admission webhook cannot listen on {}", spec.address))?
        .with_limits(Limits { places, ..Limits::default() });
    observe::server(shared.metrics(), "admission", server.seats());
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
    fn renew(&self, old: Option<&StoredCertificate>, now: SystemTime) -> Option<StoredCertificate> {
        let old = old.map(pair);
        if old.as_ref().is_some_and(|old| !old.is_due(now) && Current::default().set(old).is_ok()) {
            return None;
        }
        match Pair::make(&self.names, now) {
            Ok(new) => {
                let Pair { chain, key, authorities } = old.iter().fold(new, Pair::after);
                Some(StoredCertificate { chain, key, authorities })
            }
            Err(error) => {
                warn!(%error, "webhook certificate not generated");
                None
            }
        }
    }

    fn take(&self, kept: &StoredCertificate) {
        if let Err(error) = self.current.set(&pair(kept)) {
            warn!(%error, "webhook certificate not used");
        }
    }
}

fn pair(kept: &StoredCertificate) -> Pair {
    let StoredCertificate { chain, key, authorities } = kept.clone();
    Pair { chain, key, authorities }
}

/// Certificate files that others renew, such as cert-manager.
struct Files {
    /// Chain and key.
    pair: Option<(PathBuf, PathBuf)>,
    /// Authorities of clients.
    authorities: Option<PathBuf>,
}

/// Content of the files; an error is that of the last read.
#[derive(Default, PartialEq)]
struct Found {
    pair: Option<Result<Pair, String>>,
    authorities: Option<Result<Vec<u8>, String>>,
}

// === impl Files ===

impl Files {
    fn read(&self) -> Found {
        let read =
            |file: &Path| std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()));
        let pair = |(chain, key): &(PathBuf, PathBuf)| {
            Ok(Pair { chain: read(chain)?, key: read(key)?, authorities: Vec::new() })
        };
        Found { pair: self.pair.as_ref().map(pair), authorities: self.authorities.as_ref().map(|file| read(file)) }
    }

    /// Puts in force what differs from what is known.
    fn put(&self, found: &Found, known: &Found, trust: &Trust) -> anyhow::Result<()> {
        if let Some(pair) = found.pair.as_ref().filter(|_| found.pair != known.pair) {
            let pair = pair.as_ref().map_err(|error| anyhow::anyhow!("admission: {error}"))?;
            trust.certificate.set(pair).context("admission.certificateFile")?;
        }
        if let Some((authorities, clients)) = found.authorities.as_ref().zip(trust.clients.as_ref())
            && found.authorities != known.authorities
        {
            let authorities = authorities.as_ref().map_err(|error| anyhow::anyhow!("admission: {error}"))?;
            clients.set(authorities).context("admission.clientCaFile")?;
        }
        Ok(())
    }

    /// Puts what changes in force; what cannot be used leaves the old one and is told once.
    async fn follow(self, mut known: Found, trust: Trust, mut stop: watch::Receiver<bool>) {
        let files = Arc::new(self);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let reading = files.clone();
            // Beside the serving threads: a mounted file may lie on a slow disk.
            let Ok(found) = tokio::task::spawn_blocking(move || reading.read()).await else { continue };
            // One after the other, so that what is wrong with one keeps the other from nothing.
            let pair = Found { pair: found.pair.clone(), authorities: known.authorities.clone() };
            for put in [files.put(&pair, &known, &trust), files.put(&found, &pair, &trust)] {
                if let Err(error) = put {
                    warn!(error = format!("{error:#}"), "webhook certificate file not used");
                }
            }
            known = found;
        }
    }
}
