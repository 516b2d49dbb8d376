//! Trees of the fields that kinds have: what is written elsewhere in a file means nothing.
//!
//! Names are those of the API (a test holds them against its types), without what nothing reads.

/// A field of the API and its subfields; of a list, those of its items.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    /// Empty: whatever it is.
    pub under: &'static [Field],
}

/// A field in which anything may stand.
pub(super) const fn any(name: &'static str) -> Field {
    Field { name, under: &[] }
}

/// A field in which only these may stand.
pub(super) const fn of(name: &'static str, under: &'static [Field]) -> Field {
    Field { name, under }
}

/// Fields that every object may have at its top.
pub(crate) const TOP: [&str; 3] = ["apiVersion", "kind", "status"];
/// Fields of `metadata`, which every object has.
pub(super) const METADATA: &[Field] = &[
    any("annotations"),
    any("creationTimestamp"),
    any("deletionGracePeriodSeconds"),
    any("deletionTimestamp"),
    any("finalizers"),
    any("generateName"),
    any("generation"),
    any("labels"),
    any("managedFields"),
    any("name"),
    any("namespace"),
    any("ownerReferences"),
    any("resourceVersion"),
    any("selfLink"),
    any("uid"),
    any("clusterName"),
];
