//! Where a piece of configuration came from.
//!
//! Every part of the model, every diagnostic and every line of `explain` carries an [`Origin`].
//! A leaf module: it knows nothing of sources, models or requests.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The object and field that a piece of configuration was read from.
///
/// Small, since every piece has one: all pieces of an object share what is known of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    object: Arc<ObjectOrigin>,
    /// Path of the field inside the object: `spec.rules[0].http.paths[1].path`; may be empty.
    pub field: Arc<str>,
}

/// The object that a piece of configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectOrigin {
    /// Kind of the object: a Kubernetes kind, or `Conf` for the process's own file.
    pub kind: &'static str,
    /// Namespace; empty for cluster-scoped objects and conf.
    pub namespace: Arc<str>,
    /// Name of the object, or of the conf file.
    pub name: Arc<str>,
    /// File and line, for objects that came from a file.
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

// === impl ObjectOrigin ===

impl ObjectOrigin {
    /// Whether it came from a cluster, where others than the operator write; files are the operator's own.
    pub fn is_of_cluster(&self) -> bool {
        self.place.is_none()
    }
}

// === impl Origin ===

impl Origin {
    /// Makes the origin of a whole object.
    pub fn new(kind: &'static str, namespace: &str, name: &str, place: Option<Place>) -> Self {
        ObjectOrigin { kind, namespace: namespace.into(), name: name.into(), place }.into()
    }

    /// The same object, at a field.
    #[must_use]
    pub fn at(&self, field: impl Into<Arc<str>>) -> Self {
        Self { object: Arc::clone(&self.object), field: field.into() }
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

impl From<ObjectOrigin> for Origin {
    fn from(object: ObjectOrigin) -> Self {
        Arc::new(object).into()
    }
}

impl From<Arc<ObjectOrigin>> for Origin {
    fn from(object: Arc<ObjectOrigin>) -> Self {
        Self { object, field: Arc::default() }
    }
}

impl Deref for Origin {
    type Target = ObjectOrigin;

    fn deref(&self) -> &ObjectOrigin {
        &self.object
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let len = 4 + usize::from(self.place.is_some());
        let mut fields = serializer.serialize_struct("Origin", len)?;
        fields.serialize_field("kind", self.kind)?;
        fields.serialize_field("namespace", &self.namespace)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("field", &self.field)?;
        match &self.place {
            Some(place) => fields.serialize_field("place", place)?,
            None => fields.skip_field("place")?,
        }
        fields.end()
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
