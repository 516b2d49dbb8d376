//! Where a piece of configuration came from.
//!
//! Every part of the model, every diagnostic and every line of `explain` carries an [`Origin`].
//! A leaf module: it knows nothing of sources, models or requests.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The object and field that a piece of configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Kind of the object: a Kubernetes kind, or `Conf` for the process's own file.
    pub kind: &'static str,
    /// Namespace; empty for cluster-scoped objects and conf.
    pub namespace: Arc<str>,
    /// Name of the object, or of the conf file.
    pub name: Arc<str>,
    /// Path of the field inside the object: `spec.rules[0].http.paths[1].path`; may be empty.
    pub field: Arc<str>,
    /// File and line, for objects that came from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A place in a file: enough to find the exact line of a field again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Path of the file as it was given or found.
    pub file: Arc<str>,
    /// Line of the object's first key, counted from 1.
    pub line: u32,
    /// Which YAML document of the file, counted from 0.
    pub document: u32,
    /// Which item, when the document is a `List`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

// === impl Origin ===

impl Origin {
    /// Makes the origin of a whole object.
    pub fn new(kind: &'static str, namespace: &str, name: &str, place: Option<Place>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into(), field: "".into(), place }
    }

    /// The same object, at a field.
    #[must_use]
    pub fn at(&self, field: impl Into<Arc<str>>) -> Self {
        Self { field: field.into(), ..self.clone() }
    }

    /// `Kind/namespace/name`, without field and place.
    pub fn object(&self) -> String {
        match (&*self.namespace, &*self.name) {
            ("", "") => self.kind.to_owned(),
            ("", name) => format!("{}/{name}", self.kind),
            (namespace, name) => format!("{}/{namespace}/{name}", self.kind),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The conf is named by its file; the line is that of its first key and would mislead.
        if self.kind == "Conf" && self.place.is_some() {
            let space = if self.field.is_empty() { "" } else { " " };
            return write!(f, "{}{space}{}", self.name, self.field);
        }
        f.write_str(&self.object())?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        if let Some(place) = &self.place {
            write!(f, " ({}:{})", place.file, place.line)?;
        }
        Ok(())
    }
}
