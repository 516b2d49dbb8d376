//! Finds fields by their path: `spec.rules[0].http.paths[1]`, `metadata.annotations[a.b/c]`.

use super::{Content, Node};
use crate::diagnostic::Position;

/// Finds a field inside a node, or the deepest part of its path that exists.
pub(crate) fn locate_in(root: &Node, field_path: &str) -> Position {
    let mut node = root;
    let mut found = root.position;
    let mut rest = field_path;
    while let Some((child, position, tail)) = step(node, rest) {
        (node, found, rest) = (child, position, tail);
    }
    found
}

/// The child that the path's first part names, where it is, and the rest of the path.
fn step<'n, 'p>(node: &'n Node, path: &'p str) -> Option<(&'n Node, Position, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    match &node.content {
        Content::Scalar(_) => None,
        Content::Sequence(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((item, item.position, rest))
        }
        Content::Mapping(entries) => {
            // Keys may have dots themselves, so the longest key that fits is taken.
            let fits = |key: &str| after_key(path, key);
            let candidates = entries.iter().filter_map(|entry| Some((entry, fits(&entry.key)?)));
            let (entry, rest) = candidates.min_by_key(|(_, rest)| rest.len())?;
            let is_scalar = matches!(entry.value.content, Content::Scalar(_)) && !entry.value.is_null();
            let position = if is_scalar { entry.value.position } else { entry.position };
            Some((&entry.value, position, rest))
        }
    }
}

/// What follows a key written as `key`, `[key]`, `["key"]` or `['key']`.
fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    if let Some(rest) = path.strip_prefix(key).filter(|_| !key.is_empty()) {
        return (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest);
    }
    let bracketed = path.strip_prefix('[')?;
    let (open, close) = match bracketed.chars().next()? {
        '"' => ("\"", "\"]"),
        '\'' => ("'", "']"),
        _ => ("", "]"),
    };
    bracketed.strip_prefix(open)?.strip_prefix(key)?.strip_prefix(close)
}
