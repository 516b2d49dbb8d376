//! Wiring only, in the order of the flow: settings, telemetry, registry, control, proxy, listeners, sources.
//!
//! A program of one's own is `Tidegate::builder().plugins(…).run()`; a test starts a proxy with
//! [`Builder::start`] and asks the [`Running`] for its addresses.

mod alive;
mod cluster;
mod control;
mod counts;
mod echo;
mod inspect;
mod listening;
mod live;
mod memory;
mod observe;
pub(crate) mod offline;
mod own;
mod running;
mod servers;
mod shared;
mod sources;
pub(crate) mod summary;
mod webhook;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tidegate_plugin::{Define, Definition};
use tokio::sync::{mpsc, watch};

use crate::capacity::Capacity;
use crate::code::Code;
use crate::compile::{Compiler, CompilerParts};
use crate::diagnostic::Diagnostic;
use crate::endpoint::Table;
use crate::engine::{Engine, Outbound};
use crate::front::Listeners;
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::telemetry::{Metrics, Telemetry, panics};
use control::Control;
use listening::Listening;
pub use running::Running;
pub(crate) use running::Signals;
use shared::Shared;

/// Batches that may wait for the control plane; a source that is faster waits.
const INBOX: usize = 64;

/// Threads at most for what plugins do that takes long: it must not crowd out serving.
const MAX_WORKERS: usize = 4;

/// A proxy to be: see [`Tidegate::builder`].
#[derive(Debug)]
pub struct Tidegate;

/// Builder of a proxy: plugins, conf and settings.
#[derive(Default)]
pub struct Builder {
    registry: Vec<Definition>,
}

// === impl Tidegate, Builder ===

impl Tidegate {
    /// Begins a proxy without any plugin.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Adds plugins that were defined elsewhere; a later one replaces an earlier one of the same name.
    #[must_use]
    pub fn plugins(mut self, definitions: &[Definition]) -> Self {
        for definition in definitions {
            self.registry.retain(|known| known.name != definition.name);
            self.registry.push(*definition);
        }
        self
    }

    /// Adds one plugin.
    #[must_use]
    pub fn plugin<P: Define>(self) -> Self {
        self.plugins(&[tidegate_plugin::define::<P>()])
    }

    /// The plugins so far.
    pub fn registry(&self) -> &[Definition] {
        &self.registry
    }

    /// Starts serving on the runtime that this is called in.
    ///
    /// # Errors
    /// Whatever keeps the process from serving at all: a listener that cannot be bound, a certificate file that
    /// cannot be read, a log that cannot be opened. Faults of routes and manifests are diagnostics instead.
    pub async fn start(self, mut settings: Settings) -> anyhow::Result<Running> {
        panics::count();
        let (compiler, shared) = parts(&self, &settings)?;
        let live = Arc::new(live::Live::new(&settings, shared.clone())?);
        let first = listening::first(&mut settings)?;
        shared.snapshot.store(Arc::new(Snapshot { listeners: first, ..compiler.empty() }));
        let listeners = listen(&settings, &shared).await?;
        memory::watch(shared.memory.clone(), &shared.snapshot)?;
        observe::register(&shared, listeners.metrics());
        let servers = servers::start(&settings, &shared).await?;
        if let Some(webhook) = &servers.webhook {
            observe::webhook(shared.metrics(), webhook.counts.clone());
        }
        let stop = watch::Sender::new(false);
        alive::start(&shared, settings.process.telemetry.on().map(|spec| spec.stuck_after.0), &stop);
        let (sender, inbox) = mpsc::channel(INBOX);
        let admission = settings.process.admission.clone();
        let (kubernetes, status) = (settings.process.sources.kubernetes.clone(), settings.conf.ingress.status.clone());
        let keeper = kubernetes.as_ref().map(|spec| cluster::Cluster::keeper(spec, &settings)).transpose()?.flatten();
        let listening = Listening::new(shared.clone(), live.clone(), listeners.clone(), sender.clone());
        let own = own::Own::new(servers.addresses(), listening.bound());
        let mut sources = sources::start(settings, live.clone(), sender, own, &shared.vitals).await?;
        let mut control = Control::new(compiler, shared.clone(), sources.names()).with_keeper(keeper);
        if let (Some(cluster), Some(spec)) = (sources.cluster(), kubernetes) {
            observe::contact(shared.metrics(), cluster.contact.clone());
            control = control.with_demand(Some(cluster.demand.clone()));
            let keeps_webhook = admission.as_ref().is_some_and(|it| it.service.is_some());
            if let Some((writing, outlet)) = cluster.write(&spec, status.as_ref(), keeps_webhook)? {
                if let (Some(admission), Some(webhook)) = (&admission, &servers.webhook) {
                    cluster.keep_webhook(admission, webhook, writing.leadership(), servers.until_stopped());
                }
                observe::writing(shared.metrics(), writing.leadership(), writing.counts());
                control = control.with_outlet(outlet);
                sources.keep(writing);
            }
        }
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || control.run_contained(inbox))
            .context("no thread for the control plane")?;
        listening.start();
        Ok(Running { shared, live, listeners, servers, sources, stop })
    }
}

