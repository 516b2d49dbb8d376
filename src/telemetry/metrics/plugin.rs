//! How long the hooks of plugins take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::family;
use super::histogram::{HOOKS, Histogram};

/// Phase of a request in which a plugin's hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its request hook.
    Request,
    /// Its waiting.
    Wait,
    /// Choosing where it goes.
    Route,
    /// What the upstream gets.
    UpstreamRequest,
    /// A piece of the request's body.
    RequestBody,
    /// The answer's head.
    Response,
    /// A piece of the answer's body.
    ResponseBody,
    /// The request's end.
    Log,
}

/// Times of one plugin instance, a histogram for each phase that it was ever in.
#[derive(Debug, Default)]
pub struct PluginTimes([OnceLock<Box<Histogram>>; Phase::ALL.len()]);

/// Gives every instance that serves, by name.
pub(crate) type PluginSource = Box<dyn Fn(&mut dyn FnMut(&str, &PluginTimes)) + Send + Sync>;

/// Plugin instances that are sampled at a scrape.
#[derive(Default)]
pub(super) struct Plugins(RwLock<Option<PluginSource>>);

pub(super) struct PluginCollector {
    plugins: Arc<Plugins>,
    description: Desc,
}

// === impl Phase ===

impl Phase {
    /// Every phase, in declared order.
    pub const ALL: [Self; 8] = [
        Self::Request,
        Self::Wait,
        Self::Route,
        Self::UpstreamRequest,
        Self::RequestBody,
        Self::Response,
        Self::ResponseBody,
        Self::Log,
    ];

    /// As it stands in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Wait => "wait",
            Self::Route => "route",
            Self::UpstreamRequest => "upstream_request",
            Self::RequestBody => "request_body",
            Self::Response => "response",
            Self::ResponseBody => "response_body",
            Self::Log => "log",
        }
    }
}

// === impl PluginTimes ===

impl PluginTimes {
    /// Notes one call of a hook. The first of a phase allocates its histogram.
    pub fn observe(&self, phase: Phase, took: Duration) {
        if let Some(histogram) = self.0.get(phase as usize) {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            histogram.get_or_init(|| Box::new(Histogram::new(&HOOKS))).observe(nanos);
        }
    }
}

// === impl Plugins ===

impl Plugins {
    pub(super) fn set(&self, source: PluginSource) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

// === impl PluginCollector ===

impl PluginCollector {
    pub(super) fn new(plugins: Arc<Plugins>) -> Result<Self, prometheus::Error> {
        Ok(Self { plugins, description: family::PLUGIN_DURATION.desc()? })
    }
}

impl Collector for PluginCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        // Prometheus refuses a scrape that has a series twice, so of two instances of one name the last is told.
        let mut series = BTreeMap::new();
        if let Some(source) = &*self.plugins.0.read().unwrap_or_else(PoisonError::into_inner) {
            source(&mut |name, times| {
                for (phase, histogram) in Phase::ALL.into_iter().zip(&times.0) {
                    let Some(collected) = histogram.get().and_then(|histogram| histogram.collect()) else { continue };
                    let mut metric = family::PLUGIN_DURATION.labelled(&[name, phase.as_str()]);
                    metric.set_histogram(collected);
                    series.insert((name.to_owned(), phase.as_str()), metric);
                }
            });
        }
        vec![family::PLUGIN_DURATION.with(series.into_values().collect())]
    }
}
