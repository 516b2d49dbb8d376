use crate::resources::object::Ingress;

use super::*;
use crate::diagnostic::Severity;

fn content(text: &str) -> Content {
    read(text.as_bytes(), &"a.yaml".into()).unwrap()
}

fn codes(content: &Content) -> Vec<&'static str> {
    content.diagnostics.iter().map(|it| it.code.as_str()).collect()
}

fn ingress(content: &Content) -> Arc<Ingress> {
    match content.objects.values().next() {
        Some(Object::Ingress(ingress)) => ingress.object.clone(),
        other => panic!("not an Ingress: {other:?}"),
    }
}

#[test]
fn documents_and_lists_of_every_form_are_read_with_their_place() {
    let content = content(
        "---
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
# nothing
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: { name: a, namespace: shop }
- apiVersion: v1
  kind: ConfigMap
  metadata: { name: b }
---
apiVersion: networking.k8s.io/v1
kind: IngressClassList
items:
- metadata: { name: c }
---
items:
- apiVersion: v1
  kind: Endpoints
  metadata: { name: d }
kind: List
",
    );
    assert_eq!(codes(&content), [""; 0]);
    let found: Vec<_> = content
        .objects
        .iter()
        .map(|(name, object)| {
            let place = object.place().unwrap();
            (format!("{:?} {}", name.kind, name.name), place.line, place.document, place.item)
        })
        .collect();
    let expected = [
        ("IngressClass c", 21, 3, Some(0)),
        ("Service shop/a", 11, 2, Some(0)),
        ("Endpoints default/d", 24, 4, Some(0)),
        ("ConfigMap default/b", 14, 2, Some(1)),
        ("Namespace shop", 2, 0, None),
    ];
    assert_eq!(found, expected.map(|(name, line, document, item)| (name.to_owned(), line, document, item)));
}

#[test]
fn a_bad_object_loses_only_itself() {
    let content = content(
        "apiVersion: v1
kind: Service
metadata: { name: bad }
spec:
  ports:
  - port: eighty
---
apiVersion: v1
kind: Service
metadata: { name: good }
---
apiVersion: v1
kind: Service
metadata: { namespace: x }
---
just: something
---
- a
",
    );
    let told: Vec<_> =
        content.diagnostics.iter().map(|it| (it.code.as_str(), &*it.origin.field, it.position.unwrap().line)).collect();
    assert_eq!(
        told,
        [
            ("InvalidObject", "spec.ports[0].port", 6),
            ("InvalidObject", "metadata.name", 14),
            ("InvalidObject", "", 16),
            ("InvalidObject", "", 18),
        ]
    );
    assert_eq!(content.objects.keys().collect::<Vec<_>>(), [&ObjectRef::new(Kind::Service, "default", "good")]);
    assert_eq!(content.broken, BTreeSet::from([ObjectRef::new(Kind::Service, "default", "bad")]));
}

#[test]
fn unknown_kinds_are_named_with_their_version() {
    let content = content(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\n---\n\
         apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: { name: a }\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: b }\n",
    );
    assert!(content.objects.is_empty() && content.diagnostics.is_empty());
    let lines: Vec<_> = content.unknown.iter().map(|(kind, place)| (kind.as_str(), place.line)).collect();
    assert_eq!(lines, [("apps/v1 Deployment", 1), ("serving.knative.dev/v1 Service", 5)]);
}

#[test]
fn the_second_object_of_a_name_is_left_out() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { x: '1' }\n---\n\
                apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { x: '2' }\n";
    let content = content(text);
    assert_eq!(codes(&content), ["DuplicateObject"]);
    assert_eq!(content.diagnostics[0].origin.place.as_ref().unwrap().line, 6);
    assert!(content.diagnostics[0].message.contains("a.yaml:1"), "{}", content.diagnostics[0]);
}

