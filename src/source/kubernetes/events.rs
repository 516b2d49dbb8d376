//! Tells on the objects themselves what there is to say about them, as `events.k8s.io/v1` Events.
//!
//! Only the leader writes. An event's name is made of what it says, so that the same finding is one event whoever
//! tells it and however often; it is told again only after it was gone for a while. A bucket of tokens bounds the
//! rate, and the queue is bounded too: what does not fit is told later, when it still holds.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Error};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::leader::{FIELD_MANAGER, Leadership};
use super::pace::Pace;
use super::write::Counts;
use crate::diagnostic::{Diagnostic, Severity};

/// What is told of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note {
    /// Kind of the object.
    pub kind: &'static str,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Reason code in CamelCase.
    pub reason: &'static str,
    /// The text, a line.
    pub text: String,
}

/// Everything there is to say now.
pub(super) type Findings = Arc<Vec<Diagnostic>>;

/// Writes events while it may; see [`EventWriter::run`].
pub(super) struct EventWriter {
    client: Client,
    instance: String,
    leadership: Leadership,
    pace: Pace,
    /// What was told, and when it was last found.
    told: BTreeMap<Note, Instant>,
    counts: Arc<Counts>,
}

const PER_SECOND: u32 = 5;
const BURST: u32 = 25;
/// A finding that was gone for so long is news when it comes back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(4);
/// What the API takes.
const MAX_TEXT: usize = 1024;
/// Findings told for one state of the input.
const MAX_NOTES: usize = 1000;
const CONTROLLER: &str = "tidegate.io/ingress-controller";

// === impl Note ===

impl Note {
    /// What a diagnostic says of its object; nothing, when that is no object of a cluster.
    pub fn of(diagnostic: &Diagnostic) -> Option<Self> {
        let origin = &diagnostic.origin;
        if origin.place.is_some() || resource(origin.kind).is_none() {
            return None;
        }
        let field = if origin.field.is_empty() { String::new() } else { format!("{}: ", origin.field) };
        let hint = diagnostic.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Some(Self {
            kind: origin.kind,
            namespace: Arc::clone(&origin.namespace),
            name: Arc::clone(&origin.name),
            is_warning: diagnostic.severity != Severity::Info,
            reason: diagnostic.code,
            text: shorten(format!("{field}{}{hint}", diagnostic.message)),
        })
    }

    /// Says that an Ingress is served as it is now written.
    pub fn live(namespace: &Arc<str>, name: &Arc<str>, generation: u64, elapsed: Duration) -> Self {
        Self {
            kind: "Ingress",
            namespace: Arc::clone(namespace),
            name: Arc::clone(name),
            is_warning: false,
            reason: "Live",
            text: format!("live in {} ms at generation {generation}", elapsed.as_millis()),
        }
    }
}

// === impl EventWriter ===

impl EventWriter {
    /// Prepares to write; `instance` names this process.
    pub(super) fn new(client: Client, instance: String, leadership: Leadership, counts: Arc<Counts>) -> Self {
        Self { client, instance, leadership, pace: Pace::new(PER_SECOND, BURST), told: BTreeMap::new(), counts }
    }

    /// Writes until `stop` turns true or nobody has anything to say any more.
    pub(super) async fn run(
        mut self,
        mut findings: watch::Receiver<Findings>,
        mut notes: mpsc::Receiver<Note>,
        mut stop: watch::Receiver<bool>,
    ) {
        let told = async {
            loop {
                tokio::select! {
                    changed = findings.changed() => match changed {
                        Ok(()) => self.tell_all(&mut findings).await,
                        Err(_) => return,
                    },
                    () = self.leadership.gained(), if !self.leadership.is_held() => {
                        self.tell_all(&mut findings).await;
                    }
                    Some(note) = notes.recv() => self.tell(note).await,
                }
            }
        };
        tokio::select! {
            () = told => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Tells what was not told yet, until something newer is there.
    async fn tell_all(&mut self, findings: &mut watch::Receiver<Findings>) {
        let now = Instant::now();
        let current = Arc::clone(&findings.borrow_and_update());
        let mut fresh = Vec::new();
        for note in current.iter().filter_map(Note::of) {
            match self.told.get_mut(&note) {
                Some(found) => *found = now,
                None if fresh.len() < MAX_NOTES => fresh.push(note),
                None => {}
            }
        }
        self.told.retain(|_, found| now.saturating_duration_since(*found) < FORGOTTEN_AFTER);
        for note in fresh {
            if findings.has_changed().unwrap_or(true) || !self.leadership.is_held() {
                return;
            }
            self.tell(note).await;
        }
    }

    async fn tell(&mut self, note: Note) {
        self.pace.wait().await;
        if !self.leadership.is_held() {
            return;
        }
        let object = format!("{}/{}/{}", note.kind, note.namespace, note.name);
        match timeout(PATIENCE, self.write(&note)).await {
            Ok(Ok(())) => drop(self.told.insert(note, Instant::now())),
            // An event is a courtesy: the same is in the log, the metrics and the admin API.
            Ok(Err(error)) => debug!(object, error = %error, "event not written"),
            Err(_) => debug!(object, error = "no answer", "event not written"),
        }
    }

    async fn write(&self, note: &Note) -> Result<(), Error> {
        let Some(regarding) = self.regarding(note).await? else { return Ok(()) };
        let namespace = if note.namespace.is_empty() { "default" } else { &note.namespace };
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let event = self.event(note, namespace, regarding);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &event).await {
            Ok(_) => {
                self.counts.events.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // The same was told before, by this replica or another.
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The object, with its uid: `kubectl describe` looks events up by it. `None`: it is gone.
    async fn regarding(&self, note: &Note) -> Result<Option<ObjectReference>, Error> {
        let Some(resource) = resource(note.kind) else { return Ok(None) };
        let api = match &*note.namespace {
            "" => Api::<DynamicObject>::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let Some(object) = api.get_metadata_opt(&note.name).await? else { return Ok(None) };
        Ok(Some(ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: object.metadata.namespace,
            name: object.metadata.name,
            uid: object.metadata.uid,
            resource_version: object.metadata.resource_version,
            field_path: None,
        }))
    }

    fn event(&self, note: &Note, namespace: &str, regarding: ObjectReference) -> Event {
        let name = event_name(note, regarding.uid.as_deref().unwrap_or_default());
        let metadata = ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        Event {
            metadata,
            event_time: Some(MicroTime(Timestamp::now())),
            type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason.to_owned()),
            action: Some("Configure".to_owned()),
            note: Some(note.text.clone()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// How the API names the kinds that findings are about.
fn resource(kind: &str) -> Option<ApiResource> {
    let (group, plural) = match kind {
        "Ingress" => ("networking.k8s.io", "ingresses"),
        "IngressClass" => ("networking.k8s.io", "ingressclasses"),
        "Service" => ("", "services"),
        _ => return None,
    };
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural))
}

/// The same for the same finding, in every replica.
fn event_name(note: &Note, uid: &str) -> String {
    // FNV-1a: the standard hasher may differ from build to build.
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    (note.kind, &*note.name, note.is_warning, note.reason, &note.text, uid).hash(&mut hasher);
    let name: String = note.name.chars().take(230).collect();
    format!("{}.{:016x}", name.trim_end_matches(['.', '-']), hasher.finish())
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
