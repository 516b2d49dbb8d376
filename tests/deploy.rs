//! What deploy/ says, without a tool or a cluster: the expected output of the chart and of the overlays is read.
//!
//! `tests/deploy.sh` proves that the expected output is the real one, and that an API server takes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tidegate::Settings;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SELECTOR: [&str; 3] = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"];

// === versions, schema, alerts ===

#[test]
fn everything_names_the_version_of_the_crate() {
    assert_eq!(yaml("deploy/helm/tidegate/Chart.yaml")["appVersion"], VERSION);
    assert_eq!(yaml("deploy/kustomize/base/kustomization.yaml")["images"][0]["newTag"], VERSION);
    let labels = &yaml("deploy/kustomize/labels/kustomization.yaml")["labels"][0]["pairs"];
    assert_eq!(labels["app.kubernetes.io/version"], VERSION);
    for pod in pods(&documents("deploy/examples/default-backend/manifests.yaml")) {
        assert_eq!(pod["containers"][0]["image"], format!("tidegate/tidegate:{VERSION}"));
    }
}

#[test]
fn the_chart_takes_every_section_of_the_conf_and_no_other() {
    let values: Value = serde_json::from_str(&read("deploy/helm/tidegate/values.schema.json")).unwrap();
    let conf = &values["properties"]["conf"]["properties"];
    let sections = keys(&tidegate::conf_schema()["properties"]);
    assert_eq!(keys(conf), sections, "conf in values.schema.json");
    let told: BTreeSet<String> = strings(&advice()["sections"]).into_iter().map(str::to_owned).collect();
    assert_eq!(told, sections, "sections in ingress-nginx.yaml");
}

/// What the chart says of keys and flags of ingress-nginx leads to fields that there are.
#[test]
fn the_advice_on_nginx_keys_names_fields_that_exist() {
    let values: Value = serde_json::from_str(&read("deploy/helm/tidegate/values.schema.json")).unwrap();
    let (conf, advice) = (tidegate::conf_schema(), advice());
    let mut count = 0;
    for (key, text) in ["config", "args"].iter().flat_map(|table| advice[*table].as_object().unwrap()) {
        let text = text.as_str().unwrap();
        let start =
            ["give ", "name ", "leave ", "set ", "remove ", "annotate "].iter().any(|verb| text.starts_with(verb));
        assert!(start, "{key}: `{text}` does not say what to do");
        for field in text.split('`').skip(1).step_by(2).map(|field| field.split(':').next().unwrap()) {
            let is_there = match field.split_once('.') {
                Some(("conf", path)) => has_field(&conf, &conf, path),
                Some(("controller", _)) => has_field(&values, &values, field),
                // The values of the conf, a word of ALPN, and names of annotations.
                _ => {
                    ["conf", "h2"].contains(&field)
                        || tidegate::ANNOTATIONS.iter().any(|annotation| annotation.name == field)
                }
            };
            assert!(is_there, "{key}: there is no `{field}`");
            count += 1;
        }
    }
    assert!(count > 60, "{count} fields");
    for refused in
        ["proxy-body-size", "use-forwarded-headers", "ssl-redirect", "log-format-upstream", "worker-processes"]
    {
        assert!(advice["config"][refused].as_str().unwrap().contains("`conf."), "{refused}");
    }
}

fn advice() -> Value {
    yaml("deploy/helm/tidegate/ingress-nginx.yaml")
}

/// Whether a schema has that field; `[]` is any item, and a variant of an enum is a field too.
fn has_field(root: &Value, schema: &Value, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let name = first.trim_end_matches("[]");
    let target = schema["$ref"].as_str().and_then(|name| root.pointer(name.trim_start_matches('#')));
    let variants = ["anyOf", "oneOf", "allOf"].iter().filter_map(|kind| schema[*kind].as_array()).flatten();
    if target.into_iter().chain(variants).any(|inner| has_field(root, inner, path)) {
        return true;
    }
    let Some(property) = schema["properties"].get(name) else { return false };
    let property = if first == name { property } else { &property["items"] };
    property.is_object() && rest.is_none_or(|rest| has_field(root, property, rest))
        || rest.is_none() && *property == true
}