#[test]
fn old_ingresses_become_v1_with_a_warning() {
    for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
        let content = content(&format!(
            "apiVersion: {version}
kind: Ingress
metadata: {{ name: a }}
spec:
  backend: {{ serviceName: d, servicePort: 80 }}
  rules:
  - http:
      paths:
      - {{ path: /a, backend: {{ serviceName: s, servicePort: http }} }}
      - {{ path: /b, pathType: Exact, backend: {{ serviceName: s, servicePort: '8080' }} }}
"
        ));
        assert_eq!(codes(&content), ["DeprecatedApiVersion"]);
        assert_eq!(content.diagnostics[0].severity, Severity::Warning);
        let new = self::content(
            "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: a }
spec:
  defaultBackend: { service: { name: d, port: { number: 80 } } }
  rules:
  - http:
      paths:
      - { path: /a, pathType: ImplementationSpecific, backend: { service: { name: s, port: { name: http } } } }
      - { path: /b, pathType: Exact, backend: { service: { name: s, port: { number: 8080 } } } }
",
        );
        assert_eq!(ingress(&content), ingress(&new));
    }
}

#[test]
fn an_old_ingress_class_becomes_v1_with_a_warning() {
    let text =
        "apiVersion: networking.k8s.io/v1beta1\nkind: IngressClass\nmetadata: { name: a }\nspec: { controller: c }\n";
    let content = content(text);
    assert_eq!((codes(&content), content.objects.len()), (vec!["DeprecatedApiVersion"], 1));
}

#[test]
fn what_nothing_reads_is_not_kept() {
    let content = content(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: a
  creationTimestamp: 2024-01-02T03:04:05Z
  resourceVersion: '5'
  managedFields: [{ manager: kubectl, time: nonsense }]
  ownerReferences: nonsense
  annotations: { kubectl.kubernetes.io/last-applied-configuration: '{}', keep: me }
status: nonsense
",
    );
    assert_eq!(codes(&content), [""; 0]);
    let ingress = ingress(&content);
    assert_eq!(ingress.annotations.iter().collect::<Vec<_>>(), [("keep", "me")]);
    assert_eq!(ingress.created, Some(1_704_164_645));
}

#[test]
fn secrets_are_read_from_data_and_from_string_data() {
    let content = content(
        "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\ntype: Opaque\n\
         data: { x: aGVsbG8=, y: aGVsbG8= }\nstringData: { y: world }\n",
    );
    let Some(Object::Secret(secret)) = content.objects.values().next() else { panic!("{content:?}") };
    let value = |key| secret.object.get(key).map(|value| &**value);
    assert_eq!((value("x"), value("y")), (Some(&b"hello"[..]), Some(&b"world"[..])));
    assert!(!format!("{secret:?}").contains("hello"), "contents are never shown");
}

#[test]
fn a_secret_that_cannot_be_read_is_told_without_its_value() {
    for (field, value) in [("data", "hunter2!"), ("data", "[4711]"), ("data", "4711"), ("stringData", "4711")] {
        let content =
            content(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: a }}\n{field}: {{ k: {value} }}\n"));
        assert_eq!(codes(&content), ["InvalidObject"]);
        assert_eq!(content.diagnostics[0].position.unwrap().line, 4);
        let message = content.diagnostics[0].to_string();
        assert!(!message.contains("hunter2") && !message.contains("4711"), "{message}");
    }
    for field in [
        "immutable: hunter2",
        "data: hunter2",
        "stringData: [hunter2]",
        "type: [hunter2]",
        "metadata: { name: a, labels: hunter2 }",
    ] {
        let content = content(
            &format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: a }}\n{field}\n")
                .replace(if field.starts_with("metadata") { "metadata: { name: a }\n" } else { "\0" }, ""),
        );
        assert_eq!(codes(&content), ["InvalidObject"], "{field}");
        let told = format!("{} {:?}", content.diagnostics[0], content.diagnostics[0].hint);
        assert!(!told.contains("hunter2"), "{told}");
    }
}

const TWICE: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: b, labels: { x: y, x: z } }\n";

