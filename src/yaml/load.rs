//! Builds node trees from the events of the YAML library, within bounds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};

use super::{Content, Entry, MAX_DEPTH, MAX_DOCUMENTS, MAX_EXPANDED_BYTES, MAX_NODES, Node, YamlError, scalar};
use crate::diagnostic::Position;

/// Keys of a mapping that are compared one by one.
const FEW_KEYS: usize = 16;

/// Reads all documents.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut loader = Loader::default();
    for event in Parser::new_from_str_with_options(text, Options::default()) {
        let (event, span) = event.map_err(|error| YamlError::new(error.info(), position(error.marker())))?;
        loader.take(event, position(&span.start))?;
    }
    Ok(loader.documents)
}

#[derive(Default)]
struct Loader {
    documents: Vec<Node>,
    /// Collections that are not closed yet, outermost first.
    open: Vec<Open>,
    /// By anchor id; none while the anchored collection is open.
    anchors: HashMap<usize, Option<Anchored>>,
    nodes: usize,
    expanded_bytes: usize,
    /// Whether the document that is being read has a root.
    has_root: bool,
}

struct Open {
    anchor: usize,
    position: Position,
    content: OpenContent,
}

enum OpenContent {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, keys: Keys, key: Option<Key>, merged: Vec<Node> },
}

/// Keys of a mapping, once it has so many that looking at each would take long.
#[derive(Default)]
struct Keys {
    many: HashSet<String>,
}

struct Key {
    text: String,
    position: Position,
    is_merge: bool,
}

struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
}

// === impl Loader ===

impl Loader {
    fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(..) => self.start_document(position),
            Event::DocumentEnd => {
                if !self.has_root {
                    self.documents.push(Node { position, content: Content::Scalar(Value::Null) });
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, position),
            Event::SequenceStart(_, anchor, _) => self.open(anchor, position, OpenContent::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(anchor, position, OpenContent::mapping()),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, position),
            _ => Ok(()),
        }
    }

    fn start_document(&mut self, position: Position) -> Result<(), YamlError> {
        if self.documents.len() >= MAX_DOCUMENTS {
            return Err(YamlError::new(format!("more than {MAX_DOCUMENTS} documents"), position));
        }
        self.anchors.clear();
        self.has_root = false;
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        position: Position,
    ) -> Result<(), YamlError> {
        if let Some(OpenContent::Mapping { key: key @ None, .. }) = self.open.last_mut().map(|open| &mut open.content) {
            let is_merge = text == "<<" && style == ScalarStyle::Plain;
            *key = Some(Key { text: text.to_owned(), position, is_merge });
            return Ok(());
        }
        let is_plain = style == ScalarStyle::Plain;
        let value = match tag.as_deref().map(|tag| (tag.core_suffix(), tag)) {
            None if is_plain => scalar::resolve(text),
            None | Some((Some("str"), _)) => Value::String(text.to_owned()),
            Some((Some("null" | "bool" | "int" | "float"), _)) => scalar::resolve(text),
            Some((_, tag)) => {
                return Err(YamlError::new(format!("the tag `{}` is not supported", tag.original()), position));
            }
        };
        self.count(1, position)?;
        self.finish(anchor, Node { position, content: Content::Scalar(value) })
    }

    fn open(&mut self, anchor: usize, position: Position, content: OpenContent) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::new(format!("nested deeper than {MAX_DEPTH} levels"), position));
        }
        if let Some(OpenContent::Mapping { key: None, .. }) = self.open.last().map(|open| &open.content) {
            return Err(YamlError::new("a key must be a scalar", position));
        }
        self.count(1, position)?;
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { anchor, position, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.content {
            OpenContent::Sequence(items) => Content::Sequence(items),
            OpenContent::Mapping { mut entries, mut keys, merged, .. } => {
                for node in merged {
                    merge(node, &mut entries, &mut keys);
                }
                Content::Mapping(entries)
            }
        };
        self.finish(open.anchor, Node { position: open.position, content })
    }

    fn alias(&mut self, id: usize, position: Position) -> Result<(), YamlError> {
        if let Some(OpenContent::Mapping { key: None, .. }) = self.open.last().map(|open| &open.content) {
            return Err(YamlError::new("a key must be written out, not an alias", position));
        }
        let Some(Some(anchored)) = self.anchors.get(&id) else {
            return Err(YamlError::new("the alias is inside the value that it names", position));
        };
        let (nodes, bytes) = (anchored.nodes, anchored.bytes);
        // Counted before the copy is made: a bomb is refused without having been built.
        self.expand(nodes, bytes, position)?;
        let Some(Some(anchored)) = self.anchors.get(&id) else { return Ok(()) };
        let node = anchored.node.clone();
        self.finish(0, node)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, anchor: usize, node: Node) -> Result<(), YamlError> {
        if anchor != 0 {
            let (nodes, bytes) = weigh(&node);
            self.expand(nodes, bytes, node.position)?;
            self.anchors.insert(anchor, Some(Anchored { node: node.clone(), nodes, bytes }));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                self.has_root = true;
                self.documents.push(node);
                Ok(())
            }
            Some(OpenContent::Sequence(items)) => {
                items.push(node);
                Ok(())
            }
            Some(OpenContent::Mapping { entries, keys, key, merged }) => match key.take() {
                None => Err(YamlError::new("a key must be a scalar", node.position)),
                Some(key) if key.is_merge => {
                    merged.push(node);
                    Ok(())
                }
                Some(key) => insert(key, node, entries, keys),
            },
        }
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let error = YamlError::new(format!("more than {MAX_NODES} values, aliases expanded"), position);
            return Err(error.hint("split it into several files"));
        }
        Ok(())
    }

    fn expand(&mut self, nodes: usize, bytes: usize, position: Position) -> Result<(), YamlError> {
        self.expanded_bytes += bytes;
        if self.expanded_bytes > MAX_EXPANDED_BYTES {
            let message = format!("aliases expand to more than {MAX_EXPANDED_BYTES} bytes");
            return Err(YamlError::new(message, position));
        }
        self.count(nodes, position)
    }
}