#[test]
fn every_value_of_the_chart_is_set_in_a_case() {
    let schema: Value = serde_json::from_str(&read("deploy/helm/tidegate/values.schema.json")).unwrap();
    let cases: Vec<Value> = list("tests/deploy/helm")
        .into_iter()
        .filter_map(|case| parse(&std::fs::read_to_string(case.join("values.yaml")).unwrap()).pop())
        .collect();
    let mut leaves = Vec::new();
    collect_leaves(&schema, "", &mut leaves);
    assert!(leaves.len() > 100, "{} values", leaves.len());
    // Helm's own, and the conf's sections: tidegate reads those.
    leaves.retain(|path| path != "/global" && !path.starts_with("/conf/"));
    leaves.retain(|path| cases.iter().all(|values| values.pointer(path).is_none()));
    assert_eq!(leaves, [""; 0], "values that no case in tests/deploy/helm sets");
}

fn collect_leaves(schema: &Value, path: &str, leaves: &mut Vec<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            properties.iter().for_each(|(key, schema)| collect_leaves(schema, &format!("{path}/{key}"), leaves));
        }
        None => leaves.push(path.to_owned()),
    }
}

#[test]
fn the_schema_has_every_default_and_nothing_else() {
    let schema: Value = serde_json::from_str(&read("deploy/helm/tidegate/values.schema.json")).unwrap();
    let values = yaml("deploy/helm/tidegate/values.yaml");
    let mut leaves = Vec::new();
    collect_leaves(&schema, "", &mut leaves);
    leaves.retain(|path| path != "/global" && !path.starts_with("/conf/"));
    leaves.retain(|path| values.pointer(path).is_none());
    assert_eq!(leaves, [""; 0], "in values.schema.json and not in values.yaml");
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let alerts = read("deploy/helm/tidegate/alerts.yaml");
    let families = tidegate::bench::telemetry::Metrics::new().unwrap().families();
    let is_known = |word: &str| {
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| word.strip_suffix(suffix));
        families.iter().any(|family| family.fq_name == word || Some(&*family.fq_name) == histogram)
    };
    let names: BTreeSet<&str> = alerts
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tidegate_"))
        .collect();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        assert!(is_known(name), "{name} is not a metric");
    }
    // Labels that the scrape gives, and those of metrics.
    let mut labels = BTreeSet::from(["namespace", "exported_namespace"]);
    labels.extend(families.iter().flat_map(|family| family.variable_labels.iter().map(String::as_str)));
    for by in alerts.split(" by (").skip(1).filter_map(|rest| rest.split(')').next()) {
        by.split(", ").for_each(|label| assert!(labels.contains(label), "`{label}` is no label of a metric"));
    }
}

// === chart and overlays ===

#[test]
fn the_overlays_say_what_the_chart_says() {
    for case in ["load-balancer", "host-network"] {
        let chart = by_name(documents(&format!("tests/deploy/helm/{case}/expected.yaml")));
        let mut overlay = by_name(documents(&format!("tests/deploy/kustomize/{case}.yaml")));
        assert!(overlay.remove("Namespace/tidegate").is_some(), "helm makes the namespace itself, kustomize does not");
        assert_eq!(chart.keys().collect::<Vec<_>>(), overlay.keys().collect::<Vec<_>>(), "{case}");
        for (name, expected) in &chart {
            assert_eq!(&overlay[name], expected, "{case}: {name}");
        }
    }
}

