//! Kubernetes objects out of positioned YAML documents. Pure: text in, objects and diagnostics out.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::{Origin, Place};
use crate::resources::{Kind, Object, ObjectRef, Row, Strings, Tabled, Version, Visit};
use crate::yaml::{self, FieldError, Node, Piece, YamlError};

/// Content of one file.
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
/// The text is no YAML, or a list that was cut short; single objects that are wrong lose only themselves.
pub(super) fn read(bytes: &[u8], file: &Arc<str>) -> Result<Content, YamlError> {
    let mut reader = Reader { file, content: Content::default(), strings: Strings::default(), list: List::default() };
    yaml::pieces(bytes, |piece| match reader.take_piece(piece) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Err(error)),
    })?;
    Ok(reader.content)
}

/// Parts of an object that nothing reads: they are not even looked at.
const UNUSED_METADATA: [&str; 7] =
    ["managedFields", "ownerReferences", "resourceVersion", "generation", "selfLink", "finalizers", "generateName"];
/// Items of a list that may wait for its kind.
const MAX_UNNAMED: usize = 10_000;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A file that is being read.
struct Reader<'f> {
    file: &'f Arc<str>,
    content: Content,
    strings: Strings,
    list: List,
}

/// Items of a document that turns out to be a list, or not, at its end.
#[derive(Default)]
struct List {
    read: Vec<Taken>,
    /// Items that say no kind themselves, before the list has said it.
    unnamed: Vec<(Node, Place)>,
}

/// An object as it stands in the file.
struct FileObject<'n> {
    node: &'n Node,
    place: Place,
    faults: &'n [YamlError],
}

/// Result of reading one object.
enum Taken {
    Object(ObjectRef, Box<Object>),
    Broken(ObjectRef),
    Unknown(String, Place),
    Told(Diagnostic),
}

// === impl Reader ===

impl Reader<'_> {
    fn take_piece(&mut self, piece: Piece) -> Result<(), YamlError> {
        let Piece { document, item, list, node, faults } = piece;
        let place = Place { file: Arc::clone(self.file), line: node.position.line, document, item };
        if item.is_none() {
            return self.end_document(&node, place, &faults);
        }
        let inherited = list.as_ref().and_then(|(api_version, kind)| inherited(api_version, kind));
        if own_kind(&node).is_none() && inherited.is_none() && list.is_none() && faults.is_empty() {
            if self.list.unnamed.len() >= MAX_UNNAMED {
                let message = format!("more than {MAX_UNNAMED} items without `kind` before that of their list");
                return Err(YamlError { message, position: node.position, hint: None });
            }
            self.list.unnamed.push((node, place));
            return Ok(());
        }
        let mut taken = Vec::new();
        self.take_object(&FileObject { node: &node, place, faults: &faults }, inherited, &mut taken);
        self.list.read.append(&mut taken);
        Ok(())
    }

    /// A document that is an object, or the rest of one that is a list.
    fn end_document(&mut self, node: &Node, place: Place, faults: &[YamlError]) -> Result<(), YamlError> {
        let list = std::mem::take(&mut self.list);
        if node.is_null() && faults.is_empty() {
            return Ok(());
        }
        let is_list = node.get("items").is_some_and(|items| items.items().is_some() || items.is_null());
        let kind = node.get("kind").and_then(Node::as_str);
        let mut taken = Vec::new();
        match kind {
            None if is_list => {
                let message = "the list has no `kind`: the file is cut short";
                let hint = Some("kubectl writes it behind the last item".to_owned());
                return Err(YamlError { message: message.to_owned(), position: node.position, hint });
            }
            Some(kind) if is_list && kind.ends_with("List") => {
                let inherited = inherited(api_version(node), kind);
                taken = list.read;
                for (node, place) in &list.unnamed {
                    self.take_object(&FileObject { node, place: place.clone(), faults: &[] }, inherited, &mut taken);
                }
                taken.extend(
                    faults.first().map(|fault| Taken::Told(told(&Origin::new("", "", "", Some(place)), fault))),
                );
            }
            _ => self.take_object(&FileObject { node, place, faults }, None, &mut taken),
        }
        taken.into_iter().for_each(|it| self.keep(it));
        Ok(())
    }

    /// Takes one object in; `inherited` is what a typed list says about items that do not say it themselves.
    fn take_object(&mut self, given: &FileObject<'_>, inherited: Option<(&str, &str)>, taken: &mut Vec<Taken>) {
        let FileObject { node, place, .. } = given;
        let Some((api_version, kind)) = own_kind(node).or(inherited) else {
            let origin = Origin::new("", "", "", Some(place.clone()));
            let diagnostic =
                Diagnostic::error(Code::InvalidObject, &origin, "the document has no `kind`").at(node.position);
            return taken.push(Taken::Told(diagnostic.hint("every object begins with `apiVersion` and `kind`")));
        };
        match Kind::find(api_version, kind) {
            Some(known) => self.take_known(given, known, taken),
            None => taken.push(Taken::Unknown(format!("{api_version} {kind}").trim().to_owned(), place.clone())),
        }
    }

    fn take_known(
        &mut self,
        given: &FileObject<'_>,
        (kind, row, version): (Kind, &'static Row, &'static Version),
        taken: &mut Vec<Taken>,
    ) {
        let FileObject { node, place, faults } = given;
        let name = name_of(node, kind, row);
        let origin = name.origin(Some(place.clone()));
        if version.api_version != row.api_version() {
            let (old, new) = (version.api_version, row.api_version());
            let message = format!("{old} is served no more by Kubernetes; it is read as {new}");
            let diagnostic = Diagnostic::warning(Code::DeprecatedApiVersion, &origin.at("apiVersion"), message);
            taken.push(Taken::Told(diagnostic.hint(format!("write `apiVersion: {new}`"))));
        }
        if name.name.name.is_empty() {
            let message = "the object has no `metadata.name`";
            let diagnostic = Diagnostic::error(Code::InvalidObject, &origin.at("metadata.name"), message);
            let diagnostic = diagnostic.at(yaml::locate_in(node, "metadata")).hint("give it a name");
            return taken.push(Taken::Told(diagnostic));
        }
        if let Some(fault) = faults.first() {
            taken.push(Taken::Told(told(&origin, fault)));
            return taken.push(Taken::Broken(name));
        }
        taken.extend(fields::check(node, version, &origin).into_iter().map(Taken::Told));
        let reading = ReadNode { node, place: place.clone(), version, strings: &mut self.strings };
        match kind.visit(reading) {
            None => {}
            Some(Ok(object)) => taken.push(Taken::Object(name, Box::new(object))),
            Some(Err(fault)) => {
                let diagnostic = Diagnostic::error(Code::InvalidObject, &origin.at(fault.field), fault.message);
                taken.push(Taken::Told(Diagnostic { hint: fault.hint, ..diagnostic.at(fault.position) }));
                taken.push(Taken::Broken(name));
            }
        }
    }

    fn keep(&mut self, taken: Taken) {
        match taken {
            Taken::Object(name, object) => {
                if let Some(first) = self.content.objects.get(&name) {
                    let origin = name.origin(object.place().cloned());
                    return self.content.diagnostics.push(duplicate(&origin, first));
                }
                self.content.objects.insert(name, *object);
            }
            Taken::Broken(name) => drop(self.content.broken.insert(name)),
            Taken::Unknown(kind, place) => drop(self.content.unknown.entry(kind).or_insert(place)),
            Taken::Told(diagnostic) => self.content.diagnostics.push(diagnostic),
        }
    }
}