/// Reads the conf file, or the built-in demo when none is named and none is there.
pub(crate) fn settings(conf: Option<&Path>) -> Result<Settings, Vec<Diagnostic>> {
    const DEFAULT: &str = "conf/tidegate.yaml";
    match conf {
        Some(file) => Settings::load(file),
        None if Path::new(DEFAULT).exists() => Settings::load(Path::new(DEFAULT)),
        None => Settings::parse(include_str!("../conf/tidegate.yaml"), Path::new("(built-in demo)")),
    }
}

/// The compiler, and the handles around its empty snapshot.
fn parts(builder: &Builder, settings: &Settings) -> anyhow::Result<(Compiler, Arc<Shared>)> {
    install_crypto();
    let metrics = Arc::new(Metrics::new()?);
    let table = Arc::new(Table::new(Arc::new(Capacity::new(max_descriptors()))));
    let route_metrics = metrics.clone();
    let compiler = Compiler::new(CompilerParts {
        table: table.clone(),
        plugins: builder.registry.clone(),
        folder: settings.folder.clone(),
        route_metrics: Box::new(move |facts| route_metrics.route(facts)),
        now: Box::new(unix_seconds),
    });
    let workers = workers::Pool::start(settings.process.worker_threads().min(MAX_WORKERS))?;
    observe::workers(&metrics, workers.desk());
    let compiler = compiler.with_lanes(Box::new(move |instance| workers.lane(instance)));
    let outbound = Outbound::new(table.clone());
    let calls = outbound.clone();
    metrics.observe(Box::new(move |emit| calls.observe(emit)));
    let compiler = compiler.with_clients(Box::new(move |plugin, namespace| outbound.client(plugin, namespace)));
    let shared = Shared::new(compiler.empty(), table, Arc::new(Telemetry::new(metrics)));
    Ok((compiler, Arc::new(shared)))
}

/// Binds every listener; they answer 503 `not_ready` until the first snapshot.
///
/// # Errors
/// One that cannot be had, so that whoever starts tidegate hears of it.
async fn listen(settings: &Settings, shared: &Shared) -> anyhow::Result<Arc<Listeners<Engine>>> {
    let threads = settings.process.worker_threads();
    let proxy = Proxy::new(shared.snapshot.clone(), shared.telemetry.clone()).with_memory(shared.memory.clone());
    let capacity = shared.table.capacity();
    let engine =
        Engine::new(proxy, threads, capacity.idle_connections()).context("the proxy engine cannot be started")?;
    observe::flow_control(shared.metrics(), engine.flow_control().clone());
    let app = Arc::new(engine);
    let listeners = Listeners::new(app, shared.snapshot.clone(), 1, shared.telemetry.clone());
    let listeners = Arc::new(listeners.with_capacity(Arc::clone(capacity)).with_memory(shared.memory.clone()));
    let wanted = shared.snapshot.load().listeners.clone();
    match listeners.reconcile(&wanted, Duration::ZERO).await.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(listeners),
    }
}

/// One provider for the whole process, before anybody asks for one.
fn install_crypto() {
    // A second install fails; then the first one, the same, stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Descriptors that the process may open, after it has raised its limit as far as it may: the low one that it begins
/// with is there for programs that use select(2).
fn max_descriptors() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| Ok(rlimit::Resource::NOFILE.get()?.0));
    match limit {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            let error: std::io::Error = error;
            tracing::warn!(%error, "limit of file descriptors unknown");
            usize::MAX
        }
    }
}

fn unix_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The diagnostic for a fault of the process itself.
fn internal(error: &anyhow::Error) -> Diagnostic {
    Diagnostic::error(Code::Internal, &Origin::new("Conf", "", "", None), format!("{error:#}"))
}
