//! What is asked of the server, and which objects it is about.

use std::collections::{BTreeMap, VecDeque};

use http::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::store::{plural, text};

/// What is asked for.
#[derive(Clone)]
pub(super) struct Call {
    /// Empty: which kinds there are.
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// Whether only metadata is wanted.
    pub(super) is_partial: bool,
    pub(super) query: BTreeMap<String, String>,
}

// === impl Call ===

impl Call {
    pub(super) fn new(request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        // After `/api/v1` or `/apis/group/version`.
        let prefix = if uri.path().starts_with("/api/") { 3 } else { 4 };
        let mut segments: VecDeque<&str> = uri.path().split('/').skip(prefix).collect();
        let namespace = (segments.len() > 2 && segments[0] == "namespaces").then(|| segments[1].to_owned());
        if namespace.is_some() {
            segments.drain(..2);
        }
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let accept = request.headers().get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            plural: segments.front().copied().unwrap_or_default().to_owned(),
            namespace,
            name: segments.get(1).map(|&name| name.to_owned()),
            is_partial: accept.contains("PartialObjectMetadata"),
            query: pairs.map(|(key, value)| (key.to_owned(), value.replace("%3D", "="))).collect(),
        }
    }

    /// The version that a watch begins after.
    pub(super) fn version(&self) -> u64 {
        self.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    pub(super) fn is_for(&self, object: &Value) -> bool {
        self.is_about(object) && self.is_selected(object)
    }

    pub(super) fn is_about(&self, object: &Value) -> bool {
        let in_namespace = |namespace: &String| text(object, "/metadata/namespace") == *namespace;
        let has_name = |name: &String| text(object, "/metadata/name") == *name;
        plural(object) == self.plural
            && self.namespace.as_ref().is_none_or(in_namespace)
            && self.name.as_ref().is_none_or(has_name)
    }

    /// Whether it has the one label that is asked for, if one is.
    pub(super) fn is_selected(&self, object: &Value) -> bool {
        let Some((label, value)) = self.query.get("labelSelector").and_then(|text| text.split_once('=')) else {
            return true;
        };
        object["metadata"]["labels"][label] == *value
    }

    /// The object as it is told to whoever calls.
    pub(super) fn view(&self, object: &Value) -> Value {
        if !self.is_partial {
            return object.clone();
        }
        json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
    }
}
