//! Kubernetes objects out of positioned YAML documents. Pure: text in, objects and diagnostics out.

mod legacy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::origin::{Origin, Place};
use crate::resources::{Kind, Object, ObjectRef, Strings};
use crate::yaml::{self, Node, YamlError};

/// What one file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Objects in the order of the text, each name once.
    pub(super) objects: BTreeMap<ObjectRef, Object>,
    /// Objects that are named but cannot be read.
    pub(super) broken: BTreeSet<ObjectRef>,
    /// What is to be said about them.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Kinds that nobody here knows, as `apiVersion kind`, and where the first one is.
    pub(super) unknown: BTreeMap<String, Place>,
}

/// Reads all objects of a file.
///
/// # Errors
/// The text is no YAML; single objects that are wrong lose only themselves.
pub(super) fn read(bytes: &[u8], file: &Arc<str>) -> Result<Content, YamlError> {
    let documents = yaml::documents(bytes)?;
    let mut reader = Reader { file, content: Content::default(), strings: Strings::default() };
    for (index, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        reader.take_document(document, u32::try_from(index).unwrap_or(u32::MAX));
    }
    Ok(reader.content)
}

/// Parts of an object that nothing reads: they are not even looked at.
const UNUSED_METADATA: [&str; 7] =
    ["managedFields", "ownerReferences", "resourceVersion", "generation", "selfLink", "finalizers", "generateName"];
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A file that is being read.
struct Reader<'f> {
    file: &'f Arc<str>,
    content: Content,
    strings: Strings,
}

// === impl Reader ===

impl Reader<'_> {
    fn take_document(&mut self, document: &Node, index: u32) {
        let file = self.file;
        let place = |node: &Node, item| Place { file: file.clone(), line: node.position.line, document: index, item };
        let Some(items) = document.get("items").filter(|_| is_list(document)) else {
            return self.take_object(document, place(document, None), None);
        };
        let list = document.get("kind").and_then(Node::as_str).and_then(|kind| kind.strip_suffix("List"));
        let inherited = list.filter(|kind| !kind.is_empty()).map(|kind| (api_version(document), kind));
        for (item, node) in items.items().unwrap_or_default().iter().enumerate() {
            self.take_object(node, place(node, u32::try_from(item).ok()), inherited);
        }
    }

    /// Takes one object in; `inherited` is what a typed list says about items that do not say it themselves.
    fn take_object(&mut self, node: &Node, place: Place, inherited: Option<(&str, &str)>) {
        let own = node.get("kind").and_then(Node::as_str).map(|kind| (api_version(node), kind));
        let Some((api_version, kind)) = own.or(inherited) else {
            let origin = Origin::new("", "", "", Some(place));
            let diagnostic =
                Diagnostic::error("InvalidObject", &origin, "the document has no `kind`").at(node.position);
            return self.content.diagnostics.push(diagnostic.hint("every object begins with `apiVersion` and `kind`"));
        };
        match Form::of(api_version, kind) {
            Some(form) => self.take_known(node, &form, api_version, place),
            None => {
                self.content.unknown.entry(format!("{api_version} {kind}").trim().to_owned()).or_insert(place);
            }
        }
    }

    fn take_known(&mut self, node: &Node, form: &Form, api_version: &str, place: Place) {
        let name = name_of(node, form.kind);
        let origin = name.origin(Some(place.clone()));
        if form.is_deprecated {
            let message = format!("{api_version} is served no more by Kubernetes; it is read as {}", form.api_version);
            let hint = format!("write `apiVersion: {}`", form.api_version);
            self.content
                .diagnostics
                .push(Diagnostic::warning("DeprecatedApiVersion", &origin.at("apiVersion"), message).hint(hint));
        }
        if name.name.name.is_empty() {
            let message = "the object has no `metadata.name`";
            let diagnostic = Diagnostic::error("InvalidObject", &origin.at("metadata.name"), message);
            return self
                .content
                .diagnostics
                .push(diagnostic.at(yaml::locate_in(node, "metadata")).hint("give it a name"));
        }
        if let Some(first) = self.content.objects.get(&name) {
            return self.content.diagnostics.push(duplicate(&origin, first));
        }
        match form.read(node, place, &mut self.strings) {
            Ok(object) => drop(self.content.objects.insert(name, object)),
            Err(fault) => {
                let diagnostic = Diagnostic::error("InvalidObject", &origin.at(fault.field), fault.message);
                self.content.diagnostics.push(Diagnostic { hint: fault.hint, ..diagnostic.at(fault.position) });
                self.content.broken.insert(name);
            }
        }
    }
}

