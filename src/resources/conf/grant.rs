//! Permissions to refer to objects of another namespace, as the conf writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Allows objects of other namespaces to refer to objects of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GrantSpec {
    /// Namespace of the objects that are referred to.
    pub namespace: String,
    /// Objects that may refer to them.
    pub from: Vec<GrantFrom>,
    /// Objects that may be referred to.
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GrantFrom {
    /// Their kind.
    pub kind: GrantFromKind,
    /// Their namespace.
    pub namespace: String,
}

/// Kinds that may refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantFromKind {
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GrantTo {
    /// Their kind.
    pub kind: GrantToKind,
    /// Their name. Default: all objects of the kind.
    #[serde(default)]
    pub name: Option<String>,
}

/// Kinds that may be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantToKind {
    /// `v1` Secret: in `auth-secret`.
    Secret,
}

// === impl GrantSpec ===

impl GrantSpec {
    /// Whether Ingresses of a namespace may refer to that Secret.
    pub fn allows(&self, from: &str, (namespace, name): (&str, &str)) -> bool {
        self.namespace == namespace
            && self.from.iter().any(|each| each.kind == GrantFromKind::Ingress && each.namespace == from)
            && self.to.iter().any(|each| {
                each.kind == GrantToKind::Secret && each.name.as_deref().is_none_or(|granted| granted == name)
            })
    }
}
