//! The servers that tell: telemetry and the admin API.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::inspect::Inspector;
use super::shared::Shared;
use super::webhook::Webhook;
use crate::admin::AdminPages;
use crate::settings::Settings;
use crate::telemetry::http::Server;
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

/// Binds and starts what the settings ask for.
///
/// # Errors
/// An address that cannot be bound.
pub(super) async fn start(settings: &Settings, shared: &Arc<Shared>) -> anyhow::Result<Servers> {
    let stop = watch::Sender::new(false);
    let mut servers = Servers { telemetry: None, admin: None, webhook: None, stop };
    if let Some(spec) = settings.process.telemetry.on() {
        let server =
            Server::bind(spec.address).await.with_context(|| format!("telemetry cannot listen on {}", spec.address))?;
        servers.telemetry = Some(server.local_addr());
        shared.telemetry.set_scraped();
        let pages = TelemetryPages::new(shared.metrics().clone(), shared.readiness.clone());
        tokio::spawn(server.serve(Arc::new(pages), servers.stopped()));
    }
    if let Some(spec) = settings.process.admin.on() {
        let server = Server::bind(spec.address)
            .await
            .with_context(|| format!("the admin API cannot listen on {}", spec.address))?;
        servers.admin = Some(server.local_addr());
        let pages = AdminPages::new(Arc::new(Inspector::new(shared.clone())), server.local_addr());
        tokio::spawn(server.serve(Arc::new(pages), servers.stopped()));
    }
    if let Some(spec) = &settings.process.admission {
        servers.webhook = Some(super::webhook::start(spec, &settings.folder, shared, &servers.stop).await?);
    }
    Ok(servers)
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
