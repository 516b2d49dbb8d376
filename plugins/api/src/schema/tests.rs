use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::Source;

/// Nobody refuses unknown fields here.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema matters")]
struct Config {
    max_keys: Option<u32>,
    inner: Option<Inner>,
    list: Vec<Inner>,
    map: BTreeMap<String, Inner>,
    free: Option<serde_json::Value>,
    any: serde_json::Map<String, serde_json::Value>,
    kind: Kind,
    tagged: Tagged,
    source: Option<Source>,
    either: Either,
    #[serde(flatten)]
    flat: Flat,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema matters")]
struct Inner {
    size: u32,
    next: Option<Box<Inner>>,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema matters")]
struct Flat {
    flat: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema matters")]
enum Kind {
    Plain,
    Header(String),
    Inner(Inner),
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema matters")]
enum Tagged {
    One { first: u32 },
    Two { second: u32 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema matters")]
enum Either {
    Text(String),
    Object { key: String },
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

fn found(config: &Value) -> Vec<String> {
    let schema = schemars::schema_for!(Config).to_value();
    unknown(&schema, config).into_iter().map(|unknown| unknown.path).collect()
}

#[test]
fn what_the_type_has_is_known() {
    for known in [
        json!({"maxKeys": 1, "inner": {"size": 1, "next": {"size": 2}}, "flat": true}),
        json!({"inner": null, "list": [{"size": 1}], "map": {"whatever": {"size": 1}}}),
        json!({"free": {"a": {"b": 1}}, "any": {"x": [{"y": 1}]}}),
        json!({"kind": "plain"}),
        json!({"kind": {"header": "x"}, "tagged": {"type": "two", "second": 2}}),
        json!({"kind": {"inner": {"size": 1}}, "either": "text"}),
        json!({"either": {"key": "k"}, "source": {"secretName": "s", "key": "k"}}),
        json!({"source": {"file": "f"}}),
    ] {
        assert_eq!(found(&known), [""; 0], "{known}");
    }
}

#[test]
fn what_it_does_not_have_is_found_wherever_it_stands() {
    for (config, expected) in [
        (json!({"maxkeys": 1}), "maxkeys"),
        (json!({"inner": {"size": 1, "sise": 1}}), "inner.sise"),
        (json!({"inner": {"size": 1, "next": {"size": 1, "nxt": 1}}}), "inner.next.nxt"),
        (json!({"list": [{"size": 1}, {"size": 1, "x": 1}]}), "list[1].x"),
        (json!({"map": {"whatever": {"size": 1, "x": 1}}}), "map.whatever.x"),
        (json!({"kind": {"inner": {"size": 1, "x": 1}}}), "kind.inner.x"),
        (json!({"tagged": {"type": "two", "second": 2, "first": 1}}), "tagged.first"),
        (json!({"either": {"key": "k", "x": 1}}), "either.x"),
        (json!({"source": {"file": "f", "x": 1}}), "source.x"),
        (json!({"flat": true, "flt": true}), "flt"),
    ] {
        assert_eq!(found(&config), [expected], "{config}");
    }
}

#[test]
fn the_known_ones_are_told_and_an_empty_type_knows_none() {
    let error = check::<Nothing>(|| schemars::schema_for!(Nothing), &json!({"x": 1})).unwrap_err();
    let BuildError::UnknownField { field, known } = error else { panic!("{error}") };
    assert_eq!((field.as_str(), known.len()), ("x", 0));
    let schema = schemars::schema_for!(Inner).to_value();
    assert_eq!(unknown(&schema, &json!({"sise": 1}))[0].known.iter().collect::<Vec<_>>(), ["next", "size"]);
}
