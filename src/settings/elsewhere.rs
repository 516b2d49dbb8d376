//! Where a field belongs that stands in the wrong section of the conf file.
//!
//! Takes the schema's word for what there is, so that a section that moves needs no table of old places.
//! It must not know what fields mean.

use serde_json::Value;

use crate::suggest;

/// A name that stands at more places than this says nothing about what was meant.
const MOST_PLACES: usize = 3;
/// Paths are long and many: with a third of their letters wrong, something would always be near.
const MOST_LETTERS: usize = 3;
/// Deeper than any field.
const MAX_DEPTH: usize = 12;

/// The places of an unknown field, as a question: those of its name, else the one that its section and name make
/// together or apart (`defaultBackend` is `defaults.backend`).
pub(super) fn hint(name: &str) -> Option<String> {
    let mut paths = Vec::new();
    collect(&super::schema(), None, "", MAX_DEPTH, &mut paths);
    let is_named = |path: &&String| path.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name));
    let named: Vec<&String> = paths.iter().filter(is_named).collect();
    match &*named {
        [] => joined(name, &paths).map(question),
        places if places.len() <= MOST_PLACES => {
            let places = places.iter().map(|path| place(path)).collect::<Vec<_>>();
            Some(format!("did you mean {}?", places.join(" or ")))
        }
        _ => None,
    }
}

fn question(path: &str) -> String {
    format!("did you mean {}?", place(path))
}

fn place(path: &str) -> String {
    match path.contains('.') {
        true => format!("`{path}`"),
        false => format!("`{path}` at the top level"),
    }
}

/// The path that is nearest to the name when it is read in one word.
fn joined<'p>(name: &str, paths: &'p [String]) -> Option<&'p str> {
    let words: Vec<String> = paths.iter().map(|path| path.replace('.', "")).collect();
    let near = suggest::nearest_with_distance(name, words.iter().map(String::as_str));
    let (_, near) = near.filter(|(distance, _)| *distance <= MOST_LETTERS)?;
    let position = words.iter().position(|word| word == near)?;
    paths.get(position).map(String::as_str)
}

/// Paths of all fields: `listeners[].tls.minVersion`, `upstreams.NAME.dns`.
fn collect(schema: &Value, root: Option<&Value>, path: &str, depth: usize, into: &mut Vec<String>) {
    let root = root.unwrap_or(schema);
    let Some(depth) = depth.checked_sub(1) else { return };
    if let Some(definition) = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?)) {
        collect(definition, Some(root), path, depth, into);
    }
    for variant in ["anyOf", "oneOf", "allOf"].iter().flat_map(|kind| schema[*kind].as_array()).flatten() {
        collect(variant, Some(root), path, depth, into);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        into.push(path.clone());
        collect(property, Some(root), &path, depth, into);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], Some(root), &format!("{path}[]"), depth, into);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], Some(root), &format!("{path}.NAME"), depth, into);
    }
}
