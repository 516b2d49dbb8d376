//! Builds node trees from the events of the YAML library, within bounds.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};

use super::{Content, Entry, MAX_DEPTH, MAX_DOCUMENTS, MAX_EXPANDED_BYTES, MAX_NODES, Node, Piece, YamlError, scalar};
use crate::diagnostic::Position;

/// Keys of a mapping that are compared one by one.
const FEW_KEYS: usize = 16;
/// Faults of one piece that are kept.
const MAX_FAULTS: usize = 8;

/// Reads all documents as they stand; the first fault ends that.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut documents = Vec::new();
    Loader::default().read(text, &mut |piece| match piece.faults.into_iter().next() {
        Some(fault) => ControlFlow::Break(Err(fault)),
        None => {
            documents.push(piece.node);
            ControlFlow::Continue(())
        }
    })?;
    Ok(documents)
}

/// Reads documents, and of those that are lists each item by itself; see [`super::pieces`].
pub(super) fn pieces(text: &str, take: &mut Take<'_>) -> Result<(), YamlError> {
    Loader { splits: true, ..Loader::default() }.read(text, take)
}

/// What is done with a piece; whether the rest is wanted.
pub(super) type Take<'t> = dyn FnMut(Piece) -> ControlFlow<Result<(), YamlError>> + 't;

#[derive(Default)]
struct Loader {
    /// Whether items of lists are pieces of their own.
    splits: bool,
    /// Pieces that are complete.
    ready: Vec<Piece>,
    /// What is wrong with the piece that is being read, in the order of the text.
    faults: Vec<YamlError>,
    /// Documents and, in the one that is being read, items that are complete.
    documents: u32,
    items: u32,
    /// Collections that are not closed yet, outermost first.
    open: Vec<Open>,
    /// By anchor id; none while the anchored collection is open.
    anchors: HashMap<usize, Option<Anchored>>,
    /// Nodes of the piece that is being read.
    nodes: usize,
    /// What aliases have expanded to, in the whole text.
    expanded_nodes: usize,
    expanded_bytes: usize,
    /// Whether the document that is being read has a root.
    has_root: bool,
}

struct Open {
    anchor: usize,
    position: Position,
    content: OpenContent,
    /// Whether it stands where a key should.
    is_key: bool,
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
    /// Whether it was no scalar: its value is dropped.
    is_odd: bool,
}

struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
}

// === impl Loader ===

impl Loader {
    fn read(mut self, text: &str, take: &mut Take<'_>) -> Result<(), YamlError> {
        for event in Parser::new_from_str_with_options(text, Options::default()) {
            let (event, span) = event.map_err(|error| YamlError::new(error.info(), position(error.marker())))?;
            self.event(event, position(&span.start))?;
            for piece in self.ready.drain(..) {
                if let ControlFlow::Break(end) = take(piece) {
                    return end;
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, position: Position) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(..) => self.start_document(position),
            Event::DocumentEnd => {
                if !self.has_root {
                    self.emit(Node { position, content: Content::Scalar(Value::Null) });
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, position),
            Event::SequenceStart(_, anchor, tag) => {
                self.open(anchor, tag.as_deref(), position, OpenContent::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => self.open(anchor, tag.as_deref(), position, OpenContent::mapping()),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, position),
            _ => Ok(()),
        }
    }

    fn start_document(&mut self, position: Position) -> Result<(), YamlError> {
        if self.documents as usize >= MAX_DOCUMENTS {
            return Err(YamlError::new(format!("more than {MAX_DOCUMENTS} documents"), position));
        }
        self.anchors.clear();
        (self.has_root, self.items) = (false, 0);
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
        let is_plain = style == ScalarStyle::Plain;
        if let Some(key) = self.awaited_key() {
            *key = Some(Key { text: text.to_owned(), position, is_merge: is_plain && text == "<<", is_odd: false });
            return Ok(());
        }
        let value = match tag.as_deref().map(|tag| (tag.core_suffix(), tag)) {
            None if is_plain => scalar::resolve(text),
            None | Some((Some("str"), _)) => Value::String(text.to_owned()),
            Some((Some("null" | "bool" | "int" | "float"), _)) => scalar::resolve(text),
            Some((_, tag)) => {
                self.fault(unsupported(tag, position));
                Value::String(text.to_owned())
            }
        };
        self.count(1, position)?;
        self.finish(anchor, Node { position, content: Content::Scalar(value) })
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        position: Position,
        content: OpenContent,
    ) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::new(format!("nested deeper than {MAX_DEPTH} levels"), position));
        }
        let is_key = self.awaited_key().is_some();
        if is_key {
            self.fault(YamlError::new("a key must be a scalar", position));
        }
        if let Some(tag) = tag.filter(|tag| tag.core_suffix().is_none()) {
            self.fault(unsupported(tag, position));
        }
        self.count(1, position)?;
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { anchor, position, content, is_key });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        if open.is_key {
            self.odd_key(open.position);
            return Ok(());
        }
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
        if self.awaited_key().is_some() {
            self.fault(YamlError::new("a key must be written out, not an alias", position));
            self.odd_key(position);
            return Ok(());
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
        if self.is_item() {
            self.emit(node);
            return Ok(());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => {
                self.has_root = true;
                self.emit(node);
            }
            Some(OpenContent::Sequence(items)) => items.push(node),
            Some(OpenContent::Mapping { entries, keys, key, merged }) => match key.take() {
                Some(key) if key.is_merge => merged.push(node),
                Some(key) if !key.is_odd => {
                    if let Err(fault) = insert(key, node, entries, keys) {
                        self.fault(fault);
                    }
                }
                _ => {}
            },
        }
        Ok(())
    }

