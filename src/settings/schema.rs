//! JSON Schema of the whole conf file, from the types that read it.

use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::Process;
use crate::resources::conf::Conf;

/// The schema of a conf file (JSON Schema 2020-12).
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut properties = properties::<Process>(&mut generator);
    properties.extend(self::properties::<Conf>(&mut generator));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate conf",
        "description": "The conf file of tidegate.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

/// Top-level fields that are about the process.
pub(super) fn process_keys() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(keys::<Process>);
    &KEYS
}

/// Top-level fields that are about traffic.
pub(super) fn conf_keys() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(keys::<Conf>);
    &KEYS
}

fn keys<T: JsonSchema>() -> Vec<String> {
    properties::<T>(&mut SchemaGenerator::default()).into_iter().map(|(key, _)| key).collect()
}

fn properties<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Value> {
    match T::json_schema(generator).get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => Map::new(),
    }
}
