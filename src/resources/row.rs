//! What the table of kinds says of one.
//!
//! Whoever walks the table finds here all that differs from kind to kind. It must not know which kinds there are.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::resources::fields::Field;
use crate::resources::strings::Strings;

/// Row of the table of kinds.
#[derive(Debug)]
pub(crate) struct Row {
    /// Name as Kubernetes writes it.
    pub name: &'static str,
    /// Group of the API; empty for the core.
    pub group: &'static str,
    /// Name in paths and in rights.
    pub plural: &'static str,
    /// Versions that are read. A server is asked for the first; the others stand in files only.
    pub versions: &'static [Version],
    /// Where objects are.
    pub scope: Scope,
    /// How a server's objects are followed.
    pub feed: Feed,
    /// Whether a server may not know it, or not yet: then it is followed once it is there, and holds up nothing.
    pub is_optional: bool,
    /// Whether the last good state keeps it.
    pub cache: Caching,
    /// What single objects are needed for.
    pub uses: &'static [Use],
    /// Whether a value of it may never be shown.
    pub is_confidential: bool,
}

/// A version of a kind in files.
#[derive(Debug)]
pub(crate) struct Version {
    /// `apiVersion`, with the group.
    pub api_version: &'static str,
    /// Fields that it has; `None`: they are not looked at.
    pub fields: Option<&'static [Field]>,
    /// Brings what is written into the form of the first version, as an API server would.
    pub prepare: Option<fn(&mut Value)>,
    /// Fields of other versions, and what is to be said to whoever writes them in this one.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// Where objects of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In namespaces.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// How objects of a kind are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Whole.
    Objects,
    /// Names and versions are followed; contents are fetched of those that something refers to.
    OnDemand,
    /// Names only, where labels choose the namespaces.
    Selector,
    /// Not at all: it is read from files only.
    Files,
}

/// Whether the last good state keeps a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// It does.
    Always,
    /// It does if the conf says so.
    WithSecrets,
    /// It does not.
    Never,
}

/// Purpose for which single objects of a kind are read or written, besides watching them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Events are told of them.
    Events,
    /// Their status is written.
    Status,
    /// Their addresses may be those that are told in statuses.
    Published,
    /// Their contents.
    Contents,
}

/// A type of the API that is read.
pub(crate) trait ApiKind:
    kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// The trimmed type: the parts that are kept.
    type Kept: Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What the table says of it.
    const ROW: &'static Row;

    /// Keeps what is read of it.
    fn keep(self, strings: &mut Strings) -> Self::Kept;
}

// === impl Row ===

impl Row {
    /// What most kinds have in common: whole objects of namespaces are watched and cached.
    pub(super) const WATCHED: Self = Self {
        name: "",
        group: "",
        plural: "",
        versions: &[],
        scope: Scope::Namespaced,
        feed: Feed::Objects,
        is_optional: false,
        cache: Caching::Always,
        uses: &[],
        is_confidential: false,
    };
    /// The same of kinds that are read from files only.
    pub(super) const FROM_FILES: Self = Self { feed: Feed::Files, cache: Caching::Never, ..Self::WATCHED };

    /// `apiVersion` of objects of a server.
    pub(crate) fn api_version(&self) -> &'static str {
        self.versions.first().map(|version| version.api_version).unwrap_or_default()
    }

    /// Whether objects are in namespaces.
    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

// === impl Version ===

impl Version {
    /// A version whose objects are taken as they are.
    pub(super) const fn new(api_version: &'static str, fields: Option<&'static [Field]>) -> Self {
        Self { api_version, fields, prepare: None, renamed: &[] }
    }

    /// The same, whose objects are prepared before they are read.
    pub(super) const fn prepared(self, prepare: fn(&mut Value)) -> Self {
        Self { prepare: Some(prepare), ..self }
    }

    /// The same, with what is to be said of fields of other versions.
    pub(super) const fn renaming(self, renamed: &'static [(&'static str, &'static str)]) -> Self {
        Self { renamed, ..self }
    }
}
