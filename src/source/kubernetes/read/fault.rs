//! What is told of a server that does not do what it is asked.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::Kind;

/// Name of this source in batches, logs and metrics.
pub(crate) const NAME: &str = "kubernetes";

/// Why a list or a watch did not go on.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) cause: Cause,
}

/// Cause of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server will not do it: trying again helps when somebody changes its mind.
    Forbidden,
    /// The server does not know what is asked for.
    Missing,
    /// Anything else; it may succeed in a moment.
    Other,
}

/// What is said of a kind that cannot be listed.
pub(super) fn fault(kind: Kind, error: &str) -> Diagnostic {
    let message = format!("cannot be listed: {error}");
    Diagnostic::error(Code::SourceUnavailable, &Origin::new(kind.as_str(), "", "", None), message)
        .hint("the last good state stays in force; check that the ServiceAccount may list and watch them")
}
