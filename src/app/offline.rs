//! Everything but serving: reads the input once and compiles it, for `check`, `routes` and `explain`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::control::Control;
use super::shared::Shared;
use super::sources::NOT_STARTED;
use super::{Builder, parts};
use crate::diagnostic::Diagnostic;
use crate::explain::{self, Explanation, Question, RouteRow};
use crate::resources::Batch;
use crate::settings::{KubernetesSpec, Settings};
use crate::source::kubernetes::{self, Demand};
use crate::telemetry::vitals::Vitals;

/// A configuration that was read, translated and compiled, but is not served.
pub(crate) struct Offline {
    shared: Arc<Shared>,
    file: PathBuf,
    /// Everything there is to say about the input.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads a cluster once.
struct ClusterReader {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    inbox: mpsc::Receiver<Batch>,
}

/// How long a cluster may take.
const PATIENCE: Duration = Duration::from_secs(60);

// === impl ClusterReader ===

impl ClusterReader {
    fn start(spec: &KubernetesSpec, settings: &Settings) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, inbox) = mpsc::channel(1);
        let cluster = runtime.block_on(Cluster::follow(spec, settings, sender, &Vitals::default()))?;
        Ok(Self { runtime, cluster, inbox })
    }

    fn demand(&self) -> Demand {
        self.cluster.demand.clone()
    }

    /// Takes in what the cluster says until there is nothing to wait for; what it says of faults is a diagnostic.
    fn read(mut self, control: &mut Control) {
        let until = Instant::now() + PATIENCE;
        while !control.is_live() {
            let left = until.saturating_duration_since(Instant::now());
            let next = self.runtime.block_on(async { tokio::time::timeout(left, self.inbox.recv()).await });
            let Ok(Some(batch)) = next else { return };
            let is_refused = !batch.is_complete && !batch.diagnostics.is_empty();
            control.take(vec![batch]);
            // Whoever looks once does not wait until somebody mends it.
            if is_refused {
                return;
            }
        }
    }
}

// === impl Offline ===

impl Offline {
    /// Reads a conf file and its sources.
    ///
    /// # Errors
    /// The diagnostics of a conf file that cannot be used.
    pub(crate) fn load(builder: &Builder, conf: Option<&Path>) -> Result<Self, Vec<Diagnostic>> {
        let settings = super::settings(conf)?;
        let (compiler, shared) = parts(builder, &settings).map_err(|error| vec![super::internal(&error)])?;
        let batches = super::sources::read_once(&settings);
        let mut names: Vec<_> = batches.iter().map(|batch| batch.source).collect();
        let cluster = settings.process.sources.kubernetes.as_ref().map(|spec| ClusterReader::start(spec, &settings));
        let cluster = cluster.transpose().map_err(|error| vec![super::internal(&error)])?;
        names.extend(cluster.as_ref().map(|_| kubernetes::NAME));
        let demand = cluster.as_ref().map(ClusterReader::demand);
        let mut control = Control::new(compiler, shared.clone(), names).with_demand(demand);
        control.take(batches);
        if let Some(cluster) = cluster {
            cluster.read(&mut control);
        }
        Ok(Self { diagnostics: control.diagnostics(), shared, file: settings.file })
    }

    /// The routing table.
    pub(crate) fn routes(&self) -> Vec<RouteRow> {
        explain::routes(&self.shared.snapshot.load())
    }

    /// Where a request would go.
    pub(crate) fn explain(&self, question: &Question) -> Explanation {
        let mut it = explain::explain(&self.shared.snapshot.load(), question);
        // Nobody serves the built-in upstreams now, so they have no address.
        let texts =
            it.upstreams.iter_mut().flat_map(|upstream| upstream.endpoints.iter_mut().chain(&mut upstream.next));
        for text in texts.chain([&mut it.response]) {
            if let Some((before, after)) = text.split_once(NOT_STARTED)
                && !after.starts_with(|next: char| next.is_ascii_digit())
            {
                *text = format!("{before}(built in, has a port when it runs){after}");
            }
        }
        it
    }

    /// What was read, in one line.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.file.display(), super::counts::of_snapshot(&self.shared.snapshot.load()))
    }
}
