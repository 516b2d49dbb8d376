//! The references in docs and conf are generated from the code; this fails when they are out of date.
//!
//! `UPDATE_GOLDEN=1 cargo test --test docs` writes them again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tidegate::bench::translate::{Asks, PROTECTIONS, Protection};

#[test]
fn the_conf_schema_is_up_to_date() {
    compare("conf/schema.json", &format!("{:#}\n", tidegate::conf_schema()));
}

#[test]
fn the_conf_reference_is_up_to_date() {
    compare("docs/conf.md", &conf_reference(&tidegate::conf_schema()));
}

#[test]
fn the_annotation_reference_is_up_to_date() {
    compare("docs/annotations.md", &annotation_reference());
}

#[test]
fn the_answer_reference_is_up_to_date() {
    compare("docs/answers.md", &answer_reference());
}

/// What a client can run into must be found on one page.
#[test]
fn every_limit_of_the_conf_has_a_row_with_its_default() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let schema = tidegate::conf_schema();
    let reasons: Vec<&str> = tidegate::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut known = BTreeSet::new();
    for (prefix, spec) in [("limits", "LimitsSpec"), ("timeouts", "TimeoutsSpec")] {
        for (name, property) in schema["$defs"][spec]["properties"].as_object().unwrap() {
            let key = format!("`{prefix}.{name}`");
            let row = rows.iter().find(|row| row[0] == key).unwrap_or_else(|| panic!("{key} has no row"));
            let default = format!("Default {}.", row[1]);
            let meaning = property["description"].as_str().unwrap().replace('\n', " ");
            assert!(meaning.contains(&default), "{key}: `{default}` is not what the schema says: {meaning}");
            known.insert(key);
        }
    }
    for row in rows {
        assert!(known.contains(row[0]), "{} is no limit of the conf", row[0]);
        assert_eq!(row.len(), 9, "{row:?}");
        let reason = row[3].trim_matches('`');
        assert!(reason == "-" || reasons.contains(&reason), "{}: `{reason}` is no reason", row[0]);
    }
}

fn compare(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is out of date: UPDATE_GOLDEN=1 cargo test --test docs");
}

// === conf ===

fn conf_reference(schema: &Value) -> String {
    let mut text = String::from(
        "# Conf reference\n\nGenerated from the schema (`tidegate schema`); the examples are in [conf/examples](../conf/examples).\nUnknown fields are errors. Durations are written `30s`, `1m30s` or `250ms`; sizes `64KiB` or `10MB`.\n",
    );
    let _ = write!(text, "\n## The file\n\n{}", table(schema));
    let mut shown = BTreeSet::new();
    let mut queue = references(schema);
    while let Some(name) = queue.pop_first() {
        if !shown.insert(name.clone()) {
            continue;
        }
        let definition = &schema["$defs"][&name];
        let _ = write!(text, "\n## {name}\n\n{}", section(definition));
        queue.extend(references(definition).into_iter().filter(|name| !shown.contains(name)));
    }
    text
}

fn section(definition: &Value) -> String {
    let description = definition["description"].as_str().unwrap_or_default();
    let mut text = if description.is_empty() { String::new() } else { format!("{description}\n\n") };
    if definition["properties"].is_object() {
        text += &table(definition);
    }
    for variant in
        definition["oneOf"].as_array().into_iter().flatten().chain(definition["anyOf"].as_array().into_iter().flatten())
    {
        let _ = writeln!(text, "- {}: {}", shape(variant), variant["description"].as_str().unwrap_or_default());
    }
    if definition["oneOf"].is_null() && definition["anyOf"].is_null() && !definition["properties"].is_object() {
        let _ = writeln!(text, "{}", shape(definition));
    }
    text
}

