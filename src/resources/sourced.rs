//! Objects with the place that they were read from.

use std::sync::Arc;

use crate::origin::{ObjectOrigin, Origin};

/// An object with its name and the place that it was read from.
#[derive(Debug, PartialEq)]
pub struct Sourced<T> {
    /// The object.
    pub object: Arc<T>,
    /// Its kind and name; file and line, when it came from a file. Everything made of the object shares it.
    pub origin: Arc<ObjectOrigin>,
}

// === impl Sourced ===

impl<T> Sourced<T> {
    /// The origin of the whole object.
    pub fn origin(&self) -> Origin {
        Arc::clone(&self.origin).into()
    }
}

impl<T> Clone for Sourced<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), origin: Arc::clone(&self.origin) }
    }
}
