use serde::Deserialize;
use serde_json::json;

use super::*;

fn one(text: &str) -> Value {
    documents(text.as_bytes()).unwrap().remove(0).to_json()
}

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

fn place(document: u32, item: Option<u32>) -> Place {
    Place { file: "a.yaml".into(), line: 1, document, item }
}

#[test]
fn scalars_follow_the_core_schema_of_yaml_1_2() {
    let text = "[y, n, on, off, yes, true, null, ~, 80, -3, 0x1F, 0o17, 1.5, .5, 1e3, '80', 1.2.3, 0x, 10.0.0.1, 08]";
    let expected = json!([
        "y", "n", "on", "off", "yes", true, null, null, 80, -3, 31, 15, 1.5, 0.5, 1000.0, "80", "1.2.3", "0x",
        "10.0.0.1", 8
    ]);
    assert_eq!(one(text), expected);
    assert_eq!(one("['-', !!str 5, 99999999999999999999, .inf, '']"), json!(["-", "5", 1e20, ".inf", ""]));
}

#[test]
fn json_is_read_like_yaml() {
    let long = "x".repeat(5000);
    let value =
        json!({"kind": "List", "items": [{"a": long, "b": [1, 2, {"c": null}]}], "u": "é\n\t\"\\", "e": {}, "l": []});
    assert_eq!(one(&value.to_string()), value);
    assert_eq!(one(&serde_json::to_string_pretty(&value).unwrap()), value);
}

