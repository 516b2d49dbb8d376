//! `tidegate run`: start, serve, reload, stop; and the questions that a running proxy answers.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{FREE_PORTS, Serving, folder, get, program, put, root, run, until};

/// The conf of the demo on ports that the system chooses.
fn demo() -> String {
    let text = std::fs::read_to_string(root().join("conf/tidegate.yaml")).unwrap();
    let mut free = text.clone();
    for port in ["8080", "8443", "10254", "10255"] {
        assert!(text.contains(&format!("127.0.0.1:{port}\"")), "the demo listens on {port}");
        free = free.replace(&format!("127.0.0.1:{port}\""), "127.0.0.1:0\"");
    }
    free.replace("path: stdout", "path: access.log")
}

fn serving(text: &str) -> (TempDir, Serving) {
    let it = folder(&[("t.yaml", text)]);
    let serving = Serving::start(it.path(), "t.yaml");
    (it, serving)
}

fn respond(host: &str, body: &str) -> String {
    format!(
        "{FREE_PORTS}routes: [{{ hosts: [{host}], paths: [{{ prefix: / }}], respond: {{ status: 200, body: {body} }} }}]\n"
    )
}

#[test]
fn the_demo_is_served_as_the_summary_says() {
    let (_it, serving) = serving(&demo());
    assert!(serving.summary[0].ends_with("is ready: 1 host, 6 routes, 0 certificates"), "{:?}", serving.summary);
    assert_eq!(serving.told("conf"), ["t.yaml"]);
    assert_eq!(serving.told("sources"), ["conf"]);
    assert_eq!(serving.told("findings"), ["0 errors, 0 warnings"]);
    let http = serving.listener("http");
    let (status, text) = get(&http, "any.test", "/api/hello");
    assert!(status == 200 && text.contains("\"target\": \"/api/hello\""), "{text}");
    assert!(text.to_lowercase().contains("x-served-by: tidegate"), "{text}");
    assert_eq!(get(&http, "any.test", "/docs").0, 302);
    let telemetry = serving.told("telemetry")[0].trim_start_matches("http://").to_owned();
    assert!(get(&telemetry, "t", "/metrics").1.contains("tidegate_requests_total"));
    assert_eq!(get(&telemetry, "t", "/readyz").0, 200);
    assert_eq!(serving.stop().0, Some(0));
}

