//! What the admin API answers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::shared::Shared;
use crate::admin::{ExplainQuery, Inspect};
use crate::explain::{self, Question};

/// Admin API implementation over the live snapshot.
pub(super) struct Inspector {
    shared: Arc<Shared>,
    started: Instant,
}

// === impl Inspector ===

impl Inspector {
    /// Answers about these handles.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, started: Instant::now() }
    }
}

impl Inspect for Inspector {
    fn status(&self) -> Value {
        let snapshot = self.shared.snapshot.load();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": self.started.elapsed().as_secs(),
            "generation": snapshot.generation,
            "revision": self.shared.revision(),
            "ready": self.shared.readiness.is_ready(),
            "summary": super::counts::of_snapshot(&snapshot),
            "diagnostics": self.shared.report.load().diagnostics.len(),
        })
    }

    fn routes(&self) -> Value {
        json!(explain::routes(&self.shared.snapshot.load()))
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Value, String> {
        let fields: Vec<String> = query.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let from = query.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let question =
            Question::new(query.method.as_str(), &query.url, &fields, from).map_err(|error| error.to_string())?;
        Ok(json!(explain::explain(&self.shared.snapshot.load(), &question)))
    }

    fn upstreams(&self) -> Value {
        json!(explain::upstreams(self.shared.table.iter()))
    }

    fn certificates(&self) -> Value {
        json!(explain::certificates(&self.shared.snapshot.load()))
    }

    fn diagnostics(&self) -> Value {
        json!(self.shared.report.load().diagnostics)
    }

    fn snapshot(&self) -> Value {
        self.shared.snapshot.load().describe()
    }
}
