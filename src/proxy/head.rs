//! A request's head in an engine's hands, as far as it is edited.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tidegate_plugin::Headers;

/// A request's head, however an engine keeps it.
pub(crate) trait RequestHead: Headers {
    /// Puts a target in place of the one that it has.
    fn set_target(&mut self, target: Uri);
    /// Puts a method in place of the one that it has.
    fn set_method(&mut self, method: Method);
}

/// A head whose names have one spelling.
pub(crate) struct PlainHead<'a>(pub(crate) &'a mut Parts);

// === impl PlainHead ===

impl RequestHead for PlainHead<'_> {
    fn set_target(&mut self, target: Uri) {
        self.0.uri = target;
    }

    fn set_method(&mut self, method: Method) {
        self.0.method = method;
    }
}

impl Headers for PlainHead<'_> {
    fn map(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.headers.set(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        Headers::append(&mut self.0.headers, name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        Headers::remove(&mut self.0.headers, name);
    }
}
