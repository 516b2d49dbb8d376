//! The program as users meet it: commands, output, exit codes, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

#[path = "cli/check.rs"]
mod check;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/live.rs"]
mod live;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/small.rs"]
mod small;
#[path = "cli/starved.rs"]
mod starved;
#[path = "cli/support.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(root()).env_remove("TIDEGATE_CONF").env_remove("TIDEGATE_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A folder with a conf file, and manifests that it reads.
fn folder(conf: &str, manifests: &[(&str, &str)]) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("m")).unwrap();
    for (name, content) in manifests {
        std::fs::write(folder.path().join("m").join(name), content).unwrap();
    }
    let file = folder.path().join("tidegate.yaml");
    std::fs::write(&file, format!("sources: {{ files: {{ paths: [m] }} }}\n{conf}")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

const SHOP: &str = r#"apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: default
  annotations:
    nginx.ingress.kubernetes.io/proxy-read-timeout: "7"
    nginx.ingress.kubernetes.io/proxy-send-timeout: "soon"
spec:
  ingressClassName: tidegate
  rules:
  - host: shop.test
    http:
      paths:
      - { path: /cart, pathType: Prefix, backend: { service: { name: cart, port: { number: 80 } } } }
      - { path: /, pathType: Prefix, backend: { service: { name: gone, port: { number: 80 } } } }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: default }
spec: { ports: [ { name: http, port: 80 } ] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: { name: cart-1, namespace: default, labels: { kubernetes.io/service-name: cart } }
ports: [ { name: http, port: 9 } ]
endpoints: [ { addresses: [ 127.0.0.1 ] } ]
"#;

// === check ===

#[test]
fn check_is_silent_about_a_clean_conf_and_exits_0() {
    let (_folder, conf) = folder("routes: [ { respond: { body: hi } } ]\n", &[]);
    let output = run(&["check", "--conf", &conf]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output), errors(&output));
    assert!(text(&output).contains("no findings"), "{}", text(&output));
}

