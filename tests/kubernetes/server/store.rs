//! The objects of the server, their versions and their history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::prelude::{BASE64_STANDARD, Engine};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;

#[derive(Default)]
pub(super) struct State {
    pub(super) version: u64,
    /// Watches that begin before this version are answered 410.
    pub(super) oldest: u64,
    /// By plural, namespace and name.
    pub(super) objects: BTreeMap<(String, String, String), Value>,
    pub(super) history: Vec<(u64, &'static str, Value)>,
    pub(super) calls: Vec<String>,
    /// Answers to the next calls for these plurals.
    pub(super) faults: VecDeque<(&'static str, StatusCode)>,
    /// Answers to all calls for these plurals.
    pub(super) refused: BTreeMap<&'static str, StatusCode>,
    /// Calls for these plurals wait.
    pub(super) held: BTreeSet<&'static str>,
    /// Whether lists come in streams too.
    pub(super) streams: bool,
    /// Counts how often all watches were cut.
    pub(super) cuts: u64,
}

/// Kinds that are written.
const KINDS: [(&str, &str); 5] = [
    ("leases", "Lease"),
    ("ingresses", "Ingress"),
    ("events", "Event"),
    ("secrets", "Secret"),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
];

/// Kinds that may be asked for by name; one whose calls are answered 404 is not there.
const SERVED: [&str; 5] = ["ingresses", "ingressclasses", "services", "endpointslices", "secrets"];

// === impl State ===

impl State {
    pub(super) fn apply(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if let Some(Value::Object(texts)) = object.as_object_mut().unwrap().remove("stringData") {
            for (key, text) in texts {
                object["data"][key] = BASE64_STANDARD.encode(text.as_str().unwrap()).into();
            }
        }
        let was = self.objects.insert(key(&object), object.clone());
        let word = if was.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push((self.version, word, object));
    }

    /// POST, PUT with the version that was read, or a merge patch of the status.
    pub(super) fn write(&mut self, method: &Method, call: &Call, body: &Value) -> (StatusCode, Value) {
        let mut object = body.clone();
        object["metadata"]["namespace"] = call.namespace.clone().unwrap_or_default().into();
        let kind = KINDS.iter().find(|(plural, _)| *plural == call.plural).unwrap().1;
        object["kind"] = kind.into();
        if method == Method::POST {
            if self.objects.contains_key(&key(&object)) {
                return (StatusCode::CONFLICT, Value::Null);
            }
            self.apply(object.clone());
            return (StatusCode::CREATED, self.objects[&key(&object)].clone());
        }
        let Some(known) = self.objects.values().find(|object| call.is_for(object)).cloned() else {
            return (StatusCode::NOT_FOUND, Value::Null);
        };
        if method == Method::PUT && known["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return (StatusCode::CONFLICT, Value::Null);
        }
        if method == Method::PATCH {
            object = known;
            object["status"] = body["status"].clone();
        }
        self.apply(object.clone());
        (StatusCode::OK, self.objects[&key(&object)].clone())
    }

    pub(super) fn delete(&mut self, object: &Value) {
        let Some(mut object) = self.objects.remove(&key(object)) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, "DELETED", object));
    }

    /// The kinds that there are, whatever the group.
    pub(super) fn kinds(&self) -> Value {
        let is_there = |plural: &&&str| self.refused.get(**plural) != Some(&StatusCode::NOT_FOUND);
        let one =
            |plural: &&str| json!({ "name": plural, "singularName": "", "namespaced": true, "kind": "", "verbs": [] });
        let resources: Vec<Value> = SERVED.iter().filter(is_there).map(one).collect();
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": resources })
    }

    /// The next word of a watch after a version.
    pub(super) fn next(&self, from: u64, call: &Call) -> Option<(u64, Value)> {
        let (version, word, object) =
            self.history.iter().find(|(version, _, object)| *version > from && call.is_about(object))?;
        // What leaves the selection is told as gone.
        let word = if call.is_selected(object) { word } else { "DELETED" };
        Some((*version, json!({ "type": word, "object": call.view(object) })))
    }

    /// A list as the beginning of a watch.
    pub(super) fn initial(&self, call: &Call) -> VecDeque<Value> {
        let objects = self.objects.values().filter(|object| call.is_for(object));
        let end = json!({ "type": "BOOKMARK", "object": { "kind": "Bookmark", "apiVersion": "v1", "metadata": {
            "resourceVersion": self.version.to_string(), "annotations": { "k8s.io/initial-events-end": "true" } } } });
        objects.map(|object| json!({ "type": "ADDED", "object": call.view(object) })).chain([end]).collect()
    }

    /// A page: the `continue` token is the number of objects before it.
    pub(super) fn list(&self, call: &Call) -> Value {
        let number = |key: &str| call.query.get(key).and_then(|text| text.parse::<usize>().ok());
        let (before, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let all: Vec<&Value> = self.objects.values().filter(|object| call.is_for(object)).collect();
        let items: Vec<Value> = all.iter().skip(before).take(limit).map(|object| call.view(object)).collect();
        let end = before + items.len();
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let metadata = json!({ "resourceVersion": self.version.to_string(), "continue": next });
        json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items })
    }
}

pub(super) fn key(object: &Value) -> (String, String, String) {
    (plural(object), text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

pub(super) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn plural(object: &Value) -> String {
    let kind = text(object, "/kind").to_lowercase();
    let ending = if kind.ends_with('s') { "es" } else { "s" };
    kind + ending
}
