//! Which fields of a configuration its type does not know, by the type's own schema.
//!
//! So no plugin has to refuse unknown fields itself, and none can forget to.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::BuildError;

/// Schemas that were made; as many as there are plugins.
static MADE: Mutex<BTreeMap<TypeId, Arc<Value>>> = Mutex::new(BTreeMap::new());

/// References and alternatives are followed so deep.
const MAX_DEPTH: usize = 32;
/// So many forms of one value are looked at.
const MAX_FORMS: usize = 64;

/// A field that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unknown {
    path: String,
    known: BTreeSet<String>,
}

/// What one alternative of a schema says of a value.
#[derive(Clone, Debug, Default)]
struct Form<'s> {
    fields: Vec<&'s Map<String, Value>>,
    /// Schemas of fields that are not named.
    others: Vec<&'s Value>,
    items: Vec<&'s Value>,
    /// Whether it says nothing about which fields there are.
    is_open: bool,
}

/// Refuses a configuration with a field that its type does not have.
pub(crate) fn check<T: 'static>(make: fn() -> schemars::Schema, config: &Value) -> Result<(), BuildError> {
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned();
    let schema = made.unwrap_or_else(|| {
        let schema = Arc::new(make().to_value());
        MADE.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), Arc::clone(&schema));
        schema
    });
    match unknown(&schema, config).into_iter().next() {
        None => Ok(()),
        Some(Unknown { path, known }) => {
            Err(BuildError::UnknownField { field: path, known: known.into_iter().collect() })
        }
    }
}

fn unknown(schema: &Value, config: &Value) -> Vec<Unknown> {
    let mut found = Vec::new();
    look(schema, &[schema], config, "", &mut found);
    found
}

/// Looks at a value that each of these schemas is about.
fn look(root: &Value, schemas: &[&Value], value: &Value, path: &str, found: &mut Vec<Unknown>) {
    if !matches!(value, Value::Object(_) | Value::Array(_)) {
        return;
    }
    let mut best: Option<Vec<Unknown>> = None;
    for form in forms(root, schemas, value, 0) {
        let mut of_form = Vec::new();
        look_by(root, &form, value, path, &mut of_form);
        if best.as_ref().is_none_or(|best| of_form.len() < best.len()) {
            best = Some(of_form);
        }
    }
    found.extend(best.into_iter().flatten());
}

fn look_by(root: &Value, form: &Form<'_>, value: &Value, path: &str, found: &mut Vec<Unknown>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let of_field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let named: Vec<&Value> = form.fields.iter().filter_map(|fields| fields.get(name)).collect();
                match (named.is_empty(), form.others.is_empty()) {
                    (false, _) => look(root, &named, value, &of_field, found),
                    (true, false) => look(root, &form.others, value, &of_field, found),
                    (true, true) if form.is_open => {}
                    (true, true) => found.push(Unknown { path: of_field, known: form.known() }),
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate().filter(|_| !form.items.is_empty()) {
                look(root, &form.items, value, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Every form that these schemas together allow for the value.
fn forms<'s>(root: &'s Value, schemas: &[&'s Value], value: &Value, depth: usize) -> Vec<Form<'s>> {
    let mut all = vec![Form { is_open: true, ..Form::default() }];
    for schema in schemas {
        all = product(&all, &forms_of(root, schema, value, depth));
    }
    all
}

fn forms_of<'s>(root: &'s Value, schema: &'s Value, value: &Value, depth: usize) -> Vec<Form<'s>> {
    let open = || vec![Form { is_open: true, ..Form::default() }];
    let Value::Object(schema) = schema else { return open() };
    if depth > MAX_DEPTH {
        return open();
    }
    let mut all = vec![Form::of(schema)];
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#')) {
        let Some(target) = root.pointer(target) else { return open() };
        all = product(&all, &forms_of(root, target, value, depth + 1));
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        all = product(&all, &forms_of(root, part, value, depth + 1));
    }
    for alternatives in ["anyOf", "oneOf"].iter().filter_map(|name| schema.get(*name)?.as_array()) {
        let fitting = alternatives.iter().filter(|schema| fits(root, schema, value, depth + 1));
        let fitting: Vec<Form<'s>> = fitting.flat_map(|schema| forms_of(root, schema, value, depth + 1)).collect();
        // Nothing fits: whoever reads the value says what is wrong with it.
        if fitting.is_empty() {
            return open();
        }
        all = product(&all, &fitting);
    }
    all
}

/// Whether a schema may be about the value at all: its type, what it requires, and what tells alternatives apart.
fn fits(root: &Value, schema: &Value, value: &Value, depth: usize) -> bool {
    let Value::Object(schema) = schema else { return schema.as_bool() != Some(false) };
    if depth > MAX_DEPTH {
        return true;
    }
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|text| root.pointer(text.strip_prefix('#')?));
    let is_target = target.is_none_or(|target| fits(root, target, value, depth + 1));
    let is_type = schema.get("type").is_none_or(|types| is_of(types, value));
    let is_const = schema.get("const").is_none_or(|only| only == value);
    let is_one = schema.get("enum").and_then(Value::as_array).is_none_or(|all| all.contains(value));
    is_target && is_type && is_const && is_one && value.as_object().is_none_or(|object| has_required(schema, object))
}

fn has_required(schema: &Map<String, Value>, object: &Map<String, Value>) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let has_all = required.into_iter().flatten().filter_map(Value::as_str).all(|name| object.contains_key(name));
    let fields = schema.get("properties").and_then(Value::as_object);
    has_all
        && fields.into_iter().flatten().all(|(name, of_field)| {
            let only = of_field.get("const");
            only.is_none() || object.get(name).is_none_or(|value| Some(value) == only)
        })
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(_) => matches!(name, "number" | "integer"),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

/// Each form of one together with each of the other.
fn product<'s>(one: &[Form<'s>], other: &[Form<'s>]) -> Vec<Form<'s>> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| a.and(b)));
    pairs.take(MAX_FORMS).collect()
}

// === impl Form ===

impl<'s> Form<'s> {
    fn of(schema: &'s Map<String, Value>) -> Self {
        let fields = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").or_else(|| schema.get("unevaluatedProperties"));
        let is_object = schema.get("type").is_some_and(|types| is_of(types, &Value::Object(Map::new())));
        Self {
            fields: fields.into_iter().collect(),
            others: others.filter(|others| others.is_object()).into_iter().collect(),
            items: schema.get("items").filter(|items| items.is_object()).into_iter().collect(),
            is_open: match others.and_then(Value::as_bool) {
                Some(is_open) => is_open,
                None => schema.contains_key("patternProperties") || fields.is_none() && !is_object,
            },
        }
    }

    /// Both at once. One that says nothing leaves the word to the other.
    fn and(&self, other: &Self) -> Self {
        let join = |a: &[&'s Value], b: &[&'s Value]| [a, b].concat();
        Self {
            fields: [self.fields.as_slice(), other.fields.as_slice()].concat(),
            others: join(&self.others, &other.others),
            items: join(&self.items, &other.items),
            is_open: match (self.says_nothing(), other.says_nothing()) {
                (true, false) => other.is_open,
                (false, true) => self.is_open,
                _ => self.is_open || other.is_open,
            },
        }
    }

    fn says_nothing(&self) -> bool {
        self.is_open && self.fields.is_empty() && self.others.is_empty()
    }

    fn known(&self) -> BTreeSet<String> {
        self.fields.iter().flat_map(|fields| fields.keys().cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
