//! What control plane, data plane and those who tell about them share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::admission::review::Base;
use crate::diagnostic::Diagnostic;
use crate::endpoint::Table;
use crate::pressure::Memory;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Published;
use crate::telemetry::server::Readiness;
use crate::telemetry::vitals::Vitals;
use crate::telemetry::{Metrics, Telemetry};

/// Handles that live as long as the process.
pub(crate) struct Shared {
    /// What requests read.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Endpoints under the snapshot's routes.
    pub(crate) table: Arc<Table>,
    /// Metrics and access log.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Whether traffic is welcome.
    pub(crate) readiness: Arc<Readiness>,
    /// Whether the tasks of the control plane are alive.
    pub(crate) vitals: Arc<Vitals>,
    /// How much memory there is for traffic.
    pub(crate) memory: Arc<Memory>,
    /// What the webhook reads Ingresses with.
    pub(crate) base: ArcSwap<Base>,
    /// What there is to say about the input.
    pub(crate) report: ArcSwap<Report>,
    /// Counts batches taken in.
    revision: watch::Sender<u64>,
}

/// Findings about the input that is live now.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Sorted, each once.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

// === impl Shared ===

impl Shared {
    /// Makes the handles around a snapshot without routes.
    pub(crate) fn new(empty: Snapshot, table: Arc<Table>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            snapshot: Arc::new(ArcSwap::from_pointee(empty)),
            table,
            telemetry,
            readiness: Arc::default(),
            vitals: Arc::default(),
            memory: Arc::default(),
            base: ArcSwap::default(),
            report: ArcSwap::default(),
            revision: watch::Sender::new(0),
        }
    }

    /// The numbers.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        self.telemetry.metrics()
    }

    /// Counts batches that were taken in.
    pub(crate) fn took(&self, batches: u64) {
        self.revision.send_modify(|revision| *revision += batches);
    }

    /// How many batches were taken in.
    pub(crate) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Resolves when more than `revision` batches were taken in.
    pub(crate) async fn after(&self, revision: u64) {
        let mut watch = self.revision.subscribe();
        // It cannot fail: the sender is in `self`.
        let _ = watch.wait_for(|now| *now > revision).await;
    }

    /// Tells the metrics what went live.
    pub(crate) fn observe_publish(
        &self,
        generation: u64,
        compile: Duration,
        propagation: Duration,
        found: &[Diagnostic],
    ) {
        let published = Published { generation, compile, propagation: Some(propagation), time: SystemTime::now() };
        self.metrics().published(&published);
        self.metrics().diagnostics(found);
    }
}
