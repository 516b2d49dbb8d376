//! The telemetry pages: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, StatusCode};

use super::http::{Page, Pages, Rendering};
use super::metrics::Metrics;
use super::vitals::Vitals;

/// Whether the process should get requests.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    is_loaded: AtomicBool,
    is_draining: AtomicBool,
}

/// Makes the telemetry pages.
#[derive(Debug)]
pub(crate) struct TelemetryPages {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    vitals: Arc<Vitals>,
}

// === impl Readiness ===

impl Readiness {
    /// The first complete configuration is live.
    pub(crate) fn set_loaded(&self) {
        self.is_loaded.store(true, Ordering::Release);
    }

    /// The process is about to stop; there is no way back.
    pub(crate) fn begin_drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether requests should be sent here.
    pub(crate) fn is_ready(&self) -> bool {
        self.obstacle().is_none()
    }

    /// Why not, when not.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        if self.is_draining.load(Ordering::Acquire) {
            Some("draining")
        } else if !self.is_loaded.load(Ordering::Acquire) {
            Some("no configuration loaded yet")
        } else {
            None
        }
    }
}

// === impl TelemetryPages ===

impl TelemetryPages {
    /// Shows these.
    pub(crate) fn new(metrics: Arc<Metrics>, readiness: Arc<Readiness>, vitals: Arc<Vitals>) -> Self {
        Self { metrics, readiness, vitals }
    }

    fn metrics(&self) -> Page {
        match self.metrics.render() {
            Ok(text) => Page::new(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be rendered");
                Page::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n")
            }
        }
    }

    fn health(&self) -> Page {
        let obstacles = self.vitals.obstacles();
        if obstacles.is_empty() {
            return Page::text(StatusCode::OK, "ok\n");
        }
        let told: String = obstacles.iter().map(|obstacle| format!("{obstacle}\n")).collect();
        Page::text(StatusCode::SERVICE_UNAVAILABLE, told)
    }

    fn ready(&self) -> Page {
        match self.readiness.obstacle() {
            None => Page::text(StatusCode::OK, "ready\n"),
            Some(obstacle) => Page::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {obstacle}\n")),
        }
    }
}

impl Pages for TelemetryPages {
    fn way(&self, request: &Request<()>) -> Rendering {
        match request.uri().path() {
            // All scrapes want the same.
            "/metrics" => Rendering::Shared,
            "/healthz" => Rendering::Now(self.health()),
            "/readyz" => Rendering::Now(self.ready()),
            _ => Rendering::Now(Page::text(StatusCode::NOT_FOUND, "not found: /metrics /healthz /readyz\n")),
        }
    }

    fn page(&self, _: &Request<()>) -> Page {
        self.metrics()
    }
}

#[cfg(test)]
mod tests;
