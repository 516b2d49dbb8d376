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
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tidegate::Reason;
use tidegate::bench::telemetry::{
    AccessLog, Attempt, Destination, Format, Metrics, NginxFormat, Recorder, RequestRecord,
};
use tidegate::bench::translate::{ANNOTATIONS, Annotation, Security, Support};
use tidegate_plugin::RouteFacts;

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
fn the_response_reference_is_up_to_date() {
    compare("docs/responses.md", &response_reference());
}

#[test]
fn the_metric_reference_is_up_to_date() {
    compare("docs/metrics.md", &metric_reference());
}

#[test]
fn the_reference_of_findings_is_up_to_date() {
    compare("docs/findings.md", &finding_reference());
}

/// A finding is made as its code's table says: as an error, a warning or a note.
#[test]
fn findings_have_the_severity_that_the_table_says() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for severity in ["error", "warning", "info"] {
            for made in text.split(&format!("Diagnostic::{severity}(Code::")).skip(1) {
                let name: String = made.chars().take_while(char::is_ascii_alphanumeric).collect();
                let code = tidegate::Code::ALL.iter().find(|code| code.as_str() == name).unwrap();
                let is_known = code.severities().iter().any(|known| known.as_str() == severity);
                let is_test = path.to_string_lossy().contains("tests") || path.ends_with("cli/report.rs");
                assert!(is_known || is_test, "{}: {name} as {severity}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen} findings were seen");
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
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut known = BTreeSet::new();
    for (prefix, spec) in [("limits", "Limits"), ("timeouts", "TimeoutsSpec")] {
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

/// Whoever searches the docs for a word of the field finds the page that has it, or that it is not supported.
#[test]
fn the_index_and_the_list_of_what_is_not_supported_have_the_words_of_the_field() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap().to_lowercase();
    let (index, missing) = (read("README.md"), read("not-supported.md"));
    let here = "header, timeout, retries, rate limit, basic authentication, health check, load balancing, redirect, \
                trusted proxies, websocket, grpc, http/2, metrics, access log, rbac, certificate, admission webhook";
    let not_here = "sticky, affinity, gzip, brotli, hsts, tracing, opentelemetry, cors, rewrite, canary, mirror, oauth, \
                    jwt, mtls, whitelist, modsecurity, cache, proxy protocol, http/3, gateway api";
    for (page, words) in [(&index, here), (&missing, not_here)] {
        words.split(", ").for_each(|word| assert!(page.contains(word), "`{word}` is not found"));
    }
    for entry in std::fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_page = name.ends_with(".md") && name != "README.md";
        assert!(!is_page || index.contains(&format!("({})", name.to_lowercase())), "the index has no {name}");
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

// === annotations and responses ===

fn annotation_reference() -> String {
    let mut text = String::from(
        "# Annotation reference\n\nGenerated from the tables in `src/translate/ingress/annotations/`.\nEvery annotation is read under `tidegate.io/` and, where the table says so, under `nginx.ingress.kubernetes.io/` (or what `ingress.annotationsPrefix` says); `tidegate.io/` wins.\nNames are case-insensitive; one name in two spellings with two values is an error.\n\n| annotation | also as nginx | value | meaning |\n|---|---|---|---|\n",
    );
    for annotation in ANNOTATIONS.iter().filter(|row| row.support != Support::Unread) {
        let nginx = if annotation.support == Support::Both { "yes" } else { "no" };
        let _ = writeln!(text, "| `{}` | {nginx} | {} | {} |", annotation.name, annotation.grammar, annotation.doc);
    }
    protection_reference(&mut text);
    text
}

fn protection_reference(text: &mut String) {
    *text += "\n## What closes the routes\n\nGenerated from the table in `src/translate/ingress/annotations/family/unread.rs`.\nThese security annotations are not supported, under either prefix; where one asks for protection, the routes of the Ingress are closed (503 `broken_policy`) rather than served without it.\nUnder `tidegate.io/` an unknown name that resembles one of them, or `plugins` or an `auth-…` of above, closes routes too, and so does one of them on a Service.\n\n| annotation | what it does in ingress-nginx | closes |\n|---|---|---|\n";
    let unread = ANNOTATIONS.iter().filter(|row| row.support == Support::Unread);
    let (softer, closing): (Vec<&Annotation>, Vec<&Annotation>) = unread.partition(|row| row.security == Security::No);
    for Annotation { name, security, doc, .. } in closing {
        let _ = writeln!(text, "| `{name}` | {doc} | {} |", closes(*security));
    }
    *text += "\nThese relax a rule, belong to one of the former, or limit rates: the routes are served without them, with a finding.\n\n| annotation | what it does in ingress-nginx |\n|---|---|\n";
    for Annotation { name, doc, .. } in softer {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
}

fn closes(security: Security) -> String {
    match security {
        Security::Always | Security::No => "always".to_owned(),
        Security::Unless(none) => {
            let values: Vec<String> = none.iter().map(|value| format!("`{value}`")).collect();
            format!("unless it is {}", values.join(", "))
        }
        Security::UnlessEverybody => "unless it has both `0.0.0.0/0` and `::/0`".to_owned(),
        Security::UnlessBlank => "unless it is empty".to_owned(),
        Security::AccessRule => {
            "with `deny`, `allow`, `satisfy`, `auth_…`, `return` of 400 and above, `include`, Lua, or what cannot be parsed".to_owned()
        }
    }
}

fn response_reference() -> String {
    let mut text = String::from(
        "# Responses of tidegate's own\n\nEvery request ends with one reason code, in the access log (`reason`) and in `tidegate_requests_total{reason}`.\nError responses have `Content-Type`, `Content-Length`, `Date`, `Server` and `X-Request-ID`.\nThe body is short text; clients that accept JSON get `application/problem+json` (RFC 9457); gRPC requests get `grpc-status`.\n\n| reason | status |\n|---|---|\n",
    );
    for reason in Reason::ALL {
        let _ = writeln!(text, "| `{reason}` | {} |", reason.status());
    }
    text
}

// === metrics and log ===

const METRICS_AND_LOG: &str = "# Metrics and access log

`/metrics` of the telemetry listener is Prometheus' text format.
Labels come from the configuration, never from requests, so that the number of series is bounded.

## What a route is called

| label | field of the JSON log | nginx variable | value |
|---|---|---|---|
| `namespace` | `namespace` | `$namespace` | namespace of the object; empty for a route of the conf |
| `kind` | `route.kind` | `$route_kind` | `Ingress`, or `Conf` for a route of the conf; empty: no route |
| `route` | `route.name` | `$route_name`, `$ingress_name` | name of the object, or of the conf route; `unmatched` in metrics: no route |
| `service` | `service` | `$service_name` | the backend that was chosen: a Service, or an upstream of the conf |
| `path` | `http.route` | `$location_path` | path of the rule |
| `method` | `http.request.method` | `$request_method` | method; in metrics `OTHER` for those outside RFC 9110 and RFC 5789 |
| `code` | `http.response.status_code` | `$status` | status of the response |
| `reason` | `reason` | `$reason` | where the response is from, or why the request failed: [responses.md](responses.md) |
| `upstream` | `upstream` | `$proxy_upstream_name` | the upstream that was chosen: Service and port, or `upstream/` and its name |

- Of several weighted backends `service` is the one that the request went to; a request that ends before one is chosen has none. A route with one backend always names it.
- A Service of another namespace than the route's is written `namespace/name`.
- In `explain`, `routes` and the admin API the same names stand under `route`.
- Series of a route disappear when the route is removed and its last request has ended, and start at zero when it is added again.
- Prometheus renames `namespace` and `service` to `exported_namespace` and `exported_service` where the scrape has labels of these names; `honorLabels: true` undoes that.

The share of errors of each backend: `sum by (namespace, kind, route, service) (rate(tidegate_requests_total{code=~\"5..\"}[5m])) / sum by (namespace, kind, route, service) (rate(tidegate_requests_total[5m]))`.

## The access log
`accessLog.format` is `json` (the default, one object a line), `combined`, or `nginx` with a `log_format`.
A line of JSON, with names of OpenTelemetry where there is one; fields without a value are left out. `attempts` has each attempt at an endpoint; all after the first are retries:

```json
";

fn metric_reference() -> String {
    let mut text = format!("{METRICS_AND_LOG}{}\n```\n\nVariables of `nginx` formats: ", sample_line());
    let variables: Vec<String> = NginxFormat::variables().map(|name| format!("`${name}`")).collect();
    let _ =
        write!(text, "{}.\n\n## Every metric\n\n| metric | labels | meaning |\n|---|---|---|\n", variables.join(", "));
    for family in Metrics::new().unwrap().families() {
        let labels: Vec<String> = family.variable_labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{}` | {} | {} |", family.fq_name, labels.join(", "), family.help);
    }
    text
}

/// A line of the access log as the program writes it.
fn sample_line() -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = AccessLog::open(Format::Json, Destination::File(file.clone())).unwrap();
    let route = RouteFacts::new("Ingress", "shop", "web").service("api").path("/cart");
    let tried = Attempt {
        address: "10.1.0.7:8080".parse().unwrap(),
        connect: Some(Duration::from_micros(312)),
        header: Some(Duration::from_micros(11_204)),
        response: Some(Duration::from_micros(11_530)),
        is_reused: false,
        outcome: Reason::Upstream,
    };
    log.record(&RequestRecord {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_239_042_123),
        duration: Duration::from_micros(12_345),
        method: "GET",
        scheme: "https",
        host: "shop.example",
        path: "/cart/7",
        query: Some("page=2"),
        protocol: "HTTP/1.1",
        status: 200,
        reason: Reason::Upstream,
        route: Some(&route),
        metrics: None,
        client: [192, 0, 2, 1].into(),
        peer: ([10, 0, 0, 9], 4711).into(),
        listener: "https",
        request_id: "0123456789abcdef0123456789abcdef",
        user_agent: Some(b"curl/8"),
        referer: None,
        request_bytes: 120,
        response_bytes: 345,
        attempts: &[tried],
        upstream: Some("shop/api:80"),
        tls: None,
        error: None,
        identity: None,
        answered_by: None,
        sent: None,
        plugins: &[],
    });
    log.close();
    std::fs::read_to_string(&file).unwrap().trim_end().to_owned()
}

fn finding_reference() -> String {
    let mut text = String::from(
        "# Findings\n\nGenerated from the table in `src/code.rs`.\nA finding has a code; `tidegate check` prints it, events have it as their reason, the process log has it as `code`.\nThe message of a finding names object and field; this page says what goes for every finding of a code.\n",
    );
    for code in tidegate::Code::ALL {
        let severities: Vec<&str> = code.severities().iter().map(|severity| severity.as_str()).collect();
        let (cause, remedy) = (code.cause().split_whitespace().collect::<Vec<_>>().join(" "), code.remedy());
        let _ = write!(text, "\n## {code}\n\nSeverity: {}.\n{cause}\nRemedy: {remedy}.\n", severities.join(" or "));
        assert!(code.docs().ends_with(&format!("#{}", code.as_str().to_lowercase())));
    }
    text
}
