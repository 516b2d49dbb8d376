//! Numbers in the Prometheus text format.
//!
//! One [`Metrics`] a process, with a registry of its own; it is handed down, nothing is global. The handle of a route
//! ([`RouteMetrics`]) is resolved when the snapshot is compiled, so that recording looks no label up, takes no lock
//! and allocates only when a combination of method, status and reason is first seen. What other stages count
//! themselves (connections, endpoints, certificates) is asked of them at scrape time through [`Metrics::observe`].
//! Labels come from configuration only: whatever clients send, the number of series stays bounded.
//!
//! Source: prometheus.io "Metric and label naming", "Exposition formats" (text format 0.0.4).

pub(crate) mod family;
mod histogram;
mod observed;
mod plugin;
mod process;
pub(super) mod route;
mod status_table;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::{Gauge, Histogram, HistogramOpts, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tidegate_plugin::RouteFacts;

pub(crate) use self::family::Sample;
pub(crate) use self::observed::{Emit, Source};
pub(crate) use self::plugin::{Phase, PluginSource, PluginTimes};
pub(crate) use self::route::RouteMetrics;

use self::observed::Observed;
use self::route::{RouteCollector, Routes};
use super::record::RequestRecord;
use crate::diagnostic::{Diagnostic, Severity};

/// Every number of the process.
pub struct Metrics {
    registry: Registry,
    routes: Arc<Routes>,
    unmatched: Arc<RouteMetrics>,
    observed: Arc<Observed>,
    plugins: Arc<plugin::Plugins>,
    config: ConfigMetrics,
}

/// A snapshot that went live.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Number of the snapshot.
    pub generation: u64,
    /// How long it took to compile.
    pub compile: Duration,
    /// From the source's event to the snapshot being live, when an event caused it.
    pub propagation: Option<Duration>,
    /// When it went live.
    pub time: SystemTime,
}

struct ConfigMetrics {
    generation: IntGauge,
    compile: Histogram,
    propagation: Histogram,
    diagnostics: IntGaugeVec,
    last_success: Gauge,
}

/// Seconds; compiling and propagation take from half a millisecond to some seconds.
const CONFIG_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Value of the label `route` for requests without a route; they have no `kind`.
const UNMATCHED: &str = "unmatched";

// === impl Metrics ===

impl Metrics {
    /// Makes all numbers, at zero.
    ///
    /// # Errors
    /// When two metrics have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let routes = Arc::new(Routes::default());
        let unmatched = routes.handle(&RouteFacts::new("", "", UNMATCHED));
        let observed = Arc::new(Observed::default());
        registry.register(Box::new(RouteCollector::new(Arc::clone(&routes))?))?;
        registry.register(Box::new(observed::ObservedCollector::new(Arc::clone(&observed))?))?;
        let plugins = Arc::new(plugin::Plugins::default());
        registry.register(Box::new(plugin::PluginCollector::new(Arc::clone(&plugins))?))?;
        let config = ConfigMetrics::register(&registry)?;
        observed.add(Box::new(process::sample));
        observed.add(Box::new(build_info));
        Ok(Self { registry, routes, unmatched, observed, plugins, config })
    }

    /// The handle of a route: the same one for equal labels (namespace, kind, route, service, path).
    ///
    /// The series live as long as any handle does. When the last snapshot that names the route is gone, they
    /// disappear; when the route comes back, they begin at zero, which Prometheus reads as a counter reset.
    pub fn route(&self, facts: &RouteFacts) -> Arc<RouteMetrics> {
        self.routes.handle(facts)
    }

    /// Adds what another stage counts; it is asked at each scrape, on the telemetry server's thread.
    pub fn observe(&self, source: Source) {
        self.observed.add(source);
    }

    /// Says where the times of plugins are; asked at each scrape.
    pub fn observe_plugins(&self, source: PluginSource) {
        self.plugins.set(source);
    }

    /// Counts a request.
    pub fn record(&self, record: &RequestRecord<'_>) {
        record.metrics.unwrap_or(&self.unmatched).record(record);
    }

    /// Notes that a snapshot is live.
    pub fn published(&self, published: &Published) {
        let unix = published.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config.generation.set(i64::try_from(published.generation).unwrap_or(i64::MAX));
        self.config.compile.observe(published.compile.as_secs_f64());
        self.config.last_success.set(unix.as_secs_f64());
        if let Some(propagation) = published.propagation {
            self.config.propagation.observe(propagation.as_secs_f64());
        }
    }

    /// Notes the diagnostics of the configuration as it now stands.
    pub fn diagnostics(&self, diagnostics: &[Diagnostic]) {
        for severity in [Severity::Info, Severity::Warning, Severity::Error] {
            let count = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.config.diagnostics.with_label_values(&[severity.as_str()]).set(count);
        }
    }

    /// Every family that there can be: name, help text and names of the labels, sorted by name.
    pub fn families(&self) -> Vec<Desc> {
        let own = family::OBSERVED.iter().chain(family::ROUTES).copied().chain([&family::PLUGIN_DURATION]);
        let mut all: Vec<Desc> = own.filter_map(|family| family.desc().ok()).collect();
        all.extend(self.config.collectors().into_iter().flat_map(Collector::desc).cloned());
        all.sort_by(|a, b| a.fq_name.cmp(&b.fq_name));
        all
    }

    /// Everything in the text format 0.0.4.
    ///
    /// # Errors
    /// When a family cannot be written; none of ours is like that.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn build_info(emit: Emit<'_>) {
    let revision = option_env!("TIDEGATE_REVISION").unwrap_or_default();
    emit(Sample { family: &family::BUILD_INFO, labels: &[env!("CARGO_PKG_VERSION"), revision], value: 1.0 });
}

// === impl ConfigMetrics ===

impl ConfigMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(CONFIG_BUCKETS.to_vec()))
        };
        let config = Self {
            generation: IntGauge::new("tidegate_config_generation", "Number of the snapshot that is live.")?,
            compile: histogram(
                "tidegate_config_compile_duration_seconds",
                "Time to compile the configuration into a snapshot, in seconds.",
            )?,
            propagation: histogram(
                "tidegate_config_propagation_seconds",
                "Time from a change in a source until it is live, in seconds.",
            )?,
            diagnostics: IntGaugeVec::new(
                Opts::new("tidegate_config_diagnostics", "Findings about the present configuration, by severity."),
                &["severity"],
            )?,
            last_success: Gauge::new(
                "tidegate_config_last_success_timestamp_seconds",
                "When a snapshot last went live, in seconds since 1970.",
            )?,
        };
        registry.register(Box::new(config.generation.clone()))?;
        registry.register(Box::new(config.compile.clone()))?;
        registry.register(Box::new(config.propagation.clone()))?;
        registry.register(Box::new(config.diagnostics.clone()))?;
        registry.register(Box::new(config.last_success.clone()))?;
        Ok(config)
    }

    fn collectors(&self) -> [&dyn Collector; 5] {
        [&self.generation, &self.compile, &self.propagation, &self.diagnostics, &self.last_success]
    }
}

#[cfg(test)]
mod tests;