impl OpenContent {
    fn mapping() -> Self {
        Self::Mapping { entries: Vec::new(), keys: Keys::default(), key: None, merged: Vec::new() }
    }
}

fn insert(key: Key, value: Node, entries: &mut Vec<Entry>, keys: &mut Keys) -> Result<(), YamlError> {
    if !keys.add(&key.text, entries) {
        let error = YamlError::new(format!("the key `{}` is there twice", key.text), key.position);
        return Err(error.hint("keep one of them"));
    }
    entries.push(Entry { key: key.text, position: key.position, value });
    Ok(())
}

/// `<<`: adds what the mapping does not have itself; a sequence of mappings one after the other.
fn merge(node: Node, entries: &mut Vec<Entry>, keys: &mut Keys) {
    match node.content {
        Content::Mapping(more) => {
            for entry in more {
                if keys.add(&entry.key, entries) {
                    entries.push(entry);
                }
            }
        }
        Content::Sequence(nodes) => nodes.into_iter().for_each(|node| merge(node, entries, keys)),
        Content::Scalar(_) => {}
    }
}

// === impl Keys ===

impl Keys {
    /// Adds a key that `entries` are about to get; says whether it is new.
    fn add(&mut self, key: &str, entries: &[Entry]) -> bool {
        if entries.len() < FEW_KEYS {
            return entries.iter().all(|entry| entry.key != key);
        }
        if self.many.is_empty() {
            self.many = entries.iter().map(|entry| entry.key.clone()).collect();
        }
        self.many.insert(key.to_owned())
    }
}

/// Number of nodes and bytes of text; the depth of `node` is bounded by [`MAX_DEPTH`] per expansion.
fn weigh(node: &Node) -> (usize, usize) {
    match &node.content {
        Content::Scalar(Value::String(text)) => (1, text.len()),
        Content::Scalar(_) => (1, 0),
        Content::Sequence(items) => sum(items.iter().map(weigh)),
        Content::Mapping(entries) => sum(entries.iter().map(|entry| {
            let (nodes, bytes) = weigh(&entry.value);
            (nodes, bytes + entry.key.len())
        })),
    }
}

fn sum(weights: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    weights.fold((1, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
}

/// The library counts lines from 1 and columns from 0.
fn position(marker: &Marker) -> Position {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}
