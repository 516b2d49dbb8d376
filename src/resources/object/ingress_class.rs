//! IngressClass of `networking.k8s.io`.

use std::sync::Arc;

use k8s_openapi::api::networking::v1 as networking;
use serde::{Deserialize, Serialize};

use super::parts::option;
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Row, Scope, Use, Version};
use crate::resources::strings::Strings;

/// `networking.k8s.io/v1` IngressClass.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressClass {
    /// `spec.controller`.
    pub controller: Option<Arc<str>>,
    /// Whether Ingresses without a class are of this one.
    pub is_default: bool,
}

/// Says whether Ingresses without a class are of this one.
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

const INGRESS_CLASS: &[Field] = &[
    of("metadata", METADATA),
    of(
        "spec",
        &[
            any("controller"),
            of("parameters", &[any("apiGroup"), any("kind"), any("name"), any("namespace"), any("scope")]),
        ],
    ),
];

// === impl ApiKind ===

impl ApiKind for networking::IngressClass {
    type Kept = IngressClass;

    const ROW: &'static Row = &Row {
        name: "IngressClass",
        group: "networking.k8s.io",
        plural: "ingressclasses",
        versions: &[
            Version::new("networking.k8s.io/v1", Some(INGRESS_CLASS)),
            Version::new("networking.k8s.io/v1beta1", Some(INGRESS_CLASS)),
        ],
        scope: Scope::Cluster,
        uses: &[Use::Events],
        ..Row::WATCHED
    };

    fn keep(self, strings: &mut Strings) -> IngressClass {
        let annotation = self.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CLASS_ANNOTATION));
        IngressClass {
            controller: option(self.spec.as_ref().and_then(|spec| spec.controller.as_deref()), strings),
            is_default: annotation.is_some_and(|value| value == "true"),
        }
    }
}
