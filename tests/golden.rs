//! Golden translations: `tests/golden/<case>/in.yaml` → `model.yaml`, `status.yaml` and `diagnostics.yaml`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites the results; their diff is reviewed like code.
//! Input documents are Kubernetes objects, and `kind: Conf` with the conf under `spec`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tidegate::bench::model::{Model, SecretBytes};
use tidegate::bench::resources::{Event, Kind, Object, Resources};
use tidegate::bench::translate::{ANNOTATIONS, Support, Translation, translate};

#[test]
fn every_case_translates_as_recorded() {
    let mut failures = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 60, "there should be 60 cases or more, not {}", cases.len());
    for case in cases {
        let Translation { model, statuses, diagnostics, .. } = translate(&read(&case.join("in.yaml")));
        failures.extend(compare(&case.join("model.yaml"), &to_yaml(&trimmed(&model))));
        failures.extend(compare(&case.join("status.yaml"), &to_yaml(&statuses)));
        failures.extend(compare(&case.join("diagnostics.yaml"), &to_yaml(&diagnostics)));
    }
    assert!(failures.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites what is recorded", failures.join("\n"));
}

#[test]
fn every_annotation_has_cases_for_its_effect_and_its_refusal() {
    let texts: Vec<(String, String)> = cases()
        .iter()
        .map(|case| {
            let read = |file: &str| std::fs::read_to_string(case.join(file)).unwrap_or_default();
            (read("in.yaml"), read("diagnostics.yaml"))
        })
        .collect();
    for annotation in ANNOTATIONS.iter().filter(|row| row.support != Support::Unread) {
        let key = format!("/{}:", annotation.name);
        let field = format!("/{}]", annotation.name);
        let uses = || texts.iter().filter(|(input, _)| input.contains(&key));
        assert!(uses().any(|(_, found)| !found.contains(&field)), "{} has no case where it is taken", annotation.name);
        assert!(uses().any(|(_, found)| found.contains(&field)), "{} has no case where it is refused", annotation.name);
    }
}

#[test]
fn inputs_are_short() {
    for case in cases() {
        let lines = std::fs::read_to_string(case.join("in.yaml")).unwrap().lines().count();
        assert!(lines <= 60, "{} has {lines} lines, more than 60", case.display());
    }
}

#[test]
fn keys_never_show() {
    let secret = SecretBytes::new(b"hidden".to_vec());
    assert!(!format!("{secret:?}").contains("hidden"));
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.join("in.yaml").exists());
    cases.sort();
    cases
}

fn read(path: &Path) -> Resources {
    let text = std::fs::read_to_string(path).unwrap();
    // YAML 1.2: `off` is a string.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut resources = Resources::default();
    resources.apply(documents.into_iter().map(|document| Event::Apply(object(path, document))));
    resources
}

fn object(path: &Path, document: Value) -> Object {
    let kind = document["kind"].as_str().unwrap_or_default();
    let (kind, document) = match kind {
        "Ingress" => (Kind::Ingress, document),
        "IngressClass" => (Kind::IngressClass, document),
        "Service" => (Kind::Service, document),
        "EndpointSlice" => (Kind::EndpointSlice, document),
        "Endpoints" => (Kind::Endpoints, document),
        "Secret" => (Kind::Secret, document),
        "Conf" => (Kind::Conf, document["spec"].clone()),
        other => panic!("{}: kind `{other}` is not known here", path.display()),
    };
    Object::from_json(kind, document).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The model without what every case would repeat: listeners, edge settings and policies that nobody set.
fn trimmed(model: &Model) -> Value {
    let mut value = serde_json::to_value(model).unwrap();
    let mut empty = Resources::default();
    let conf = Object::from_json(Kind::Conf, serde_json::json!({})).unwrap();
    empty.apply([Event::Apply(conf)]);
    let defaults = [Model::default(), translate(&empty).model].map(|model| serde_json::to_value(model).unwrap());
    let object = value.as_object_mut().unwrap();
    object.retain(|key, part| defaults.iter().all(|defaults| defaults.get(key) != Some(&*part)));
    drop_unset_policies(&mut value);
    value
}

fn drop_unset_policies(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_unset = object.get("policy").is_some_and(|policy| policy.get("settings").is_none());
            if is_unset {
                object.remove("policy");
            }
            object.values_mut().for_each(drop_unset_policies);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_unset_policies),
        _ => {}
    }
}

fn to_yaml<T: Serialize>(value: &T) -> String {
    let mut text = serde_saphyr::to_string(&serde_json::to_value(value).unwrap()).unwrap();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The difference between what is recorded and what was found, if there is one.
fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, found).unwrap();
        return None;
    }
    let recorded = std::fs::read_to_string(path).unwrap_or_default();
    (recorded != found).then(|| format!("--- {}\n{}", path.display(), diff(&recorded, found)))
}

/// Lines of one text that the other has not, in order, with their numbers.
fn diff(recorded: &str, found: &str) -> String {
    let count = |text: &str| {
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        text.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
        lines
    };
    let only = |text: &str, mut other: BTreeMap<String, usize>, sign: char| {
        let mut out = String::new();
        for (number, line) in text.lines().enumerate() {
            match other.get_mut(line).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None => out.push_str(&format!("{sign}{:>4} {line}\n", number + 1)),
            }
        }
        out
    };
    only(recorded, count(found), '-') + &only(found, count(recorded), '+')
}