/// A fault of the text of one object: the others of the file are served.
fn told(origin: &Origin, fault: &YamlError) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::InvalidObject, origin, fault.message.clone()).at(fault.position);
    let hint = fault.hint.clone().unwrap_or_else(|| "mend it".to_owned());
    diagnostic.hint(format!("{hint}; the object is left out until then, the others of the file are served"))
}

/// What a typed list (`IngressList`) says about its items; a plain `List` says nothing.
fn inherited<'l>(api_version: &'l str, kind: &'l str) -> Option<(&'l str, &'l str)> {
    let kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty())?;
    Some((api_version, kind))
}

fn own_kind(node: &Node) -> Option<(&str, &str)> {
    node.get("kind").and_then(Node::as_str).map(|kind| (api_version(node), kind))
}

/// Says that an object is left out for an earlier one.
pub(super) fn duplicate(origin: &Origin, first: &Object) -> Diagnostic {
    let place = first.place().map(|place| format!(" in {}:{}", place.file, place.line)).unwrap_or_default();
    let message = format!("{} is there already{place}, which is kept", origin.object());
    Diagnostic::error(Code::DuplicateObject, origin, message).hint("delete one of them")
}

// === ReadNode ===

/// Reads an object of a known kind.
struct ReadNode<'n> {
    node: &'n Node,
    place: Place,
    version: &'static Version,
    strings: &'n mut Strings,
}

impl Visit for ReadNode<'_> {
    type Output = Result<Object, FieldError>;

    fn visit<K: Tabled>(self) -> Self::Output {
        let mut value = self.node.to_json();
        trim(&mut value);
        if let Some(prepare) = self.version.prepare {
            prepare(&mut value);
        }
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".to_owned(), K::ROW.api_version().into());
            fields.insert("kind".to_owned(), K::ROW.name.into());
        }
        let read = yaml::typed::<K>(self.node, value);
        let api = read.map_err(|fault| if K::ROW.is_confidential { concealed(fault) } else { fault })?;
        Ok(Object::of(api, Some(self.place), self.strings))
    }
}

/// Serde quotes the value that does not fit, wherever it stands, and nobody may read it here.
fn concealed(fault: FieldError) -> FieldError {
    let (message, hint) = match fault.field.split('.').next() {
        Some("data") => ("the value is no base64 text", None),
        Some("stringData") => ("the value is no string", Some("put it in quotes".to_owned())),
        _ => ("the value is not of the type that this field has", None),
    };
    FieldError { message: message.to_owned(), hint, ..fault }
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

fn api_version(node: &Node) -> &str {
    node.get("apiVersion").and_then(Node::as_str).unwrap_or_default()
}

fn name_of(node: &Node, kind: Kind, row: &Row) -> ObjectRef {
    let metadata = |field: &str| node.get("metadata")?.get(field)?.as_str();
    let namespace = if row.is_namespaced() { metadata("namespace").unwrap_or("default") } else { "" };
    ObjectRef::new(kind, namespace, metadata("name").unwrap_or_default())
}