    /// Whether what is finished now is an item of a document that may be a list.
    fn is_item(&self) -> bool {
        let [Open { content: OpenContent::Mapping { entries, key: Some(key), .. }, .. }, items] = &*self.open else {
            return false;
        };
        let is_other = kind(entries).is_some_and(|kind| !kind.ends_with("List"));
        self.splits && key.text == "items" && matches!(items.content, OpenContent::Sequence(_)) && !is_other
    }

    /// Hands a piece over, with what is wrong with it.
    fn emit(&mut self, node: Node) {
        let root = self.open.first().map(|open| &open.content);
        let (item, list) = match root {
            Some(OpenContent::Mapping { entries, .. }) => (Some(self.items), list(entries)),
            _ => (None, None),
        };
        let first = self.faults.partition_point(|fault| fault.position < node.position);
        let first = if item.is_some() { first } else { 0 };
        let faults = self.faults.split_off(first);
        self.ready.push(Piece { document: self.documents, item, list, node, faults });
        match item {
            Some(_) => self.items += 1,
            None => self.documents += 1,
        }
        if self.splits {
            self.nodes = 0;
        }
    }

    /// The place of a key that must come next, if one must.
    fn awaited_key(&mut self) -> Option<&mut Option<Key>> {
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(OpenContent::Mapping { key: key @ None, .. }) => Some(key),
            _ => None,
        }
    }

    fn odd_key(&mut self, position: Position) {
        if let Some(key) = self.awaited_key() {
            *key = Some(Key { text: String::new(), position, is_merge: false, is_odd: true });
        }
    }

    /// Only the first counts: whoever mends it sees the next one.
    fn fault(&mut self, fault: YamlError) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn count(&mut self, nodes: usize, position: Position) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(too_many(position));
        }
        Ok(())
    }

    fn expand(&mut self, nodes: usize, bytes: usize, position: Position) -> Result<(), YamlError> {
        self.expanded_bytes += bytes;
        self.expanded_nodes += nodes;
        if self.expanded_bytes > MAX_EXPANDED_BYTES {
            let message = format!("aliases expand to more than {MAX_EXPANDED_BYTES} bytes");
            return Err(YamlError::new(message, position));
        }
        if self.expanded_nodes > MAX_NODES {
            return Err(too_many(position));
        }
        self.count(nodes, position)
    }
}

fn too_many(position: Position) -> YamlError {
    let message = format!("more than {MAX_NODES} values in one object, or aliases that expand to so many");
    YamlError::new(message, position).hint("split it into several files")
}

fn unsupported(tag: &Tag, position: Position) -> YamlError {
    YamlError::new(format!("the tag `{}` is not supported", tag.original()), position)
}

fn text<'e>(entries: &'e [Entry], key: &str) -> Option<&'e str> {
    entries.iter().find(|entry| entry.key == key)?.value.as_str()
}

fn kind(entries: &[Entry]) -> Option<&str> {
    text(entries, "kind")
}

/// What a list says about its items, as far as it has been read.
fn list(entries: &[Entry]) -> Option<(String, String)> {
    Some((text(entries, "apiVersion").unwrap_or_default().to_owned(), kind(entries)?.to_owned()))
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