#[test]
fn a_fault_in_one_object_is_a_fault_of_that_object_only() {
    let other = |name: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n");
    let faulty = |fault: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: b }}\nspec:\n  {fault}\n");
    let cases = [
        (TWICE.to_owned(), "the key `x` is there twice"),
        (faulty("? [a, b]\n  : c"), "a key must be a scalar"),
        (faulty("? { a: b }\n  : c"), "a key must be a scalar"),
        (faulty("x: !vault abc"), "the tag `!vault` is not supported"),
        (faulty("x: !!binary aGk="), "binary"),
        (faulty("x: !include { a: b }"), "the tag `!include` is not supported"),
        (faulty("x: &n y\n  *n : z"), "a key must be written out"),
    ];
    for (text, message) in cases {
        let file = format!("{}---\n{text}---\n{}", other("a"), other("c"));
        let found = content(&file);
        let names: Vec<String> = found.objects.keys().map(|it| it.name.name.to_string()).collect();
        assert_eq!(names, ["a", "c"], "{text}");
        assert_eq!(codes(&found), ["InvalidObject"], "{text}");
        assert!(found.diagnostics[0].message.contains(message), "{}", found.diagnostics[0]);
        assert_eq!(found.diagnostics[0].origin.object(), "Service/default/b", "{text}");
        assert!(found.broken.iter().any(|it| &*it.name.name == "b"), "what was known of it stays: {text}");

        let item = |text: &str| format!("- {}\n", text.trim_end().replace('\n', "\n  "));
        let items = format!("{}{}{}", item(&other("a")), item(&text), item(&other("c")));
        let list = content(&format!("apiVersion: v1\nitems:\n{items}kind: List\nmetadata:\n  resourceVersion: \"\"\n"));
        assert_eq!(list.objects.len(), 2, "in a list: {text}");
        assert_eq!(codes(&list), ["InvalidObject"], "in a list: {text}");
    }
}

#[test]
fn a_list_that_was_cut_between_items_is_no_list() {
    let whole = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: { name: a }\n- apiVersion: v1\n  kind: Service\n  metadata: { name: b }\nkind: List\n";
    assert_eq!(content(whole).objects.len(), 2);
    for lines in 2..=8 {
        let cut: String = whole.split_inclusive('\n').take(lines).collect();
        let error = read(cut.as_bytes(), &"a.yaml".into()).unwrap_err();
        assert!(error.message.contains("cut short"), "{lines}: {error}");
    }
}

#[test]
fn items_get_the_kind_of_their_list_wherever_it_stands() {
    let items = "items: [{ metadata: { name: a } }, { metadata: { name: b } }]";
    for text in [
        format!("apiVersion: v1\nkind: ServiceList\n{items}\n"),
        format!("{items}\napiVersion: v1\nkind: ServiceList\n"),
    ] {
        let found = content(&text);
        assert_eq!((found.objects.len(), codes(&found)), (2, vec![]), "{text}");
    }
    let found = content(&format!("apiVersion: v1\nkind: List\n{items}\n"));
    assert_eq!(codes(&found), ["InvalidObject", "InvalidObject"], "a plain list says nothing about its items");
}

#[test]
fn items_of_what_is_no_list_are_not_taken() {
    let text = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: { name: a }\nkind: Template\n";
    assert!(content(text).objects.is_empty());
}

#[test]
fn base64_may_be_wrapped() {
    let found = content(
        "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\ndata:\n  x: |\n    aGVs\n    bG8=\n  y: \"aGVs\\r\\nbG8=\"\n",
    );
    let Some(Object::Secret(secret)) = found.objects.values().next() else { panic!("{found:?}") };
    for key in ["x", "y"] {
        assert_eq!(secret.object.get(key).map(|value| &**value), Some(&b"hello"[..]), "{key}");
    }
}

#[test]
fn releases_of_helm_are_not_kept() {
    let found = content(
        "apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\nmetadata: { name: a }\ndata: { release: aGk= }\n",
    );
    let Some(Object::Secret(secret)) = found.objects.values().next() else { panic!("{found:?}") };
    assert!(secret.object.data.is_empty());
}