/// The documents, without what only helm or only kustomize says.
fn by_name(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let entry = |mut document: Value| {
        let name = format!("{}/{}", document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
        strip(&mut document);
        if let Some(Value::String(conf)) = document["data"].get_mut("tidegate.yaml").map(Value::take) {
            document["data"] = parse(&conf).remove(0);
        }
        (name, document)
    };
    documents.into_iter().map(entry).collect()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for of_helm in ["helm.sh/chart", "app.kubernetes.io/managed-by", "tidegate.io/restart-checksum"] {
                fields.remove(of_helm);
            }
            fields.values_mut().for_each(strip);
            fields.retain(|_, value| !value.is_null() && *value != json!({}));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[test]
fn selectors_hold_what_never_changes_and_find_the_pods() {
    for (file, documents) in outputs() {
        let labels = |document: &Value| document["spec"]["template"]["metadata"]["labels"].clone();
        let pods: Vec<Value> = documents.iter().map(labels).filter(Value::is_object).collect();
        for document in &documents {
            let spec = &document["spec"];
            let found = match document["kind"].as_str().unwrap() {
                "Service" => &spec["selector"],
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "Deployment" | "DaemonSet" | "PodDisruptionBudget" => &spec["selector"]["matchLabels"],
                _ => continue,
            };
            let place = format!("{}: {} {}", file.display(), document["kind"], document["metadata"]["name"]);
            assert_eq!(keys(found), BTreeSet::from(SELECTOR.map(str::to_owned)), "{place}");
            let is_found = |pod: &&Value| SELECTOR.iter().all(|key| pod[key] == found[key]);
            assert_eq!(pods.iter().filter(is_found).count(), 1, "{place} selects the pods of one workload");
        }
    }
}

// === security ===

#[test]
fn every_pod_of_ours_is_restricted() {
    for (file, documents) in outputs() {
        for pod in pods(&documents) {
            let place = file.display();
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{place}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{place}");
            let container = &pod["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{place}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{place}");
            // An image that is not ours may write; ours does not.
            if container["args"][0] == "run" {
                assert_eq!(security["readOnlyRootFilesystem"], true, "{place}");
            }
            let ports = container["ports"].as_array().unwrap();
            let is_low = ports.iter().any(|port| port["containerPort"].as_u64().unwrap() < 1024);
            let (added, command) = match is_low {
                true => (json!(["NET_BIND_SERVICE"]), json!(["/low-ports/tidegate"])),
                false => (Value::Null, Value::Null),
            };
            assert_eq!((&security["capabilities"]["add"], &container["command"]), (&added, &command), "{place}");
            assert_eq!(container.get("lifecycle"), None, "{place}: draining is the program's own work");
        }
    }
}

/// Telemetry says much of a cluster: on the node's network it is for the node alone, and a policy lets in Pods only.
#[test]
fn telemetry_is_not_offered_to_the_world() {
    for (file, documents) in outputs() {
        let conf = documents.iter().find_map(|document| document["data"]["tidegate.yaml"].as_str());
        let Some(conf) = conf.map(|conf| parse(conf).remove(0)) else { continue };
        for pod in pods(&documents).iter().filter(|pod| pod["containers"][0]["args"][0] == "run") {
            if pod["hostNetwork"] != true {
                continue;
            }
            let address = conf["telemetry"]["address"].as_str().unwrap();
            assert!(address.starts_with("127.0.0.1:"), "{}: {address}", file.display());
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let host = &pod["containers"][0][probe]["httpGet"]["host"];
                assert_eq!(host, "127.0.0.1", "{}: {probe} asks where it listens", file.display());
            }
        }
        for policy in documents.iter().filter(|document| document["kind"] == "NetworkPolicy") {
            let rules = policy["spec"]["ingress"].as_array().unwrap();
            let of_metrics = |rule: &&Value| rule["ports"].as_array().unwrap().iter().any(|port| port["port"] == 10254);
            for rule in rules.iter().filter(of_metrics) {
                assert!(rule["from"].as_array().is_some_and(|from| !from.is_empty()), "{}", file.display());
                assert_eq!(rule["ports"].as_array().unwrap().len(), 1, "{}", file.display());
            }
        }
    }
}

#[test]
fn the_rights_are_those_of_the_table_in_the_manual() {
    let read = "get list watch";
    let cluster = [
        ("endpointslices", "list watch"),
        ("events", "create"),
        ("ingressclasses", read),
        ("ingresses", read),
        ("ingresses/status", "patch"),
        ("secrets", read),
        ("services", read),
    ];
    let own = [("leases", "create"), ("leases tidegate-leader", "get update")];
    let documents = documents("tests/deploy/helm/default/expected.yaml");
    assert_eq!(rights(&documents, "ClusterRole", None), table(&cluster));
    assert_eq!(rights(&documents, "Role", Some("tidegate")), table(&own));
    let manual = self::read("docs/deploy.md");
    for (resource, verbs) in cluster.into_iter().chain(own) {
        let resource = resource.split(' ').next().unwrap();
        let row = manual.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{resource}`")));
        let row = row.unwrap_or_else(|| panic!("docs/deploy.md has no row for {resource}"));
        assert!(verbs.split(' ').all(|verb| row.contains(verb)), "{row} lacks one of {verbs}");
    }
}

#[test]
fn nodes_and_pods_are_read_only_where_status_needs_them() {
    let documents = documents("tests/deploy/helm/host-network/expected.yaml");
    assert_eq!(rights(&documents, "ClusterRole", None)["nodes"], "get");
    assert_eq!(rights(&documents, "Role", Some("tidegate"))["pods"], "list");
}

#[test]
fn namespaces_are_read_only_where_labels_choose_them() {
    let documents = documents("tests/deploy/helm/selected/expected.yaml");
    assert_eq!(rights(&documents, "ClusterRole", None)["namespaces"], "list watch");
}

#[test]
fn in_a_namespace_the_cluster_gives_nothing_but_classes() {
    let documents = documents("tests/deploy/helm/scoped/expected.yaml");
    assert_eq!(rights(&documents, "ClusterRole", None), table(&[("ingressclasses", "get list watch")]));
    let routes = rights(&documents, "Role", Some("team-a"));
    assert_eq!(routes["secrets"], "get list watch");
    assert!(!rights(&documents, "Role", Some("tidegate")).contains_key("secrets"));
}

#[test]
fn secrets_can_be_kept_to_named_namespaces() {
    let documents = documents("tests/deploy/helm/selected/expected.yaml");
    assert!(!rights(&documents, "ClusterRole", None).contains_key("secrets"));
    for namespace in ["team-a", "team-b"] {
        assert_eq!(rights(&documents, "Role", Some(namespace))["secrets"], "get list watch");
    }
}

fn rights(documents: &[Value], kind: &str, namespace: Option<&str>) -> BTreeMap<String, String> {
    let is_asked = |role: &&Value| role["kind"] == kind && role["metadata"]["namespace"].as_str() == namespace;
    let mut rights = BTreeMap::new();
    for rule in documents.iter().filter(is_asked).flat_map(|role| role["rules"].as_array().unwrap()) {
        let verbs = strings(&rule["verbs"]).join(" ");
        for resource in strings(&rule["resources"]) {
            assert!(resource != "*" && !verbs.contains('*'), "{rule}");
            let names = rule["resourceNames"].as_array().map(|_| strings(&rule["resourceNames"]).join(" "));
            let key = names.map_or(resource.to_owned(), |names| format!("{resource} {names}"));
            assert_eq!(rights.insert(key, verbs.clone()), None, "{resource} is granted twice");
        }
    }
    rights
}

fn table(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(resource, verbs)| ((*resource).to_owned(), (*verbs).to_owned())).collect()
}

// === conf and examples ===

#[test]
fn tidegate_accepts_every_conf() {
    let knows_clusters = tidegate::conf_schema()["$defs"]["SourcesSpec"]["properties"].get("kubernetes").is_some();
    let example = root().join("deploy/examples/default-backend/manifests.yaml");
    let others = vec![(example.clone(), documents("deploy/examples/default-backend/manifests.yaml"))];
    let mut count = 0;
    for (file, documents) in outputs().into_iter().chain(others) {
        for document in documents.iter().filter(|document| document["kind"] == "ConfigMap") {
            let conf = document["data"]["tidegate.yaml"].as_str().unwrap();
            if conf.contains("kubernetes:") && !knows_clusters {
                eprintln!("SKIPPED: {}: this version has no sources.kubernetes", file.display());
                continue;
            }
            if let Err(faults) = Settings::parse(conf, Path::new("tidegate.yaml")) {
                panic!("{}: {faults:#?}", file.display());
            }
            count += 1;
        }
    }
    assert!(count >= 2, "{count} conf files");
}

#[test]
fn the_manifests_of_the_examples_pass_check() {
    for name in ["http-and-https", "wildcard-certificate"] {
        let folder = tempfile::tempdir().unwrap();
        let manifests = root().join("deploy/examples").join(name).join("manifests.yaml");
        let conf = format!("sources: {{ files: {{ paths: [{manifests:?}] }} }}\n");
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, conf).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "--conf", file.to_str().unwrap()])
            .env_remove("TIDEGATE_CONF")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        // Secrets are made by hand, and pods are the reader's.
        let expected = ["warning[SecretNotFound]", "warning[NoEndpoints]"];
        let mut findings = told.lines().filter(|line| line.starts_with("error") || line.starts_with("warning"));
        let has_others = findings.any(|line| !expected.iter().any(|start| line.starts_with(start)));
        assert!(output.status.success() && !has_others, "{name}: {told}");
    }
}

// === files ===

/// The expected output of every case of the chart and of every overlay.
fn outputs() -> Vec<(PathBuf, Vec<Value>)> {
    let cases = list("tests/deploy/helm").into_iter().map(|case| case.join("expected.yaml"));
    let files: Vec<PathBuf> = cases.chain(list("tests/deploy/kustomize")).collect();
    assert!(files.len() > 8, "{files:?}");
    files.into_iter().map(|file| (file.clone(), parse(&std::fs::read_to_string(&file).unwrap()))).collect()
}

fn list(folder: &str) -> Vec<PathBuf> {
    std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Pods of Deployments and DaemonSets.
fn pods(documents: &[Value]) -> Vec<&Value> {
    let workloads =
        documents.iter().filter(|document| document["kind"] == "Deployment" || document["kind"] == "DaemonSet");
    workloads.map(|workload| &workload["spec"]["template"]["spec"]).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    parse(&read(path)).remove(0)
}

fn documents(path: &str) -> Vec<Value> {
    parse(&read(path))
}

fn parse(text: &str) -> Vec<Value> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no mapping: {value}")).keys().cloned().collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}
