//! ConfigMap of the core.

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use crate::resources::row::{ApiKind, Row, Version};
use crate::resources::strings::Strings;

/// `v1` ConfigMap, of which nothing is read yet.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap;

// === impl ApiKind ===

impl ApiKind for core::ConfigMap {
    type Kept = ConfigMap;

    const ROW: &'static Row =
        &Row { name: "ConfigMap", plural: "configmaps", versions: &[Version::new("v1", None)], ..Row::FROM_FILES };

    fn keep(self, _: &mut Strings) -> ConfigMap {
        ConfigMap
    }
}
