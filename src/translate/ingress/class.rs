//! Which Ingresses are ours: `spec.ingressClassName`, the legacy annotation, the default class.
//!
//! Source: Ingress v1 `spec.ingressClassName`, IngressClass v1 `spec.controller`.

use crate::resources::conf::IngressOptions;
use crate::resources::object::{Ingress, IngressClass};
use crate::resources::{ObjectName, Resources};

const LEGACY_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Whether an Ingress is served by this controller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ownership<'a> {
    /// By the class of this name; `None`: it has no class.
    Ours {
        class: Option<&'a str>,
    },
    Foreign,
    /// Its class does not exist.
    Unknown {
        class: String,
        field: String,
    },
}

/// Decides whose an Ingress is.
pub(crate) fn ownership<'a>(ingress: &'a Ingress, resources: &'a Resources, options: &IngressOptions) -> Ownership<'a> {
    let named = |class: &'a str, field: String| by_name(class, resources, options, field);
    if let Some(class) = ingress.class.as_deref() {
        return named(class, "spec.ingressClassName".to_owned());
    }
    let legacy = ingress.annotations.get(LEGACY_ANNOTATION).filter(|class| !class.is_empty());
    if let Some(class) = legacy {
        if class == options.class_name {
            return Ownership::Ours { class: legacy };
        }
        return named(class, format!("metadata.annotations[{LEGACY_ANNOTATION}]"));
    }
    let is_default = |class: &IngressClass| class.is_default && is_ours(class, options);
    let default = resources.ingress_classes.values().find(|class| is_default(&class.object));
    match default.map(|class| &*class.origin.name) {
        None if !options.watch_without_class => Ownership::Foreign,
        class => Ownership::Ours { class },
    }
}

fn by_name<'a>(class: &'a str, resources: &Resources, options: &IngressOptions, field: String) -> Ownership<'a> {
    match resources.ingress_classes.get(&ObjectName::new("", class)) {
        Some(object) if is_ours(&object.object, options) => Ownership::Ours { class: Some(class) },
        Some(_) => Ownership::Foreign,
        // A folder of manifests often has no class objects.
        None if class == options.class_name => Ownership::Ours { class: Some(class) },
        None => Ownership::Unknown { class: class.to_owned(), field },
    }
}

fn is_ours(class: &IngressClass, options: &IngressOptions) -> bool {
    class.controller.as_ref().is_some_and(|ours| options.controllers.iter().any(|known| **known == **ours))
}
