//! Typed values out of nodes, with field path, position and nearest-name hint in errors.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Node, locate_in};
use crate::diagnostic::Position;
use crate::suggest;

/// Why a node is not of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FieldError {
    /// Path of the field from the node: `listeners[0].address`; may be empty.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub position: Position,
    /// What to do about it.
    pub hint: Option<String>,
    /// The name of a field that is not known here and resembles none that is.
    pub stray: Option<String>,
}

/// Reads a value of a type out of a node; `value` is the node as JSON, perhaps altered.
///
/// # Errors
/// The first field that does not fit.
pub(crate) fn typed<T: DeserializeOwned>(node: &Node, value: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        explain(node, path.trim_start_matches('.').trim_end_matches(['.', '?']), &error.into_inner().to_string())
    })
}

fn explain(node: &Node, path: &str, message: &str) -> FieldError {
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let variant = message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`'));
    let position = match unknown {
        // A name is wrong, so the caret belongs under the key and not under its value.
        Some((name, _)) => key_position(node, path, name).unwrap_or_else(|| locate_in(node, path)),
        None => locate_in(node, path),
    };
    let stray = unknown.filter(|(name, rest)| suggest::nearest(name, candidates(rest)).is_none());
    let hint = unknown.or(variant).and_then(|(name, rest)| suggestion(name, rest)).or_else(|| address_hint(message));
    FieldError {
        field: path.to_owned(),
        message: short(message).to_owned(),
        position,
        hint,
        stray: stray.map(|(name, _)| name.to_owned()),
    }
}

fn key_position(node: &Node, path: &str, name: &str) -> Option<Position> {
    let parent = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
    find(node, parent)?.entry(name).map(|entry| entry.position)
}

fn find<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
    path.split(['.', '[']).filter(|part| !part.is_empty()).try_fold(node, |node, part| match part.strip_suffix(']') {
        Some(index) => node.item(index.parse().ok()?),
        None => node.get(part),
    })
}

/// Serde's message names the candidates: ``expected one of `a`, `b` ``.
fn candidates(rest: &str) -> impl Iterator<Item = &str> {
    rest.split('`').skip(1).step_by(2)
}

fn suggestion(name: &str, rest: &str) -> Option<String> {
    suggest::did_you_mean(name, candidates(rest)).or_else(|| {
        let names = candidates(rest).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| format!("known here: {names}"))
    })
}

fn address_hint(message: &str) -> Option<String> {
    message.contains("socket address").then(|| "write it as IP:port, such as `127.0.0.1:8080`".to_owned())
}

/// Serde lists all candidates of a wrong name; the hint says it better.
fn short(message: &str) -> &str {
    if !message.starts_with("unknown ") {
        return message;
    }
    message.split_once(", expected").map_or(message, |(head, _)| head)
}