fn table(definition: &Value) -> String {
    let mut text = String::from("| field | shape | meaning |\n|---|---|---|\n");
    for (name, property) in definition["properties"].as_object().into_iter().flatten() {
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{name}` | {} | {meaning} |", shape(property));
    }
    text
}

/// A short form of a schema: a link for a definition, else its type.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(constant) = schema["const"].as_str() {
        return format!("`{constant}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(some) = schema[key].as_array() {
            let shapes: Vec<String> = some.iter().filter(|one| one["type"] != "null").map(shape).collect();
            return shapes.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", shape(&schema["items"])),
        Value::String(kind) if kind == "object" && schema["additionalProperties"].is_object() => {
            format!("map to {}", shape(&schema["additionalProperties"]))
        }
        Value::String(kind) if kind == "object" => schema["properties"]
            .as_object()
            .map(|properties| properties.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
            .unwrap_or_else(|| "object".to_owned()),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

fn references(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(schema, &mut found);
    found
}

fn collect(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("$defs", _) => {}
                    ("$ref", Some(reference)) => found.extend(reference.strip_prefix("#/$defs/").map(str::to_owned)),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

// === annotations and answers ===

fn annotation_reference() -> String {
    let mut text = String::from(
        "# Annotation reference\n\nGenerated from the table in `src/translate/ingress/annotations.rs`.\nEvery annotation is read under `tidegate.io/` and, where the table says so, under `nginx.ingress.kubernetes.io/` (or what `ingress.annotationsPrefix` says); `tidegate.io/` wins.\nNames are told apart without case; one name in two spellings with two values is an error.\n\n| annotation | also as nginx | value | meaning |\n|---|---|---|---|\n",
    );
    for annotation in tidegate::ANNOTATIONS {
        let nginx = if annotation.support == tidegate::bench::translate::Support::Both { "yes" } else { "no" };
        let _ = writeln!(text, "| `{}` | {nginx} | {} | {} |", annotation.name, annotation.grammar, annotation.doc);
    }
    protection_reference(&mut text);
    text
}

fn protection_reference(text: &mut String) {
    *text += "\n## What closes the routes\n\nGenerated from the table in `src/translate/ingress/annotations/protection.rs`.\nThese are not supported, under neither prefix; where somebody asks for protection by one, the routes of the Ingress are closed (503 `broken_policy`) rather than open to everybody.\nUnder `tidegate.io/` an unknown name that resembles one of them, or `plugins` or an `auth-…` of above, closes too, and so does one of them on a Service.\n\n| annotation | what it does in ingress-nginx | closes |\n|---|---|---|\n";
    let (softer, closing): (Vec<_>, Vec<_>) = PROTECTIONS.iter().partition(|protection| protection.asks == Asks::Never);
    for Protection { name, asks, doc } in closing {
        let _ = writeln!(text, "| `{name}` | {doc} | {} |", closes(*asks));
    }
    *text += "\nThese soften something, are parts of one of the former, or protect against load: the routes are served without them, and a finding tells.\n\n| annotation | what it does in ingress-nginx |\n|---|---|\n";
    for Protection { name, doc, .. } in softer {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
}

fn closes(asks: Asks) -> String {
    match asks {
        Asks::Always | Asks::Never => "always".to_owned(),
        Asks::Unless(none) => {
            let values: Vec<String> = none.iter().map(|value| format!("`{value}`")).collect();
            format!("unless it is {}", values.join(", "))
        }
        Asks::UnlessEverybody => "unless it has both `0.0.0.0/0` and `::/0`".to_owned(),
        Asks::UnlessBlank => "unless it is empty".to_owned(),
        Asks::AccessRule => {
            "with `deny`, `allow`, `satisfy`, `auth_…`, `return` of 400 and above, `include`, Lua, or what cannot be read".to_owned()
        }
    }
}

fn answer_reference() -> String {
    let mut text = String::from(
        "# Answers of tidegate's own\n\nEvery request ends with one reason code; it stands in the access log (`reason`) and in `tidegate_requests_total{reason}`.\nAnswers carry `Content-Type`, `Content-Length`, `Date`, `Server` and `X-Request-ID`.\nThe body is short text; clients that accept JSON get `application/problem+json` (RFC 9457); gRPC requests get `grpc-status`.\n\n| reason | status |\n|---|---|\n",
    );
    for reason in tidegate::Reason::ALL {
        let _ = writeln!(text, "| `{reason}` | {} |", reason.status());
    }
    text
}