/// Says that an object is left out for an earlier one.
pub(super) fn duplicate(origin: &Origin, first: &Object) -> Diagnostic {
    let place = first.place().map(|place| format!(" in {}:{}", place.file, place.line)).unwrap_or_default();
    let message = format!("{} is there already{place}, which is kept", origin.object());
    Diagnostic::error("DuplicateObject", origin, message).hint("delete one of them")
}

// === Form: which kinds are read, and how ===

/// How one kind in one API version is read.
struct Form {
    kind: Kind,
    /// The version that it is read as.
    api_version: &'static str,
    is_deprecated: bool,
}

impl Form {
    fn of(api_version: &str, kind: &str) -> Option<Self> {
        const NETWORKING: &str = "networking.k8s.io/v1";
        let (kind, target, is_deprecated) = match (api_version, kind) {
            (NETWORKING, "Ingress") => (Kind::Ingress, NETWORKING, false),
            ("networking.k8s.io/v1beta1" | "extensions/v1beta1", "Ingress") => (Kind::Ingress, NETWORKING, true),
            (NETWORKING, "IngressClass") => (Kind::IngressClass, NETWORKING, false),
            ("networking.k8s.io/v1beta1", "IngressClass") => (Kind::IngressClass, NETWORKING, true),
            ("discovery.k8s.io/v1", "EndpointSlice") => (Kind::EndpointSlice, "discovery.k8s.io/v1", false),
            ("discovery.k8s.io/v1beta1", "EndpointSlice") => (Kind::EndpointSlice, "discovery.k8s.io/v1", true),
            ("v1", "Service") => (Kind::Service, "v1", false),
            ("v1", "Endpoints") => (Kind::Endpoints, "v1", false),
            ("v1", "Secret") => (Kind::Secret, "v1", false),
            ("v1", "ConfigMap") => (Kind::ConfigMap, "v1", false),
            ("v1", "Namespace") => (Kind::Namespace, "v1", false),
            _ => return None,
        };
        Some(Self { kind, api_version: target, is_deprecated })
    }

    fn read(&self, node: &Node, place: Place, strings: &mut Strings) -> Result<Object, yaml::FieldError> {
        let mut value = node.to_json();
        trim(&mut value);
        if self.is_deprecated && self.kind == Kind::Ingress {
            legacy::convert(&mut value);
        }
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".to_owned(), self.api_version.into());
            fields.insert("kind".to_owned(), self.kind.as_str().into());
        }
        let place = Some(place);
        Ok(match self.kind {
            Kind::Ingress => Object::ingress(yaml::typed(node, value)?, place, strings),
            Kind::IngressClass => Object::ingress_class(yaml::typed(node, value)?, place, strings),
            Kind::Service => Object::service(yaml::typed(node, value)?, place, strings),
            Kind::EndpointSlice => Object::endpoint_slice(yaml::typed(node, value)?, place, strings),
            Kind::Endpoints => Object::endpoints(yaml::typed(node, value)?, place, strings),
            Kind::ConfigMap => Object::config_map(&yaml::typed(node, value)?, place, strings),
            Kind::Namespace => Object::namespace(&yaml::typed(node, value)?, place, strings),
            Kind::Secret | Kind::Conf => Object::secret(secret(node, value)?, place, strings),
        })
    }
}

fn secret(node: &Node, value: Value) -> Result<Secret, yaml::FieldError> {
    yaml::typed(node, value).map_err(|fault: yaml::FieldError| {
        // Serde quotes the value that does not fit, wherever it stands, and nobody may read it here.
        let (message, hint) = match fault.field.split('.').next() {
            Some("data") => ("the value is no base64 text", None),
            Some("stringData") => ("the value is no string", Some("put it in quotes".to_owned())),
            _ => ("the value is not of the type that this field has", None),
        };
        yaml::FieldError { message: message.to_owned(), hint, ..fault }
    })
}

fn trim(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.remove("status");
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else { return };
    UNUSED_METADATA.iter().for_each(|field| drop(metadata.remove(*field)));
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
}

fn is_list(node: &Node) -> bool {
    node.get("kind").and_then(Node::as_str).is_none_or(|kind| kind.ends_with("List"))
}

fn api_version(node: &Node) -> &str {
    node.get("apiVersion").and_then(Node::as_str).unwrap_or_default()
}

fn name_of(node: &Node, kind: Kind) -> ObjectRef {
    let metadata = |field: &str| node.get("metadata")?.get(field)?.as_str();
    let namespace = match kind {
        Kind::IngressClass | Kind::Namespace | Kind::Conf => "",
        _ => metadata("namespace").unwrap_or("default"),
    };
    ObjectRef::new(kind, namespace, metadata("name").unwrap_or_default())
}
