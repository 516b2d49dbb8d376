//! What sources tell of objects.

use crate::resources::object::{Object, ObjectRef};

/// One change of the input.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is there, new or changed.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectRef),
}

/// A batch of events that a source delivers at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which source: `files`, `conf`, `kubernetes`.
    pub source: &'static str,
    /// What changed.
    pub events: Vec<Event>,
    /// All that the source has to say about its input now; replaces what it said before.
    pub diagnostics: Vec<crate::diagnostic::Diagnostic>,
    /// When the source noticed the change.
    pub noticed: std::time::Instant,
    /// Whether the source has delivered everything that it had at start.
    pub is_complete: bool,
    /// The last demand for Secrets that is settled, for a source that fetches on demand; else 0.
    pub answered: u64,
}

// === impl Event ===

impl Event {
    /// Names the object that it is about.
    pub fn to_ref(&self) -> ObjectRef {
        match self {
            Self::Apply(object) => object.to_ref(),
            Self::Delete(name) => name.clone(),
        }
    }
}
