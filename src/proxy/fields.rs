//! The engine's messages as plugins edit them.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use tidegate_plugin::Headers;

/// The fields of a request to an upstream.
pub(super) struct RequestFields<'a>(pub(super) &'a mut RequestHeader);

/// The fields of an answer.
pub(super) struct ResponseFields<'a>(pub(super) &'a mut ResponseHeader);

macro_rules! fields {
    ($($type:ident),+) => {$(
        impl Headers for $type<'_> {
            fn map(&self) -> &HeaderMap {
                &self.0.headers
            }

            // Name and value are checked already, so the engine has nothing to refuse but too many fields.
            fn set(&mut self, name: HeaderName, value: HeaderValue) {
                let _ = self.0.insert_header(name, value);
            }

            fn append(&mut self, name: HeaderName, value: HeaderValue) {
                let _ = self.0.append_header(name, value);
            }

            fn remove(&mut self, name: &HeaderName) {
                self.0.remove_header(name);
            }
        }
    )+};
}

fields!(RequestFields, ResponseFields);
