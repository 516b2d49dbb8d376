//! Namespace of the core.

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use crate::resources::row::{ApiKind, Caching, Feed, Row, Scope, Version};
use crate::resources::strings::Strings;

/// `v1` Namespace, of which nothing is read yet.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace;

// === impl ApiKind ===

impl ApiKind for core::Namespace {
    type Kept = Namespace;

    const ROW: &'static Row = &Row {
        name: "Namespace",
        plural: "namespaces",
        versions: &[Version::new("v1", None)],
        scope: Scope::Cluster,
        feed: Feed::Selector,
        cache: Caching::Never,
        ..Row::WATCHED
    };

    fn keep(self, _: &mut Strings) -> Namespace {
        Namespace
    }
}
