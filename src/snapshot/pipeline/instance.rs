//! One built plugin with what is counted about it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Hooks, Plugin, ReasonCode, Reply, Stage};

use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::telemetry::metrics::PluginTimes;

/// Whether a plugin's refusals hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its answers end requests.
    #[default]
    Enforce,
    /// Its answers are only counted; requests go on.
    Report,
}

/// A built plugin. Shared by all routes that name it; lives while its configuration is the same.
pub struct Instance {
    /// Name of the instance.
    pub name: Arc<str>,
    /// Which plugin.
    pub kind: Arc<str>,
    /// Where it stands.
    pub stage: Stage,
    /// Whether its refusals hold.
    pub mode: Mode,
    /// The hooks it wants, read once.
    pub hooks: Hooks,
    /// Upstreams of the conf that it may choose, read once.
    pub upstreams: Box<[Arc<str>]>,
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its configuration as written.
    pub config: serde_json::Value,
    /// Where it is defined.
    pub origin: Origin,
    /// What is wrong with its configuration although it could be built.
    pub findings: Box<[Diagnostic]>,
    /// How long its hooks take.
    pub times: PluginTimes,
    replies: AtomicU64,
    would_refuse: AtomicU64,
    panics: AtomicU64,
    broken: AtomicU64,
    /// Made by the first answer that has a reason.
    reasons: OnceLock<Box<Reasons>>,
}

/// Answers by reason. Those beyond the room are counted together.
#[derive(Default)]
struct Reasons {
    slots: [(OnceLock<ReasonCode>, AtomicU64); Reasons::ROOM],
    others: AtomicU64,
}

/// What was counted about an instance since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers of its own.
    pub replies: u64,
    /// Answers that did not hold because of [`Mode::Report`].
    pub would_refuse: u64,
    /// Panics.
    pub panics: u64,
    /// Answers turned into 500, because they would have skipped authentication.
    pub broken: u64,
}

/// What `explain` shows of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Name of the instance.
    pub name: Arc<str>,
    /// Which plugin.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Name of its stage.
    pub stage: &'static str,
    /// Whether its refusals hold.
    pub mode: Mode,
    /// Names of its hooks.
    pub hooks: Vec<&'static str>,
    /// Its configuration as written: secrets by reference.
    pub config: serde_json::Value,
    /// Where it is defined.
    pub origin: Origin,
}

const HOOK_NAMES: &[(Hooks, &str)] = &[
    (Hooks::REQUEST, "request"),
    (Hooks::ROUTE, "route"),
    (Hooks::UPSTREAM_REQUEST, "upstreamRequest"),
    (Hooks::REQUEST_BODY, "requestBody"),
    (Hooks::RESPONSE, "response"),
    (Hooks::RESPONSE_BODY, "responseBody"),
    (Hooks::LOG, "log"),
];

// === impl Mode ===

impl Mode {
    /// As configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
        }
    }
}

// === impl Instance ===

impl Instance {
    /// Wraps a built plugin; `kind` and configuration are set by [`Instance::configured`].
    pub fn new(name: &str, stage: Stage, mode: Mode, plugin: Arc<dyn Plugin>) -> Self {
        Self {
            name: name.into(),
            kind: name.into(),
            stage,
            mode,
            hooks: plugin.hooks(),
            upstreams: plugin.upstreams().into(),
            plugin,
            config: serde_json::Value::Null,
            origin: Origin::default(),
            findings: Box::default(),
            times: PluginTimes::default(),
            replies: AtomicU64::new(0),
            would_refuse: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            reasons: OnceLock::new(),
        }
    }

    /// Adds what it was built from.
    #[must_use]
    pub fn configured(mut self, kind: &Arc<str>, config: serde_json::Value, origin: &Origin) -> Self {
        self.kind = kind.clone();
        self.config = config;
        self.origin = origin.clone();
        self
    }

    /// Adds what is wrong with its configuration.
    #[must_use]
    pub fn with_findings(mut self, findings: Box<[Diagnostic]>) -> Self {
        self.findings = findings;
        self
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            replies: read(&self.replies),
            would_refuse: read(&self.would_refuse),
            panics: read(&self.panics),
            broken: read(&self.broken),
        }
    }

    /// What `explain` shows.
    pub fn describe(&self) -> Description {
        let wanted = HOOK_NAMES.iter().filter(|(hook, _)| self.hooks.contains(*hook));
        Description {
            name: self.name.clone(),
            kind: self.kind.clone(),
            stage: self.stage.as_str(),
            mode: self.mode,
            hooks: wanted.map(|(_, name)| *name).collect(),
            config: self.config.clone(),
            origin: self.origin.clone(),
        }
    }

    /// Answers by reason since it was built, as far as they had one.
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        self.reasons.get().map(|reasons| reasons.counted()).unwrap_or_default()
    }

    pub(super) fn count_reply(&self, reason: Option<ReasonCode>) {
        self.replies.fetch_add(1, Ordering::Relaxed);
        if let Some(reason) = reason {
            self.reasons.get_or_init(Box::default).count(reason);
        }
    }

    /// Notes an answer that does not hold.
    pub(super) fn would_refuse(&self, reply: &Reply) {
        self.count_would_refuse();
        let (status, reason) = (reply.status.as_u16(), reply.reason.map(ReasonCode::as_str));
        tracing::debug!(plugin = %self.name, status, reason, "plugin would refuse");
    }

    pub(super) fn count_would_refuse(&self) {
        self.would_refuse.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Reasons ===

impl Reasons {
    /// Reasons that are told apart.
    const ROOM: usize = 16;

    fn count(&self, reason: ReasonCode) {
        let is_its = |slot: &&(OnceLock<ReasonCode>, AtomicU64)| *slot.0.get_or_init(|| reason) == reason;
        let counter = self.slots.iter().find(is_its).map_or(&self.others, |(_, counter)| counter);
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let known = self.slots.iter().filter_map(|(reason, counter)| Some((reason.get()?.as_str(), read(counter))));
        let others = Some(("other", read(&self.others))).filter(|(_, count)| *count > 0);
        known.chain(others).collect()
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("name", &self.name).field("stage", &self.stage).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_beyond_the_room_are_counted_together() {
        let codes = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"];
        let codes = codes.map(ReasonCode::new);
        let reasons = Reasons::default();
        codes.iter().chain(&codes).for_each(|code| reasons.count(*code));
        let counted = reasons.counted();
        assert_eq!((counted.len(), counted[0], counted[16]), (17, ("a", 2), ("other", 4)));
    }
}
