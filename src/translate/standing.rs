//! Who an object asks to serve it, and whether that is us. Every dialect says it in this form.

use crate::resources::status::Parent;

/// Status of an object as its dialect sees it, before merging.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Who is asked to serve it.
    pub parent: Parent,
    /// Whether that is us. Otherwise nobody knows whom it asks.
    pub is_ours: bool,
    /// `metadata.generation`; 0: there is none.
    pub generation: i64,
    /// Whether the object stands in a cluster, where its status can be written.
    pub is_of_cluster: bool,
    /// Whether it wants to be told when a change of it is live.
    pub reports_live: bool,
}
