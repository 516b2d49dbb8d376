//! Reads YAML and JSON text into positioned documents, and typed values out of them.
//!
//! Takes bytes, gives [`Node`] trees in which every key and value knows its line and column, so that an error
//! can name field path and position. Everything is bounded: size, depth, nodes, expansion of aliases.
//! Scalars follow the core schema of YAML 1.2 (section 10.3): `y`, `n`, `on`, `off` are strings.
//! The only module that sees the YAML library; it must not know what documents mean.

mod load;
mod path;
mod scalar;
#[cfg(test)]
mod tests;
mod typed;

use std::ops::ControlFlow;

use serde_json::Value;

use crate::diagnostic::Position;
use crate::origin::Place;

pub(crate) use path::locate_in;
pub(crate) use typed::{FieldError, typed};

/// Largest conf file that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// Largest file of objects that is read, in bytes: of each only what is used is kept.
pub(crate) const MAX_OBJECT_BYTES: usize = 64 << 20;
/// Most nodes that a text, or one object of a file of objects, may have, aliases expanded.
pub(crate) const MAX_NODES: usize = 1_000_000;
/// Most bytes of scalars that aliases may expand to.
pub(crate) const MAX_EXPANDED_BYTES: usize = 16 << 20;
/// Deepest nesting.
pub(crate) const MAX_DEPTH: usize = 96;
/// Most documents in one text.
pub(crate) const MAX_DOCUMENTS: usize = 100_000;

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub content: Content,
}

/// Kind and value of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Null, boolean, number or string.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the text.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key, as text.
    pub key: String,
    /// Where the key begins.
    pub position: Position,
    /// The value.
    pub value: Node,
}

/// A document, or an item of one that is a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Number of the document.
    pub document: u32,
    /// Number of the item. The document of a list follows its items, without them.
    pub item: Option<u32>,
    /// Of an item: `apiVersion` and `kind` of the list, when they stand before it.
    pub list: Option<(String, String)>,
    /// What it says.
    pub node: Node,
    /// What is wrong with it and with nothing else: doubled keys, keys that are no scalars, foreign tags.
    pub faults: Vec<YamlError>,
}

/// Why a text is not YAML that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct YamlError {
    /// What is wrong, lower case, without full stop.
    pub message: String,
    /// Where.
    pub position: Position,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Writes a value as YAML.
///
/// # Errors
/// A value that YAML cannot express; JSON values are not like that.
pub(crate) fn to_string<T: serde::Serialize>(
    value: &T,
) -> Result<String, impl std::error::Error + Send + Sync + 'static + use<T>> {
    serde_saphyr::to_string(value)
}

/// Reads all documents of a text; empty documents count but are null.
///
/// # Errors
/// The first fault: size, encoding, syntax, or a bound.
pub(crate) fn documents(bytes: &[u8]) -> Result<Vec<Node>, YamlError> {
    if bytes.len() > MAX_BYTES {
        let error =
            YamlError::new(format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len()), Position::START);
        return Err(error.hint("split it into several files"));
    }
    load::documents(text(bytes)?)
}

/// Hands over each document of a file of objects, and of lists each item as soon as it is complete, so that memory
/// follows the largest object. `take` says whether the rest is wanted.
///
/// # Errors
/// What makes the whole text unreadable: size, encoding, syntax, or a bound; or what `take` ends with.
pub(crate) fn pieces(
    bytes: &[u8],
    mut take: impl FnMut(Piece) -> ControlFlow<Result<(), YamlError>>,
) -> Result<(), YamlError> {
    load::pieces(text(bytes)?, &mut take)
}

/// Finds a field of the object at `place`, or the deepest part of its path that exists.
///
/// Scalars are found at their value, mappings and sequences at their key.
pub(crate) fn locate(text: &str, place: &Place, field_path: &str) -> Option<Position> {
    let mut found = None;
    let read = pieces(text.as_bytes(), |piece| {
        if (piece.document, piece.item) != (place.document, place.item) {
            return ControlFlow::Continue(());
        }
        found = Some(locate_in(&piece.node, field_path));
        ControlFlow::Break(Ok(()))
    });
    read.ok().and(found)
}

/// Bytes as text, without byte order mark.
fn text(bytes: &[u8]) -> Result<&str, YamlError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        YamlError::new("the text is not UTF-8", Position::after(&good)).hint("save it in UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

// === impl Node ===

impl Node {
    /// The value of a key; none when this is no mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key; none when this is no mapping.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Keys and values; empty when this is no mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Items; none when this is no sequence.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.content {
            Content::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// One item; none when this is no sequence or shorter.
    pub(crate) fn item(&self, index: usize) -> Option<&Node> {
        self.items()?.get(index)
    }

    /// The text of a string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null, as an empty document is.
    pub(crate) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// The same value without positions.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Mapping(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

// === impl YamlError ===

impl YamlError {
    fn new(message: impl Into<String>, position: Position) -> Self {
        Self { message: message.into(), position, hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
