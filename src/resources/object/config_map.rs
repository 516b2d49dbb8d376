//! ConfigMap of the core.

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use crate::resources::row::{ApiKind, Caching, Feed, Row, Scope, Version};
use crate::resources::strings::Strings;

/// `v1` ConfigMap, of which nothing is read yet.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap;

// === impl ApiKind ===

impl ApiKind for core::ConfigMap {
    type Kept = ConfigMap;

    const ROW: &'static Row = &Row {
        name: "ConfigMap",
        group: "",
        plural: "configmaps",
        versions: &[Version::new("v1", None)],
        scope: Scope::Namespaced,
        feed: Feed::Files,
        is_optional: false,
        cache: Caching::Never,
        uses: &[],
        is_confidential: false,
    };

    fn keep(self, _: &mut Strings) -> ConfigMap {
        ConfigMap
    }
}