#[test]
fn check_points_at_the_fault_with_a_caret_and_exits_1() {
    let (_folder, conf) = folder("", &[("shop.yaml", SHOP)]);
    let output = run(&["check", "--conf", &conf]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let line = SHOP.lines().position(|line| line.contains("name: gone")).unwrap() + 1;
    assert!(told.contains("error[ServiceNotFound]") && told.contains(&format!("shop.yaml:{line}:")), "{told}");
    assert!(told.contains("[InvalidAnnotation]") && told.contains("soon") && told.contains("= help:"), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    let source = lines.iter().position(|line| line.contains("proxy-send-timeout: \"soon\"")).expect("the source line");
    let caret = lines[source + 1].find('^').expect("a caret under it");
    assert!(lines[source][caret..].starts_with("nginx.ingress") || lines[source][caret..].starts_with('"'), "{told}");
}

#[test]
fn check_speaks_json_and_can_deny_warnings() {
    let warned = SHOP.replace("name: gone", "name: cart");
    let (_folder, conf) = folder(
        "",
        &[("shop.yaml", &warned.replace("\"soon\"", "\"9\"").replace("kind: Service", "kind: Service # x"))],
    );
    assert_eq!(run(&["check", "--conf", &conf]).status.code(), Some(0));
    let deprecated = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: { name: old, namespace: default }\nspec: { ingressClassName: tidegate, backend: { serviceName: cart, servicePort: 80 } }\n";
    let (_folder, conf) = folder("", &[("shop.yaml", &warned.replace("\"soon\"", "\"9\"")), ("old.yaml", deprecated)]);
    assert_eq!(run(&["check", "--conf", &conf]).status.code(), Some(0));
    assert_eq!(run(&["check", "--conf", &conf, "--deny-warnings"]).status.code(), Some(1));
    let found = json(&run(&["check", "--conf", &conf, "-o", "json"]));
    let codes: Vec<&str> =
        found["diagnostics"].as_array().unwrap().iter().filter_map(|it| it["code"].as_str()).collect();
    assert!(codes.contains(&"DeprecatedApiVersion"), "{codes:?}");
}

#[test]
fn conf_faults_are_pointed_at_with_the_nearest_name() {
    let (_folder, conf) = folder("routs: []\nlisteners: [ { name: a, address: nowhere, protocol: http } ]\n", &[]);
    let output = run(&["check", "--conf", &conf]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("tidegate.yaml:2:1") && told.contains("did you mean `routes`?"), "{told}");
    let missing = run(&["check", "--conf", "/nonexistent/conf.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("FileUnreadable"), "{}", text(&missing));
    let serve = run(&["run", "--conf", &conf]);
    assert_eq!(serve.status.code(), Some(1), "a process without a good conf does not start");
}

#[test]
fn one_bad_file_or_secret_never_hides_the_rest() {
    let bomb = format!(
        "a: &a [x, x]\n{}",
        (0..40).map(|n| format!("b{n}: &b{n} [*a, *a, *a, *a, *a, *a]\n")).collect::<String>()
    );
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: tls, namespace: default }\ntype: kubernetes.io/tls\nstringData: { tls.crt: rubbish, tls.key: rubbish }\n";
    let tls = SHOP.replacen("  rules:", "  tls: [ { hosts: [shop.test], secretName: tls } ]\n  rules:", 1);
    let (folder, conf) =
        folder("", &[("a.yaml", &tls), ("bomb.yaml", &bomb), ("half.yaml", "kind: [\n"), ("secret.yaml", secret)]);
    std::fs::write(folder.path().join("m/latin.yaml"), b"name: \xff\xfe\n").unwrap();
    let told = text(&run(&["check", "--conf", &conf]));
    for expected in ["half.yaml:", "latin.yaml", "InvalidCertificate", "ServiceNotFound"] {
        assert!(told.contains(expected), "{expected} is missing: {told}");
    }
    assert!(!told.contains("rubbish"), "contents of Secrets never show: {told}");
    let rows = json(&run(&["routes", "--conf", &conf, "-o", "json"]));
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows:#}");
}

#[test]
fn every_example_and_the_demo_pass_check() {
    let files = std::fs::read_dir(root().join("conf/examples")).unwrap().flatten().map(|entry| entry.path());
    let examples = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let mut count = 0;
    for file in examples.chain([root().join("conf/tidegate.yaml")]) {
        let output = run(&["check", "--conf", file.to_str().unwrap()]);
        let errors_found = text(&output).lines().filter(|line| line.starts_with("error")).count();
        assert_eq!((output.status.code(), errors_found), (Some(0), 0), "{}: {}", file.display(), text(&output));
        count += 1;
    }
    assert!(count > 8, "{count} examples");
}

// === routes and explain ===

#[test]
fn routes_come_as_table_json_and_yaml() {
    let (_folder, conf) = folder("", &[("shop.yaml", SHOP)]);
    let table = text(&run(&["routes", "--conf", &conf]));
    let cart = table.lines().find(|line| line.contains("/cart")).expect("a row");
    assert!(table.starts_with("HOST") && cart.contains("default/cart:80") && cart.contains("1/1"), "{table}");
    let rows = json(&run(&["routes", "--conf", &conf, "-o", "json"]));
    assert_eq!((rows[0]["path"].as_str(), rows[0]["kind"].as_str()), (Some("/cart"), Some("prefix")));
    let yaml = text(&run(&["routes", "--conf", &conf, "-o", "yaml"]));
    assert!(yaml.contains("path: /cart"), "{yaml}");
}

#[test]
fn explain_tells_winner_losers_settings_and_pick() {
    let conf = "plugins: { tag: { type: headers, request: { set: { X-Tag: a } } } }\n";
    let shop = SHOP.replacen("    nginx.ingress", "    tidegate.io/plugins: tag\n    nginx.ingress", 1);
    let (_folder, conf) = folder(conf, &[("shop.yaml", &shop)]);
    let output = run(&["explain", "--conf", &conf, "GET", "http://shop.test/x/../cart/1?q=1"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for expected in [
        "shop.test/cart/1?q=1",
        "✔ prefix /cart",
        "✘ prefix /",
        "comes before it",
        "= 7s",
        "proxy-read-timeout",
        "tag (headers, stage transform",
        "127.0.0.1:9",
        "shop.yaml",
    ] {
        assert!(told.contains(expected), "{expected} is missing:\n{told}");
    }
    let refused = run(&["explain", "--conf", &conf, "GET", "http://shop.test/a%2Fb", "-o", "json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&refused)["reason"], "bad_path");
    let lost = json(&run(&["explain", "--conf", &conf, "GET", "http://nobody.test/", "-o", "json"]));
    assert_eq!((lost["reason"].as_str(), lost["isServed"].as_bool()), (Some("no_route"), Some(false)));
}

#[test]
fn real_world_manifests_are_routed_and_each_route_is_explained() {
    let conf = root().join("conf/examples/ingress.yaml");
    let conf = conf.to_str().unwrap();
    let rows = json(&run(&["routes", "--conf", conf, "-o", "json"]));
    let rows = rows.as_array().unwrap();
    assert!(rows.len() >= 10, "{} routes", rows.len());
    for row in rows.iter().filter(|row| row["kind"] != "regex") {
        let host = match row["host"].as_str().unwrap() {
            "*" | "-" => "unknown.example".to_owned(),
            host => host.replacen('*', "any", 1),
        };
        let path = row["path"].as_str().unwrap();
        let url = format!("https://{host}{path}");
        let explained = json(&run(&["explain", "--conf", conf, "GET", &url, "-o", "json"]));
        let candidates = explained["candidates"].as_array().unwrap();
        let is_told = candidates.iter().any(|it| it["route"] == row["route"] && it["kind"] == row["kind"]);
        assert!(is_told, "{url} does not tell of {}: {explained:#}", row["route"]);
    }
}

#[test]
fn schemas_version_completions_and_wrong_usage() {
    assert_eq!(json(&run(&["schema"]))["type"], "object");
    let headers = json(&run(&["schema", "headers"]));
    assert!(headers["properties"]["mode"].is_object() && headers["properties"]["request"].is_object(), "{headers:#}");
    assert_eq!(run(&["schema", "nonsense"]).status.code(), Some(1));
    assert!(text(&run(&["version"])).starts_with("tidegate "));
    assert!(text(&run(&["completions", "bash"])).contains("complete"));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
}

// === run ===

/// A program that serves; ended when dropped.
struct Serving {
    child: Child,
    summary: String,
}

impl Serving {
    fn start(conf: &Path) -> Self {
        let mut command = command();
        command.args(["run", "--conf", conf.to_str().unwrap()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut summary = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap() + "\n";
            summary += &line;
            if line.contains("findings") {
                break;
            }
        }
        // Whatever else is printed must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, summary }
    }

    fn address(&self, what: &str) -> String {
        let line = self.summary.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{}", self.summary));
        let address = line.rsplit("//").next().unwrap();
        address.split('/').next().unwrap().to_owned()
    }

    fn get(&self, what: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address(what)).unwrap();
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the program did not exit");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_free_ports(conf: &str) -> String {
    let ports = ["127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:10254", "127.0.0.1:10255"];
    ports.iter().fold(conf.to_owned(), |conf, address| conf.replace(address, "127.0.0.1:0"))
}

#[test]
fn the_demo_serves_tells_its_addresses_and_stops_on_sigterm() {
    let folder = TempDir::new().unwrap();
    let conf = folder.path().join("tidegate.yaml");
    let demo = std::fs::read_to_string(root().join("conf/tidegate.yaml")).unwrap();
    std::fs::write(&conf, on_free_ports(&demo)).unwrap();
    let mut serving = Serving::start(&conf);
    assert!(serving.summary.contains("is ready") && serving.summary.contains("https://"), "{}", serving.summary);
    assert!(
        serving.get("listening  http://", "/").starts_with("HTTP/1.1 200"),
        "{}",
        serving.get("listening  http://", "/")
    );
    assert!(serving.get("telemetry", "/readyz").starts_with("HTTP/1.1 200"));
    let admin = format!("http://{}", serving.address("admin"));
    let live = json(&run(&["routes", "--admin", &admin, "-o", "json"]));
    let offline = json(&run(&["routes", "--conf", conf.to_str().unwrap(), "-o", "json"]));
    assert_eq!(live, offline, "a running proxy and its files tell the same");
    let explained = text(&run(&["explain", "--admin", &admin, "GET", "http://localhost/api/hello"]));
    assert!(explained.contains("upstream/"), "{explained}");
    serving.signal("TERM");
    assert_eq!(serving.exit_code(), Some(0));
}

#[test]
fn sighup_reads_the_conf_again_and_a_used_address_is_a_clear_error() {
    let folder = TempDir::new().unwrap();
    let conf = folder.path().join("tidegate.yaml");
    let write = |port: &str, body: &str| {
        let text = format!(
            "listeners: [ {{ name: http, address: \"127.0.0.1:{port}\", protocol: http }} ]\ntelemetry: \"off\"\nadmin: \"off\"\naccessLog: \"off\"\nroutes: [ {{ respond: {{ body: {body} }} }} ]\n"
        );
        std::fs::write(&conf, text).unwrap();
    };
    write("0", "first");
    let mut serving = Serving::start(&conf);
    assert!(serving.get("listening  http://", "/").ends_with("first"));
    write("0", "second");
    serving.signal("HUP");
    let start = Instant::now();
    while !serving.get("listening  http://", "/").ends_with("second") {
        assert!(start.elapsed() < PATIENCE, "the new conf is never served");
        std::thread::sleep(Duration::from_millis(5));
    }
    let address = serving.address("listening  http://");
    write(address.rsplit(':').next().unwrap(), "third");
    let second = command().args(["run", "--conf", conf.to_str().unwrap()]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(errors(&second).contains("cannot listen on"), "{}", errors(&second));
    serving.signal("INT");
    assert_eq!(serving.exit_code(), Some(0));
}
