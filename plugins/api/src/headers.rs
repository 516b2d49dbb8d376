//! Editing header fields without knowing who holds them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A set of header fields that a plugin may read and edit. Implemented by the proxy for its engine's
/// messages, and by [`HeaderMap`] for tests.
pub trait Headers: Send {
    /// The fields as they are.
    fn map(&self) -> &HeaderMap;
    /// Puts one field in place of all of its name.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a field, keeping others of its name.
    fn append(&mut self, name: HeaderName, value: HeaderValue);
    /// Removes all fields of a name.
    fn remove(&mut self, name: &HeaderName);
}

impl Headers for HeaderMap {
    fn map(&self) -> &HeaderMap {
        self
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        HeaderMap::append(self, name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}