#[test]
fn json_escapes_are_read() {
    assert_eq!(one(r#"{"a": "\u00e9 \ud83d\ude00 \/ \u003c"}"#), json!({"a": "é 😀 / <"}));
}

#[test]
fn documents_are_counted_also_when_they_are_empty() {
    let documents = documents(b"a: 1\n---\n---\n# only a comment\n---\nb: 2\n").unwrap();
    let values: Vec<Value> = documents.iter().map(Node::to_json).collect();
    assert_eq!(values, [json!({"a": 1}), json!(null), json!(null), json!({"b": 2})]);
    assert!(super::documents(b"").unwrap().is_empty());
    assert!(super::documents(b"# nothing\n").unwrap().iter().all(Node::is_null));
}

#[test]
fn keys_and_values_know_their_position() {
    let documents = documents(b"a: 1\nb:\n  - c: x\n    d: y\n").unwrap();
    let entry = documents[0].entry("b").unwrap();
    assert_eq!(entry.position, at(2, 1));
    let item = entry.value.item(0).unwrap();
    assert_eq!(item.position, at(3, 5));
    assert_eq!((item.entry("d").unwrap().position, item.get("d").unwrap().position), (at(4, 5), at(4, 8)));
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let text = "base: &b { x: 1, y: 2 }\nuse:\n  <<: *b\n  y: 3\nagain: *b\n";
    assert_eq!(one(text), json!({"base": {"x": 1, "y": 2}, "use": {"y": 3, "x": 1}, "again": {"x": 1, "y": 2}}));
}

#[test]
fn faults_have_a_message_and_a_position() {
    for (text, message, position) in [
        ("a: 1\na: 2\n", "the key `a` is there twice", at(2, 1)),
        ("a: &x [*x]\n", "the alias is inside the value that it names", at(1, 8)),
        ("a: !vault x\n", "the tag `!vault` is not supported", at(1, 11)),
        ("? [a]\n: b\n", "a key must be a scalar", at(1, 3)),
    ] {
        let error = documents(text.as_bytes()).unwrap_err();
        assert_eq!((error.message.as_str(), error.position), (message, position), "{text}");
    }
    assert_eq!(documents(b"a: [1, 2\nb: 3\n").unwrap_err().position.line, 2);
    assert!(documents(b"a: *nothing\n").unwrap_err().message.contains("anchor"));
}

#[test]
fn a_text_that_is_not_utf_8_is_refused_at_its_position() {
    let error = documents(b"a: 1\nb: \xff\xfe\n").unwrap_err();
    assert_eq!((error.message.as_str(), error.position), ("the text is not UTF-8", at(2, 4)));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    assert_eq!(one("\u{feff}a: 1"), json!({"a": 1}));
}

#[test]
fn a_file_of_ten_megabytes_is_refused() {
    let error = documents(&vec![b'#'; 10 << 20]).unwrap_err();
    assert!(error.message.contains("more than 8388608"), "{error}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = documents(text.as_bytes()).unwrap_err();
    assert!(error.message.contains("aliases that expand"), "{error}");
}

#[test]
fn a_bomb_of_long_texts_is_refused() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 40].join(", "));
    assert!(documents(text.as_bytes()).unwrap_err().message.contains("aliases expand to more"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(5000), "- ".repeat(5000)] {
        assert!(documents(text.as_bytes()).is_err());
    }
}

const LIST: &str = "\
kind: List
items:
- metadata:
    name: one
    annotations:
      nginx.ingress.kubernetes.io/ssl-redirect: \"x\"
  spec:
    rules:
    - http:
        paths:
        - path: /
        - path: /b
          backend: { service: { name: b } }
";

#[test]
fn fields_are_found_inside_an_item_of_a_list() {
    for (path, position) in [
        ("spec.rules[0].http.paths[1].backend.service.name", at(13, 39)),
        ("spec.rules[0].http.paths[1].backend.service.port.number", at(13, 22)),
        ("spec.rules[0].http.paths[7]", at(10, 9)),
        ("spec.tls", at(7, 3)),
        ("", at(3, 3)),
        ("metadata.annotations.nginx.ingress.kubernetes.io/ssl-redirect", at(6, 49)),
        ("metadata.annotations[nginx.ingress.kubernetes.io/ssl-redirect]", at(6, 49)),
        ("metadata.annotations[\"nginx.ingress.kubernetes.io/ssl-redirect\"]", at(6, 49)),
    ] {
        assert_eq!(locate(LIST, &place(0, Some(0)), path), Some(position), "{path}");
    }
    assert_eq!(locate(LIST, &place(1, None), "spec"), None);
    assert_eq!(locate(LIST, &place(0, Some(3)), "spec"), None);
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only read into")]
struct Shop {
    name: String,
    #[serde(default)]
    open_hours: Vec<Shop>,
}

fn fault(text: &str) -> FieldError {
    let node = documents(text.as_bytes()).unwrap().remove(0);
    typed::<Shop>(&node, node.to_json()).unwrap_err()
}

#[test]
fn a_wrong_type_is_told_with_path_and_position() {
    let error = fault("name: a\nopenHours:\n  - name: b\n  - name: [3]\n");
    assert_eq!((error.field.as_str(), error.position), ("openHours[1].name", at(4, 5)));
    assert!(error.message.contains("expected a string"), "{error}");
}

#[test]
fn an_unknown_field_is_told_at_its_key_with_the_nearest_name() {
    let error = fault("name: a\nopenHours:\n  - name: b\n    openHour: []\n");
    assert_eq!((error.field.as_str(), error.position), ("openHours[0].openHour", at(4, 5)));
    assert_eq!(error.message, "unknown field `openHour`");
    assert_eq!(error.hint.as_deref(), Some("did you mean `openHours`?"));
    assert_eq!(fault("name: a\ncolour: 1\n").hint.as_deref(), Some("known here: `name`, `openHours`"));
}

#[test]
fn a_missing_field_is_told_at_its_object() {
    let error = fault("name: a\nopenHours:\n  - openHours: []\n");
    assert_eq!((error.field.as_str(), error.position), ("openHours[0]", at(3, 5)));
}

#[test]
fn a_key_that_is_there_twice_is_found_among_many() {
    let many: String = (0..100).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(documents(many.as_bytes()).unwrap()[0].entries().len(), 100);
    for (key, line) in [("k0", 101), ("k15", 101), ("k16", 101), ("k99", 101)] {
        let error = documents(format!("{many}{key}: 2\n").as_bytes()).unwrap_err();
        assert_eq!((error.message, error.position.line), (format!("the key `{key}` is there twice"), line));
    }
    let merged = format!("a: &a\n  k1: x\n  new: x\nb:\n  <<: *a\n{}", many.replace('k', "  k"));
    let merged = documents(merged.as_bytes()).unwrap();
    let b = merged[0].get("b").unwrap();
    assert_eq!((b.entries().len(), b.get("k1").unwrap().to_json()), (101, serde_json::json!(1)));
}

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use super::*;

    #[test]
    fn too_many_values_are_refused() {
        let text = format!("[{}]", "1,".repeat(2_000_000));
        assert!(documents(text.as_bytes()).unwrap_err().message.contains("values"));
    }
}