#[test]
fn the_commands_of_the_summary_work_as_they_are_printed() {
    let (_it, serving) = serving(&format!(
        "{}\n  - {{ hosts: [a.test], paths: [{{ prefix: /x }}], backends: [{{ upstream: blue }}] }}\n",
        demo()
    ));
    let commands = serving.told("try");
    assert_eq!(commands.len(), 3, "{:?}", serving.summary);
    assert!(commands.iter().any(|it| it.starts_with("curl -ik ") && it.contains("https://")), "{commands:?}");
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: curl is not installed, so its commands are not run");
        return;
    }
    for command in commands {
        let out = Command::new("sh")
            .args(["-c", &format!("{command} --silent --max-time 30 --noproxy '*'")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let status = text.split(' ').nth(1).unwrap_or_default();
        assert!(out.status.success() && status == "200", "{command}: {text}");
    }
}

#[test]
fn hangup_reloads_the_conf_and_the_environment_names_it() {
    let it = folder(&[("t.yaml", &respond("a.test", "one"))]);
    let mut command = program(it.path(), &["run"]);
    command.env("TIDEGATE_CONF", "t.yaml");
    let serving = Serving::ready(command);
    let http = serving.listener("http");
    assert!(get(&http, "a.test", "/").1.ends_with("one"));
    put(it.path(), "t.yaml", &respond("a.test", "two"));
    serving.signal("HUP");
    until("the new conf is served", || get(&http, "a.test", "/").1.ends_with("two"));
    put(it.path(), "t.yaml", "routes: [\n");
    serving.signal("HUP");
    until("the fault is told", || {
        let done = run(it.path(), &["routes", "-o", "json", "--admin", &serving.admin()]);
        assert_eq!(done.exits(0).json().as_array().map(Vec::len), Some(1));
        get(serving.admin().trim_start_matches("http://"), "127.0.0.1", "/api/v1/diagnostics").1.contains("InvalidYaml")
    });
    assert!(get(&http, "a.test", "/").1.ends_with("two"), "the last good conf is served on");
    assert_eq!(serving.stop().0, Some(0));
}

#[test]
fn paths_of_the_file_source_change_while_it_runs() {
    let conf = |path: &str| format!("{FREE_PORTS}sources: {{ files: {{ paths: [{path}] }} }}\n");
    let manifest = |host: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {host}, namespace: x }}\nspec: {{ ingressClassName: tidegate, defaultBackend: {{ service: {{ name: s, port: {{ number: 80 }} }} }}, rules: [{{ host: {host} }}] }}\n"
        )
    };
    let it =
        folder(&[("t.yaml", &conf("one")), ("one/a.yaml", &manifest("a.test")), ("two/b.yaml", &manifest("b.test"))]);
    let serving = Serving::start(it.path(), "t.yaml");
    let hosts = || {
        let rows = run(it.path(), &["routes", "-o", "json", "--admin", &serving.admin()]).exits(0).json();
        rows.as_array().unwrap().iter().map(|row| row["host"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(), ["a.test"]);
    put(it.path(), "t.yaml", &conf("two"));
    until("the other folder is served", || hosts() == ["b.test"]);
}

#[test]
fn the_conf_is_found_where_it_stands_by_default_and_is_built_in_elsewhere() {
    let it = folder(&[("conf/tidegate.yaml", &demo())]);
    let serving = Serving::ready(program(it.path(), &[]));
    assert_eq!(serving.told("conf"), ["conf/tidegate.yaml"]);
    assert_eq!(get(&serving.listener("http"), "any.test", "/").0, 200);
    let (code, log) = serving.stop();
    assert_eq!(code, Some(0));
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    // The built-in conf has fixed ports, so it is read here and not served.
    run(folder(&[]).path(), &["check"]).exits(0).says(&["(built-in demo): 1 host, 6 routes"]);
}

#[test]
fn a_proxy_that_is_not_there_is_told() {
    let (it, serving) = serving(&respond("a.test", "one"));
    let admin = serving.admin();
    serving.stop();
    let done = run(it.path(), &["routes", "--admin", &admin]).exits(1);
    assert!(done.err.contains(admin.trim_start_matches("http://")), "{}", done.err);
    run(it.path(), &["explain", "GET", "http://a.test/", "--admin", "not a url"]).exits(1);
}

/// A folder with the program under the name of a plugin of kubectl, and a kubectl that knows one Pod.
fn plugin(admin: &str) -> TempDir {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let port = admin.rsplit_once(':').unwrap().1;
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>\"$0.calls\"\ncase \"$*\" in\n*'get pods'*) echo pod/one ;;\n*port-forward*) echo 'Forwarding from 127.0.0.1:{port} -> 10255'; exec sleep 60 ;;\nesac\n"
    );
    let it = folder(&[("kubectl", &script)]);
    let kubectl = it.path().join("kubectl");
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(env!("CARGO_BIN_EXE_tidegate"), it.path().join("kubectl-tidegate")).unwrap();
    it
}

