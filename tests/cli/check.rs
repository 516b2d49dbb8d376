//! `tidegate check`.

use crate::support::{FREE_PORTS, folder, run};

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { ports: [{ port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }
ports: [{ port: 8080 }]
endpoints: [{ addresses: [10.0.0.1] }]
";

fn ingress(host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: web, namespace: shop }}
spec:
  ingressClassName: tidegate
  rules:
  - host: {host}
    http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}] }}
"
    )
}

fn conf() -> String {
    format!("{FREE_PORTS}sources: {{ files: {{ paths: [in] }} }}\n")
}

/// Line and column of the caret under an excerpt, and what is above it.
fn caret(text: &str) -> (String, char) {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.trim_end().ends_with('^')).unwrap_or_else(|| panic!("no caret: {text}"));
    let column = lines[at].chars().count() - 1;
    let under = lines[at - 1].chars().nth(column).unwrap();
    let place = lines[..at].iter().rev().find(|line| line.starts_with(" --> ")).unwrap();
    (place.trim_start_matches(" --> ").to_owned(), under)
}

#[test]
fn a_fault_of_a_manifest_is_shown_where_it_is_and_exits_1() {
    let it = folder(&[("t.yaml", &conf()), ("in/a.yaml", &ingress("a..test")), ("in/b.yaml", SERVICE)]);
    let done =
        run(it.path(), &["check", "--conf", "t.yaml"]).exits(1).says(&["error[InvalidHost]", "help: ", "1 error"]);
    assert_eq!(caret(&done.out), ("in/a.yaml:7:11".to_owned(), 'a'), "{}", done.out);
    let json = run(it.path(), &["check", "--conf", "t.yaml", "-o", "json"]).exits(1).json();
    let found = &json["diagnostics"][0];
    assert_eq!((&found["code"], &found["severity"]), (&"InvalidHost".into(), &"error".into()), "{json:#}");
    assert!(json["summary"].is_string(), "{json:#}");
}

#[test]
fn an_empty_folder_is_no_fault_and_a_missing_one_is() {
    let it = folder(&[("t.yaml", &conf())]);
    run(it.path(), &["check", "--conf", "t.yaml"]).exits(1).says(&["error[SourceGone]", "it is not there"]);
    std::fs::create_dir(it.path().join("in")).unwrap();
    run(it.path(), &["check", "--conf", "t.yaml"]).exits(0).says(&["0 hosts, 0 routes"]);
    run(it.path(), &["routes", "--conf", "t.yaml"]).exits(0).says(&["no routes"]);
}

#[test]
fn a_certificate_file_of_a_listener_that_is_missing_is_found() {
    let conf = "listeners: [{ name: s, address: \"127.0.0.1:0\", protocol: https, tls: { certificateFile: a.crt, keyFile: a.key } }]\n";
    let it = folder(&[("t.yaml", conf)]);
    run(it.path(), &["check", "--conf", "t.yaml"]).exits(1).says(&["error[InvalidCertificate]", "a.crt", "t.yaml:1:"]);
}
