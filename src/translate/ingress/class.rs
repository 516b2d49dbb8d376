//! Which Ingresses are ours: `spec.ingressClassName`, the legacy annotation, the default class.
//!
//! Source: Ingress v1 `spec.ingressClassName`, IngressClass v1 `spec.controller`.

use crate::resources::conf::IngressOptions;
use crate::resources::object::{Ingress, IngressClass};
use crate::resources::{ObjectName, Resources};

const LEGACY_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Whose an Ingress is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    Ours,
    Foreign,
    /// Its class does not exist.
    Unknown {
        class: String,
        field: String,
    },
}

/// Decides whose an Ingress is.
pub(crate) fn ownership(ingress: &Ingress, resources: &Resources, options: &IngressOptions) -> Ownership {
    let named = |class: &str, field: String| by_name(class, resources, options, field);
    if let Some(class) = ingress.class.as_deref() {
        return named(class, "spec.ingressClassName".to_owned());
    }
    let legacy = ingress.annotations.get(LEGACY_ANNOTATION).filter(|class| !class.is_empty());
    if let Some(class) = legacy {
        if class == options.class_name {
            return Ownership::Ours;
        }
        return named(class, format!("metadata.annotations[{LEGACY_ANNOTATION}]"));
    }
    let is_default = |class: &IngressClass| class.is_default && is_ours(class, options);
    let has_default = resources.ingress_classes.values().any(|class| is_default(&class.object));
    if has_default || options.watch_without_class { Ownership::Ours } else { Ownership::Foreign }
}

fn by_name(class: &str, resources: &Resources, options: &IngressOptions, field: String) -> Ownership {
    match resources.ingress_classes.get(&ObjectName::new("", class)) {
        Some(object) if is_ours(&object.object, options) => Ownership::Ours,
        Some(_) => Ownership::Foreign,
        // A folder of manifests often has no class objects.
        None if class == options.class_name => Ownership::Ours,
        None => Ownership::Unknown { class: class.to_owned(), field },
    }
}

fn is_ours(class: &IngressClass, options: &IngressOptions) -> bool {
    class.controller.as_ref().is_some_and(|ours| options.controllers.iter().any(|known| **known == **ours))
}