#[test]
fn under_the_name_of_a_kubectl_plugin_it_asks_a_pod() {
    let (_it, serving) = serving(&demo());
    let plugin = plugin(serving.told("admin")[0]);
    let ask = |arguments: &[&str]| {
        let path = format!("{}:{}", plugin.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new(plugin.path().join("kubectl-tidegate")).args(arguments).env("PATH", path).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask(&["routes"]).contains("/api"), "{}", ask(&["routes"]));
    assert!(ask(&["certs"]).contains("VALID UNTIL"));
    assert!(ask(&["backends"]).contains("blue"));
    assert_eq!(ask(&["diagnostics"]), "no findings\n");
    assert!(ask(&["explain", "GET", "http://any.test/api/x"]).contains("response"));
    ask(&["--namespace", "edge", "--context", "c; rm", "--pod", "two", "routes", "-o", "json"]);
    let calls = std::fs::read_to_string(plugin.path().join("kubectl.calls")).unwrap();
    assert!(calls.contains("--namespace tidegate get pods"), "{calls}");
    assert!(calls.ends_with("--namespace edge --context c; rm port-forward pod/two :10255\n"), "{calls}");
}

#[test]
fn a_running_proxy_tells_of_certificates_backends_and_findings() {
    let (it, serving) = serving(&demo());
    let admin = &serving.told("admin")[0];
    let ask = |what: &str, form: &str| run(it.path(), &[what, "--admin", admin, "-o", form]);
    for what in ["certs", "backends", "diagnostics"] {
        assert!(serde_json::from_str::<Value>(&ask(what, "json").out).unwrap().is_array(), "{what}");
        assert_eq!(ask(what, "yaml").code, Some(0), "{what}");
    }
    assert!(ask("backends", "table").out.contains("IN FLIGHT"));
}

// === the folder of real-world input ===

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use std::path::Path;

    use super::*;

    fn real_world() -> String {
        let data = root().join("tests/data");
        format!(
            "{FREE_PORTS}sources: {{ files: {{ paths: [\"{}\"] }} }}\ningress: {{ className: nginx, watchWithoutClass: true, controllers: [tidegate.io/ingress-controller, k8s.io/ingress-nginx] }}\n",
            data.display()
        )
    }

    /// An explanation without what differs from one process to the next: where a round begins is random.
    fn steady(mut explanation: Value) -> Value {
        let is_sole =
            explanation["upstreams"].as_array().unwrap().iter().all(|it| it["endpoints"].as_array().unwrap().len() < 2);
        if !is_sole {
            explanation["response"] = Value::Null;
            for upstream in explanation["upstreams"].as_array_mut().unwrap() {
                assert!(upstream["next"].is_string());
                upstream["next"] = Value::Null;
            }
        }
        explanation
    }

    fn explain(folder: &Path, url: &str, admin: Option<&str>) -> Value {
        let mut args = vec!["explain", "--conf", "t.yaml", "-o", "json", "GET", url];
        args.extend(admin.iter().flat_map(|admin| ["--admin", *admin]));
        let done = run(folder, &args);
        assert!(!done.err.contains("panicked"), "{}", done.err);
        done.json()
    }

    #[test]
    fn real_world_input_is_served_and_explained_route_by_route() {
        let (it, serving) = serving(&real_world());
        let admin = serving.admin();
        let offline = run(it.path(), &["routes", "--conf", "t.yaml", "-o", "json"]).exits(0).json();
        let online = run(it.path(), &["routes", "-o", "json", "--admin", &admin]).exits(0).json();
        assert_eq!(offline, online);
        let rows = online.as_array().unwrap();
        assert!(rows.len() >= 20, "{} rows", rows.len());
        for row in rows {
            let text = |field: &str| row[field].as_str().unwrap();
            let url = format!("https://{}{}", text("host").replace('*', "any"), text("path"));
            let it_says = explain(it.path(), &url, None);
            assert_eq!(steady(it_says.clone()), steady(explain(it.path(), &url, Some(&admin))), "{url}");
            let candidates = it_says["candidates"].as_array().unwrap();
            let this = candidates.iter().find(|it| it["origin"] == row["origin"] && it["path"] == row["path"]);
            let this = this.unwrap_or_else(|| panic!("{url}: {row} is no candidate of {it_says:#}"));
            let winner = named(&it_says["route"]).unwrap_or_else(|| panic!("{url}: {it_says:#}"));
            let verdict = this["verdict"].as_str().unwrap();
            let is_told = this["won"] == true && Some(&winner) == named(&row["route"]).as_ref()
                || verdict.contains(&format!("`{winner}`")) && verdict.contains("comes before it")
                || text("kind") == "fallback" && this["won"] == false;
            assert!(is_told, "{url}: `{verdict}`");
            // Nobody answers at the endpoints' addresses; the request is not sent, only a plain one that redirects is.
            if explain(it.path(), &url.replace("https", "http"), None)["reason"] == "https_redirect" {
                assert_eq!(get(&serving.listener("http"), text("host"), text("path")).0, 308, "{url}");
            }
        }
        assert_eq!(serving.stop().0, Some(0));
    }

    /// `namespace/name`, or the name of a conf route.
    fn named(route: &Value) -> Option<String> {
        let (namespace, name) = (route["namespace"].as_str()?, route["name"].as_str()?);
        Some(if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") })
    }
}
