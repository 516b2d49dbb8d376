//! Tells on the objects themselves what there is to say about them, as `events.k8s.io/v1` Events.
//!
//! Only the leader writes. An event's name is made of what it says, so that the same finding is one event whoever
//! tells it and however often; it is told again only after it was gone for a while. A bucket of tokens bounds the
//! rate, for which namespaces have fair turns, and everything that waits or is remembered is bounded: what does not
//! fit is left out.

mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fnv::FnvHasher;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta};
use kube::core::GroupVersionKind;
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::call::params;
use super::counts::Counts;
use super::leader::Leadership;
use crate::capacity::may_take;
use crate::pace::Pace;
use crate::resources::note::Note;
use crate::resources::{Kind, Use};
use notes::{MAX_OF_NAMESPACE, in_turns};

pub(super) use notes::Notes;

/// Present findings, by object.
pub(crate) type Findings = Arc<Vec<Note>>;

/// Writes events while it may; see [`EventWriter::run`].
pub(super) struct EventWriter {
    client: Client,
    instance: String,
    leadership: Leadership,
    pace: Pace,
    /// Findings that were told, and when they were last found.
    told: BTreeMap<Note, Instant>,
    /// Writes in a row that failed.
    failures: u32,
    /// Writes that failed, by namespace.
    refused: BTreeMap<Arc<str>, u32>,
    /// Of which namespace the last finding was.
    last: Arc<str>,
    counts: Arc<Counts>,
}

const PER_SECOND: u32 = 5;
const BURST: u32 = 25;
/// A finding that was gone for so long is news when it comes back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(4);
/// What the API takes.
const MAX_INSTANCE: usize = 128;
/// Findings that are remembered as told, and so those that are told.
const MAX_TOLD: usize = 10_000;
/// Percent of the room for what is remembered that is free which no namespace gets.
const RESERVE: usize = 25;
/// Failures after which the other findings of a state that are of the same namespace are not tried any more.
const MAX_FAILURES: u32 = 5;
/// Failures in a row after which none of them are.
const MAX_FAILURES_IN_A_ROW: u32 = 20;
const CONTROLLER: &str = "tidegate.io/ingress-controller";

// === impl EventWriter ===

impl EventWriter {
    /// Prepares to write; `instance` names this process.
    pub(super) fn new(client: Client, instance: &str, leadership: Leadership, counts: Arc<Counts>) -> Self {
        let instance = instance.chars().take(MAX_INSTANCE).collect();
        let pace = Pace::new(PER_SECOND, BURST);
        Self {
            client,
            instance,
            leadership,
            pace,
            told: BTreeMap::new(),
            failures: 0,
            refused: BTreeMap::new(),
            last: Arc::default(),
            counts,
        }
    }

