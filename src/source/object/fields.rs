//! Fields of objects in files that do not exist, or stand in the wrong place.
//!
//! An API server drops or refuses such fields; a file has nobody who says so, and what was meant is not done. Names
//! are those of the table of kinds.

#[cfg(test)]
mod tests;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::{Field, TOP, Version};
use crate::suggest::nearest;
use crate::yaml::{Content, Entry, Node};

/// Findings of one object: more help nobody.
const MAX_FOUND: usize = 8;
/// Names of fields are shorter; what is longer is not repeated.
const MAX_NAME: usize = 63;
/// Places of a name that are told.
const MAX_PLACES: usize = 2;
/// Fields that are listed where no name is near.
const MAX_LISTED: usize = 8;

/// Says which fields of an object mean nothing where they stand.
pub(super) fn check(node: &Node, version: &Version, origin: &Origin) -> Vec<Diagnostic> {
    let Some(fields) = version.fields else { return Vec::new() };
    let mut check = Check { fields, renamed: version.renamed, origin, path: Vec::new(), found: Vec::new(), more: 0 };
    check.mapping(node, fields);
    let Check { mut found, more, .. } = check;
    if let Some(last) = found.last_mut().filter(|_| more > 0) {
        last.message.push_str(&format!(" (and {more} more fields like this)"));
    }
    found
}

struct Check<'n> {
    fields: &'static [Field],
    renamed: &'static [(&'static str, &'static str)],
    origin: &'n Origin,
    /// Where it is: written out only when there is something to say.
    path: Vec<Step>,
    found: Vec<Diagnostic>,
    more: usize,
}

enum Step {
    Field(&'static str),
    Item(usize),
}

// === impl Check ===

impl Check<'_> {
    fn node(&mut self, node: &Node, fields: &'static [Field]) {
        let Content::Sequence(items) = &node.content else { return self.mapping(node, fields) };
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Item(index));
            self.mapping(item, fields);
            self.path.pop();
        }
    }

    fn mapping(&mut self, node: &Node, fields: &'static [Field]) {
        for entry in node.entries() {
            match fields.iter().find(|field| field.name == entry.key) {
                Some(field) if field.under.is_empty() => {}
                Some(field) => {
                    self.path.push(Step::Field(field.name));
                    self.node(&entry.value, field.under);
                    self.path.pop();
                }
                None if self.path.is_empty() && TOP.contains(&entry.key.as_str()) => {}
                None => self.unknown(entry, fields),
            }
        }
    }

    fn unknown(&mut self, entry: &Entry, siblings: &[Field]) {
        if self.found.len() >= MAX_FOUND {
            self.more += 1;
            return;
        }
        let path = self.path();
        let parent = if path.is_empty() { "the object" } else { &path };
        let key = &*entry.key;
        let is_name = key.len() <= MAX_NAME && key.chars().all(|c| c.is_ascii_graphic());
        let shown = if is_name { format!("`{key}`") } else { "a key".to_owned() };
        let message = format!("{shown} is no field of {parent}, and has no effect");
        let field = match (is_name, path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{path}.{key}"),
            (false, _) => path,
        };
        let diagnostic = Diagnostic::warning(Code::UnknownField, &self.origin.at(field), message).at(entry.position);
        let hint = self.hint(key, siblings).unwrap_or_else(|| "leave it out".to_owned());
        self.found.push(diagnostic.hint(hint));
    }

    fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => text.extend([".", name]),
                Step::Item(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    fn hint(&self, key: &str, siblings: &[Field]) -> Option<String> {
        if let Some((_, hint)) = self.renamed.iter().find(|(old, _)| *old == key) {
            return Some((*hint).to_owned());
        }
        let mut places = Vec::new();
        collect_places(key, self.fields, "", &mut places);
        let places: Vec<String> = places.iter().take(MAX_PLACES).map(|place| format!("`{place}`")).collect();
        let places = places.join(" or ");
        let names = || siblings.iter().map(|field| field.name);
        match (nearest(key, names()), places.is_empty()) {
            (Some(near), true) => Some(format!("did you mean `{near}`?")),
            (Some(near), false) => Some(format!("did you mean `{near}`? `{key}` belongs to {places}")),
            (None, false) => Some(format!("it belongs to {places}")),
            (None, true) => {
                let all: Vec<String> = names().map(|name| format!("`{name}`")).collect();
                (all.len() <= MAX_LISTED).then(|| format!("known here: {}", all.join(", ")))
            }
        }
    }
}

/// Where fields have that name.
fn collect_places(name: &str, fields: &[Field], path: &str, places: &mut Vec<String>) {
    for field in fields {
        if field.name == name {
            places.push(if path.is_empty() { "the top of the object".to_owned() } else { path.to_owned() });
        }
        let at = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        collect_places(name, field.under, &at, places);
    }
}
