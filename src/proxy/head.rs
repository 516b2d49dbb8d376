//! What may be edited of a request's head, however an engine keeps it.

use http::Uri;
use tidegate_plugin::Headers;

/// A request's head in the hands of an engine.
pub(crate) trait RequestHead: Headers {
    /// Puts a target in place of the one that it has.
    fn set_target(&mut self, target: Uri);
}