    /// Writes until `stop` turns true.
    pub(super) async fn run(
        mut self,
        mut findings: watch::Receiver<Findings>,
        notes: Arc<Notes>,
        mut stop: watch::Receiver<bool>,
    ) {
        let leadership = self.leadership.clone();
        let writing = async {
            loop {
                tokio::select! {
                    biased;
                    () = leadership.gained() => {}
                    // The leader hears the same, and tells it.
                    _ = notes.next() => continue,
                }
                leadership.while_held(self.lead(&mut findings, &notes)).await;
            }
        };
        tokio::select! {
            () = writing => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Writes, without end.
    async fn lead(&mut self, findings: &mut watch::Receiver<Findings>, notes: &Notes) {
        self.tell_all(findings, notes).await;
        loop {
            tokio::select! {
                Ok(()) = findings.changed() => self.tell_all(findings, notes).await,
                note = notes.next() => drop(self.tell(&note).await),
            }
        }
    }

    /// Tells what was not told yet, until something newer is there. Notes have every second turn.
    async fn tell_all(&mut self, findings: &mut watch::Receiver<Findings>, notes: &Notes) {
        let current = Arc::clone(&findings.borrow_and_update());
        let fresh = self.fresh(&current);
        self.failures = 0;
        self.refused.clear();
        for (index, note) in fresh.iter().enumerate() {
            // The newer state says it again, if it still holds.
            if findings.has_changed().unwrap_or(false) {
                return;
            }
            if self.failures >= MAX_FAILURES_IN_A_ROW {
                let left = fresh.len() - index;
                self.counts.events_dropped.fetch_add(left as u64, Ordering::Relaxed);
                return;
            }
            self.tell_finding(note).await;
            if let Some(note) = notes.take() {
                self.tell(&note).await;
            }
        }
    }

    async fn tell_finding(&mut self, note: &Note) {
        self.last = Arc::clone(&note.namespace);
        if self.refused.get(&note.namespace).is_some_and(|failures| *failures >= MAX_FAILURES) {
            Counts::add(&self.counts.events_dropped);
        } else if self.tell(note).await {
            self.told.insert(note.clone(), Instant::now());
        } else {
            *self.refused.entry(Arc::clone(&note.namespace)).or_default() += 1;
        }
    }

    /// What was not told yet, each once, in turns; what was told is remembered for as long as it is found, and a while
    /// longer.
    fn fresh(&mut self, findings: &[Note]) -> Vec<Note> {
        let now = Instant::now();
        let mut fresh: BTreeMap<Arc<str>, BTreeSet<Note>> = BTreeMap::new();
        for note in findings {
            if let Some(found) = self.told.get_mut(note) {
                *found = now;
                continue;
            }
            let of_namespace = fresh.entry(Arc::clone(&note.namespace)).or_default();
            if of_namespace.len() < MAX_OF_NAMESPACE {
                of_namespace.insert(note.clone());
            }
        }
        self.told.retain(|_, found| now.saturating_duration_since(*found) < FORGOTTEN_AFTER);
        let fresh = fresh.into_iter().map(|(namespace, notes)| (namespace, notes.into_iter().collect())).collect();
        self.remembered(in_turns(fresh, &self.last))
    }

    /// Those of the notes which can be remembered: others would be told again and again.
    fn remembered(&self, mut notes: Vec<Note>) -> Vec<Note> {
        let mut told: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for note in self.told.keys() {
            *told.entry(Arc::clone(&note.namespace)).or_default() += 1;
        }
        let mut left = MAX_TOLD.saturating_sub(self.told.len());
        notes.retain(|note| {
            let of_namespace = told.entry(Arc::clone(&note.namespace)).or_default();
            let has_room = left > 0 && may_take(*of_namespace, left, RESERVE);
            if has_room {
                *of_namespace += 1;
                left -= 1;
            }
            has_room
        });
        notes
    }

    /// Tells when the pace allows it; says whether it was told.
    async fn tell(&mut self, note: &Note) -> bool {
        self.pace.wait().await;
        let error = match timeout(PATIENCE, self.write(note)).await {
            Ok(Ok(())) => {
                self.failures = 0;
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no response".to_owned(),
        };
        // An event is a courtesy: the same is in the log, the metrics and the admin API.
        debug!(object = format!("{}/{}/{}", note.kind, note.namespace, note.name), error, "event not written");
        Counts::add(&self.counts.events_dropped);
        self.failures = self.failures.saturating_add(1);
        false
    }

    async fn write(&self, note: &Note) -> Result<(), Error> {
        let Some(regarding) = self.regarding(note).await? else { return Ok(()) };
        let namespace = if note.namespace.is_empty() { "default" } else { &note.namespace };
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let event = self.event(note, namespace, regarding);
        match api.create(&params(), &event).await {
            Ok(_) => {
                Counts::add(&self.counts.events);
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
    let (_, row) = Kind::rows().find(|(_, row)| row.name == kind && row.uses.contains(&Use::Events))?;
    let version = row.api_version().rsplit('/').next().unwrap_or_default();
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(row.group, version, kind), row.plural))
}

/// The same for the same finding, in every replica.
fn event_name(note: &Note, uid: &str) -> String {
    // The standard hasher may differ from build to build.
    let mut hasher = FnvHasher::default();
    (note.kind, &*note.name, note.is_warning, note.reason, &note.text, uid).hash(&mut hasher);
    let name: String = note.name.chars().take(230).collect();
    format!("{}.{:016x}", name.trim_end_matches(['.', '-']), hasher.finish())
}

#[cfg(test)]
mod tests;
