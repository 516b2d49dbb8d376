//! The rights that are shipped are those that are used, and those that `tidegate rbac` prints: every call that tidegate
//! makes is granted, and every grant is used by a call. The program runs as a process, since its Pod's name comes from the environment.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::edge::{kubeconfig, objects, put};
use crate::server::ApiServer;
use crate::support::{Echo, ingress, service, tls_secret};

/// `verb group/resource`.
type Rights = BTreeSet<String>;

/// The program, killed when it is dropped.
struct Program {
    process: Child,
    folder: tempfile::TempDir,
}

impl Program {
    fn start(server: &ApiServer, kubernetes: &str, status: &str) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("kube.yaml"), kubeconfig(server)).unwrap();
        let conf = format!(
            "listeners: [ {{ name: http, address: '127.0.0.1:0', protocol: http }} ]\ntelemetry: off\nadmin: off\naccessLog: off\nlog: {{ level: error }}\nsources: {{ kubernetes: {{ kubeconfig: kube.yaml{kubernetes} }} }}\ningress: {{ status: {{ {status} }} }}\ndefaults: {{ allowAddresses: [127.0.0.0/8] }}\n"
        );
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, conf).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("run").arg("--conf").arg(&file).env("POD_NAME", "one").env("POD_NAMESPACE", "edge");
        Self { process: command.stdout(Stdio::null()).spawn().unwrap(), folder }
    }

    /// What `tidegate rbac` prints for the same conf.
    fn printed(&self) -> Rights {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("rbac").arg("--conf").arg(self.folder.path().join("tidegate.yaml"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        rights_of(&String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the roles of rendered manifests grant.
fn granted(file: &str) -> Rights {
    rights_of(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap())
}

fn rights_of(text: &str) -> Rights {
    let mut rights = Rights::new();
    for role in objects(text).iter().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role") {
        for rule in role["rules"].as_array().unwrap() {
            let each = |field: &str| rule[field].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
            for (group, resource) in
                each("apiGroups").flat_map(|group| each("resources").map(move |it| (group.clone(), it)))
            {
                rights.extend(each("verbs").map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    rights
}

/// What calls needed.
fn used(server: &ApiServer) -> Rights {
    server.calls().iter().map(|call| right(call)).collect()
}

fn right(call: &str) -> String {
    let mut words = call.split(' ');
    let (method, uri) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let group = if segments[0] == "api" { "" } else { segments[1] };
    segments.drain(..if group.is_empty() { 2 } else { 3 });
    if segments[0] == "namespaces" && segments.len() > 2 {
        segments.drain(..2);
    }
    let verb = match (method, segments.len()) {
        ("GET", 1) if query.contains("watch=true") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        other => panic!("{other:?}"),
    };
    let subresource = segments.get(2).map(|it| format!("/{it}")).unwrap_or_default();
    format!("{verb} {group}/{}{subresource}", segments[0])
}

/// Findings on every kind that events are written for, a certificate, and a status to write.
async fn furnish(server: &ApiServer) -> Echo {
    let echo = Echo::start("a").await;
    let (secret, _) = tls_secret("cert", &["a.test"]);
    let tls = "  tls: [ { hosts: [a.test], secretName: cert } ]\n";
    put(
        server,
        &(ingress("a", "a.test", &[("/", "a"), ("/b", "nowhere")]) + tls + &service("a", &[echo.address]) + &secret),
    );
    echo
}

async fn until_all_is_used(server: &ApiServer, rights: &Rights) {
    let left = |server: &ApiServer| rights.difference(&used(server)).cloned().collect::<Vec<_>>();
    let wait = server.until(|server| left(server).is_empty());
    if tokio::time::timeout(crate::support::PATIENCE, wait).await.is_err() {
        panic!("granted and never used: {:#?}", left(server));
    }
    let more: Vec<String> = used(server).difference(rights).cloned().collect();
    assert_eq!(more, [""; 0], "used and never granted");
}

#[tokio::test]
async fn behind_a_load_balancer() {
    let server = ApiServer::start().await;
    let _echo = furnish(&server).await;
    let mut front: Value = objects(&service("tidegate-controller", &[])).remove(0);
    front["metadata"]["namespace"] = "tidegate".into();
    front["spec"]["type"] = "LoadBalancer".into();
    front["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    server.apply(front);
    let program = Program::start(&server, "", "publishService: tidegate/tidegate-controller");
    let mut rights = granted("tests/deploy/kustomize/load-balancer.yaml");
    assert_eq!(program.printed(), rights);
    // For findings about classes and Services; the other kinds show that it is done.
    assert!(rights.remove("get networking.k8s.io/ingressclasses"));
    until_all_is_used(&server, &rights).await;
}

#[tokio::test]
async fn on_the_network_of_the_nodes() {
    let server = ApiServer::start().await;
    let _echo = furnish(&server).await;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "edge", "name": "one", "labels": { "app": "tidegate" } },
        "spec": { "nodeName": "node", "containers": [] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    server.apply(pod);
    let addresses = json!([{ "type": "InternalIP", "address": "192.0.2.5" }]);
    server.apply(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" }, "status": { "addresses": addresses } }));
    let program = Program::start(&server, "", "nodeAddresses: internal");
    let mut rights = granted("tests/deploy/kustomize/host-network.yaml");
    assert_eq!(program.printed(), rights);
    for rare in ["get networking.k8s.io/ingressclasses", "get /services"] {
        assert!(rights.remove(rare), "{rare}");
    }
    until_all_is_used(&server, &rights).await;
}

#[tokio::test]
async fn with_namespaces_chosen_by_labels() {
    let server = ApiServer::start().await;
    server.apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default", "labels": { "team": "a" } } }));
    let _echo = furnish(&server).await;
    let program = Program::start(&server, ", namespaceSelector: team=a", "addresses: [192.0.2.1]");
    assert!(program.printed().is_subset(&granted("tests/deploy/helm/selected/expected.yaml")));
    let rights = granted("tests/deploy/helm/selected/expected.yaml");
    let (wanted, all) = (["list /namespaces", "watch /namespaces"].map(str::to_owned), rights);
    assert!(wanted.iter().all(|right| all.contains(right)), "{all:?}");
    server.until(|server| wanted.iter().all(|right| used(server).contains(right))).await;
    server.until(|server| server.calls().iter().any(|call| call.starts_with("PATCH"))).await;
    let more: Vec<String> = used(&server).difference(&all).cloned().collect();
    assert_eq!(more, [""; 0], "used and never granted");
}
