//! What a server says on a list or a watch.

use std::sync::Arc;

use super::fault::Failure;
use crate::resources::{Object, ObjectName, ObjectRef};

/// Numbers feeds, of all kinds.
pub(super) type FeedId = usize;

/// Event of a list and the watch after it, about objects `T` with names `N`.
#[derive(Debug)]
pub(super) enum WatchEvent<T, N> {
    /// A list begins.
    Init,
    /// It names this.
    InitApply(T),
    /// It has ended.
    InitDone,
    /// Something was added or changed.
    Apply(T),
    /// Something is gone.
    Delete(N),
    /// A list or a watch was refused or broke off; it is tried again.
    Failed(Failure),
}

/// Of objects.
pub(super) type ObjectEvent = WatchEvent<Decoded, ObjectRef>;
/// Of the versions of Secrets.
pub(super) type SecretEvent = WatchEvent<SecretVersion, ObjectName>;
/// Of the namespaces that a selector chooses.
pub(super) type NamespaceEvent = WatchEvent<String, String>;

/// A decoded object, or the name and error of an invalid one.
#[derive(Debug)]
pub(super) enum Decoded {
    Object(Object),
    Broken(ObjectRef, String),
}

/// A Secret, of which only the version is known.
#[derive(Debug)]
pub(super) struct SecretVersion {
    pub(super) name: ObjectName,
    pub(super) version: Arc<str>,
}
