//! The servers that tell: telemetry and the admin API.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::inspect::Inspector;
use super::observe;
use super::shared::Shared;
use super::webhook::Webhook;
use crate::admin::AdminPages;
use crate::settings::{Settings, TelemetrySpec};
use crate::telemetry::http::{Limits, MAX_CONNECTIONS, Places, Server};
use crate::telemetry::panics::Within;
use crate::telemetry::server::TelemetryPages;

/// Servers that run, and the way to end them.
pub(super) struct Servers {
    /// Address of the telemetry server.
    pub(super) telemetry: Option<SocketAddr>,
    /// Address of the admin API.
    pub(super) admin: Option<SocketAddr>,
    /// The admission webhook.
    pub(super) webhook: Option<Webhook>,
    stop: watch::Sender<bool>,
}

/// A source of telemetry has one of so many of its connections at most: probes come from elsewhere.
const OF_SOURCE: usize = 4;
/// Threads that make pages of telemetry: one is at it, and one may be left from a scrape whose client went.
const PAGE_THREADS: usize = 2;

/// Binds and starts what the settings ask for.
///
/// # Errors
/// An address that cannot be bound, or a thread that cannot be started.
pub(super) async fn start(settings: &Settings, shared: &Arc<Shared>) -> anyhow::Result<Servers> {
    let stop = watch::Sender::new(false);
    let mut servers = Servers { telemetry: None, admin: None, webhook: None, stop };
    if let Some(spec) = settings.process.telemetry.on() {
        servers.telemetry = Some(telemetry(spec, shared, servers.stopped())?);
    }
    if let Some(spec) = settings.process.admin.on() {
        let server =
            Server::bind(spec.address).with_context(|| format!("the admin API cannot listen on {}", spec.address))?;
        servers.admin = Some(server.local_addr());
        let pages = AdminPages::new(Arc::new(Inspector::new(shared.clone())), server.local_addr());
        let all = shared.table.capacity().server_connections(MAX_CONNECTIONS);
        // All of them come from this machine.
        let server = server.with_limits(Limits { places: Places { all, of_source: all }, ..Limits::default() });
        observe::server(shared.metrics(), "admin", server.counts());
        tokio::spawn(server.serve(Arc::new(pages), servers.stopped()));
    }
    if let Some(spec) = &settings.process.admission {
        servers.webhook = Some(super::webhook::start(spec, &settings.folder, shared, &servers.stop).await?);
    }
    Ok(servers)
}

/// Starts telemetry, on a thread of its own: it answers when those that serve are all taken.
fn telemetry(
    spec: &TelemetrySpec,
    shared: &Arc<Shared>,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<SocketAddr> {
    let server = Server::bind(spec.address).with_context(|| format!("telemetry cannot listen on {}", spec.address))?;
    let address = server.local_addr();
    let all = shared.table.capacity().server_connections(MAX_CONNECTIONS);
    let places = Places { all, of_source: (all / OF_SOURCE).max(2) };
    let server = server.with_limits(Limits { places, ..Limits::default() });
    observe::server(shared.metrics(), "telemetry", server.counts());
    shared.telemetry.set_scraped();
    shared.vitals.set_stuck_after(spec.stuck_after.0);
    let pages = TelemetryPages::new(shared.metrics().clone(), shared.readiness.clone(), shared.vitals.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("telemetry")
        .max_blocking_threads(PAGE_THREADS)
        .build()
        .context("no runtime for telemetry")?;
    let thread = std::thread::Builder::new().name("telemetry".into());
    let serve = move || {
        let _within = Within::task("telemetry");
        runtime.block_on(server.serve(Arc::new(pages), stopped));
        // A page that is still being made concerns nobody any more.
        runtime.shutdown_background();
    };
    thread.spawn(serve).context("no thread for telemetry")?;
    Ok(address)
}

// === impl Servers ===

impl Servers {
    /// Ends them; what others wait for before they store an object is answered first.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(webhook) = &self.webhook {
            webhook.ended().await;
        }
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let webhook = self.webhook.as_ref().map(|webhook| webhook.address);
        [self.telemetry, self.admin, webhook].into_iter().flatten()
    }

    /// Tells when they end.
    pub(super) fn until_stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // A sender that is gone stops them too.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }
}
