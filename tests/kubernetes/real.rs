//! Against a real API server, when `TIDEGATE_KUBECONFIG` names the kubeconfig of tidegate's own account; objects are
//! made with `TIDEGATE_ADMIN_KUBECONFIG`. Pods must be reachable from here. `tests/kube.sh` brings all of it up.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::edge::{Edge, Load, objects};
use crate::support::{PATIENCE, Response, get, presented, request, tls_secret};

/// A cluster in which a test has a namespace of its own.
pub struct Cluster {
    client: kube::Client,
    kubeconfig: String,
    pub namespace: String,
}

/// Where objects of a kind are.
const PLURALS: [(&str, &str); 10] = [
    ("Namespace", "/api/v1/namespaces"),
    ("Service", "/api/v1/namespaces/{}/services"),
    ("Secret", "/api/v1/namespaces/{}/secrets"),
    ("Deployment", "/apis/apps/v1/namespaces/{}/deployments"),
    ("Ingress", "/apis/networking.k8s.io/v1/namespaces/{}/ingresses"),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"),
    ("Lease", "/apis/coordination.k8s.io/v1/namespaces/{}/leases"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("ValidatingWebhookConfiguration", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"),
];

// === impl Cluster ===

impl Cluster {
    /// The cluster, with a new namespace; `None`, said loudly: there is none.
    pub async fn enter(namespace: &str) -> Option<Self> {
        let Ok(own) = std::env::var("TIDEGATE_KUBECONFIG") else {
            eprintln!("SKIPPED: TIDEGATE_KUBECONFIG names no cluster");
            return None;
        };
        let admin = std::env::var("TIDEGATE_ADMIN_KUBECONFIG").unwrap_or_else(|_| own.clone());
        let admin = Kubeconfig::read_from(admin).unwrap();
        let config = kube::Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let namespace = format!("{namespace}-{:08x}", fastrand::u32(..));
        let cluster = Self { client, kubeconfig: std::fs::read_to_string(own).unwrap(), namespace };
        cluster
            .apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": cluster.namespace } }))
            .await;
        Some(cluster)
    }

    /// Takes the namespace away.
    pub async fn leave(self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.call(Method::DELETE, &path, None).await.unwrap();
    }

    /// A proxy with tidegate's own account, for this namespace only.
    pub async fn edge(&self, conf: &str) -> Edge {
        let scope = format!(", namespaces: [{}]", self.namespace);
        let edge = Edge::begin_as(&self.kubeconfig, &scope, conf).await;
        tokio::time::timeout(PATIENCE, edge.running.ready()).await.expect("the proxy gets ready");
        edge
    }

    /// Makes the objects of manifests in this namespace.
    pub async fn put(&self, manifests: &str) {
        for mut object in objects(manifests) {
            object["metadata"]["namespace"] = self.namespace.clone().into();
            self.apply(&object).await;
        }
    }

    /// Pods behind Services of the same names, on port 8080.
    pub async fn serve(&self, services: &[(&str, u32)]) {
        for (name, replicas) in services {
            self.put(&backend(name, *replicas)).await;
        }
        for (name, replicas) in services {
            self.until_ready(name, *replicas as usize).await;
        }
    }

    /// Waits until a Service has so many ready endpoints.
    pub async fn until_ready(&self, service: &str, count: usize) {
        let path = self.path("EndpointSlice", "");
        let path = format!("{}?labelSelector=kubernetes.io/service-name%3D{service}", path.trim_end_matches('/'));
        self.until(&path, |list| ready_addresses(list).len() == count).await;
    }

    /// Waits until what is at a path is so.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                if let Ok(object) = self.call(Method::GET, path, None).await
                    && is_so(&object)
                {
                    return object;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{path} never was so"))
    }

    pub fn path(&self, kind: &str, name: &str) -> String {
        let (_, path) = PLURALS.iter().find(|(known, _)| *known == kind).unwrap();
        format!("{}/{name}", path.replace("{}", &self.namespace))
    }

    /// Makes or changes an object.
    pub async fn apply(&self, object: &Value) {
        self.try_apply(object).await.unwrap();
    }

    /// The same, where it may be refused.
    pub async fn try_apply(&self, object: &Value) -> Result<Value, kube::Error> {
        let path = self.path(object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        self.call(Method::PATCH, &format!("{path}?fieldManager=test&force=true"), Some(object)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        let request = http::Request::builder().method(method).uri(path);
        self.client.request(request.header("content-type", "application/apply-patch+yaml").body(body).unwrap()).await
    }
}

fn ready_addresses(list: &Value) -> BTreeSet<String> {
    let slices = list["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != json!(false));
    ready.map(|endpoint| endpoint["addresses"][0].to_string()).collect()
}

/// Pods that answer with JSON of what they were asked, behind a Service on port 8080.
fn backend(name: &str, replicas: u32) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: echo
          image: echo-basic
          ports: [ {{ containerPort: 3000 }} ]
          env: [ {{ name: SERVICE_NAME, value: {name} }} ]
---
apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec: {{ selector: {{ app: {name} }}, ports: [ {{ name: http, port: 8080, targetPort: 3000 }} ] }}
"
    )
}

/// An Ingress of class `tidegate`.
pub fn ingress(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {name} }}\nspec:\n  ingressClassName: tidegate\n{spec}"
    )
}

/// A rule with Prefix / to a Service.
pub fn all_of(host: &str, service: &str) -> String {
    format!(
        "  rules: [ {{ host: \"{host}\", http: {{ paths: [ {{ path: /, pathType: Prefix, backend: {{ service: {{ name: {service}, port: {{ number: 8080 }} }} }} }} ] }} }} ]\n"
    )
}

/// What an answer of a pod says.
pub fn said(response: &Response, field: &str) -> String {
    response.json()[field].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_with_tls_is_served_and_its_certificate_is_renewed() {
    let Some(cluster) = Cluster::enter("tls").await else { return };
    cluster.serve(&[("echo", 1)]).await;
    let (secret, der) = tls_secret("cert", &["tls.test"]);
    cluster.put(&secret).await;
    cluster
        .put(&ingress("tls", &(all_of("tls.test", "echo") + "  tls: [ { hosts: [tls.test], secretName: cert } ]\n")))
        .await;
    let edge = cluster.edge("").await;
    assert_eq!(presented(edge.https(), "tls.test").await, der);
    assert_eq!(get(edge.http(), "tls.test", "/").await.status, 308);
    let (renewed, renewed_der) = tls_secret("cert", &["tls.test"]);
    cluster.put(&renewed).await;
    let wait = async {
        while presented(edge.https(), "tls.test").await != renewed_der {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the renewed certificate");
    cluster.leave().await;
}

/// A rolling update takes every pod away, one after the other, while requests go on. The pods have no `preStop`: they
/// close their port before anybody can know that they end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_fails_no_request() {
    let Some(cluster) = Cluster::enter("roll").await else { return };
    cluster.serve(&[("echo", 4)]).await;
    cluster.put(&ingress("roll", &all_of("roll.test", "echo"))).await;
    let edge = cluster.edge("").await;
    let load = Load::start(&edge, "roll.test");
    load.pass(50).await;
    for round in 0..3 {
        let before = pods(&cluster).await;
        let mut deployment = objects(&backend("echo", 4)).remove(0);
        deployment["spec"]["template"]["metadata"]["annotations"] = json!({ "round": round.to_string() });
        deployment["metadata"]["namespace"] = cluster.namespace.clone().into();
        cluster.apply(&deployment).await;
        let path = format!("/api/v1/namespaces/{}/pods", cluster.namespace);
        cluster.until(&path, |list| names(list).len() == 4 && names(list).is_disjoint(&before)).await;
        load.pass(20).await;
    }
    assert_eq!(load.end().await, [""; 0]);
    cluster.leave().await;
}

async fn pods(cluster: &Cluster) -> BTreeSet<String> {
    names(&cluster.until(&format!("/api/v1/namespaces/{}/pods", cluster.namespace), |_| true).await)
}

fn names(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// A replica in a process of its own, killed when it is dropped.
struct Replica {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Replica {
    fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("kube.yaml"), &cluster.kubeconfig).unwrap();
        let conf = format!(
            "listeners: [ {{ name: http, address: '127.0.0.1:0', protocol: http }} ]\ntelemetry: off\nadmin: off\naccessLog: off\nlog: {{ level: warn }}\nsources: {{ kubernetes: {{ kubeconfig: kube.yaml, namespaces: [{}], leaderElection: {{ duration: 12s }} }} }}\ningress: {{ status: {{ addresses: [192.0.2.7] }} }}\n",
            cluster.namespace
        );
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, conf).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("run").arg("--conf").arg(&file).env("POD_NAMESPACE", "tidegate").stdout(Stdio::null());
        Self { process: command.spawn().unwrap(), _folder: folder }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Killed, as by a node that fails: the Lease is not given back.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_is_killed_another_writes() {
    let Some(cluster) = Cluster::enter("lead").await else { return };
    let lease = "/apis/coordination.k8s.io/v1/namespaces/tidegate/leases/tidegate-leader";
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let given = |ingress: &Value| ingress["status"]["loadBalancer"]["ingress"] == json!([{ "ip": "192.0.2.7" }]);
    // Somebody may have held it before.
    let first = Replica::start(&cluster);
    cluster.put(&ingress("one", &all_of("one.test", "echo"))).await;
    let one = cluster.until(&cluster.path("Ingress", "one"), given).await;
    let managers = one["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|it| it["manager"] == "tidegate" && it["subresource"] == "status"), "{managers:?}");
    let leader = holder(&cluster.until(lease, |lease| !holder(lease).is_empty()).await);
    let second = Replica::start(&cluster);
    cluster.put(&ingress("two", &all_of("two.test", "echo"))).await;
    cluster.until(&cluster.path("Ingress", "two"), given).await;
    assert_eq!(holder(&cluster.until(lease, |_| true).await), leader);
    drop(first);
    cluster.put(&ingress("three", &all_of("three.test", "echo"))).await;
    cluster.until(&cluster.path("Ingress", "three"), given).await;
    assert_ne!(holder(&cluster.until(lease, |_| true).await), leader);
    drop(second);
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_readiness_moves_requests() {
    let Some(cluster) = Cluster::enter("ready").await else { return };
    cluster.serve(&[("echo", 2)]).await;
    cluster.put(&ingress("ready", &all_of("ready.test", "echo"))).await;
    let edge = cluster.edge("").await;
    // The pod that answers says of itself that it is not ready.
    request(edge.http(), "GET /_pod/unready HTTP/1.1\r\nHost: ready.test\r\n\r\n").await;
    cluster.until_ready("echo", 1).await;
    let wait = async {
        loop {
            let mut seen = BTreeSet::new();
            for _ in 0..10 {
                seen.insert(said(&get(edge.http(), "ready.test", "/").await, "pod"));
            }
            if seen.len() == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("one pod is left");
    cluster.leave().await;
}

/// What tidegate's account needs besides, for a webhook of its own in this namespace, and the webhook.
fn webhook(namespace: &str) -> Vec<Value> {
    let rules = json!([
        { "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"], "verbs": ["get", "update"] },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "update"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"] },
    ]);
    let metadata = json!({ "name": namespace });
    let subject = json!([{ "kind": "ServiceAccount", "name": "tidegate", "namespace": "tidegate" }]);
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace });
    vec![
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": role, "subjects": subject }),
        json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": metadata,
            "webhooks": [{ "name": "validate.tidegate.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail",
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "rules": [{ "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["ingresses"] }],
                "clientConfig": { "service": { "name": "hook", "namespace": namespace, "path": "/validate", "port": 443 } } }] }),
    ]
}

/// The API server asks the webhook, by the certificate that the leader made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_refuses_what_would_not_be_served() {
    let Some(cluster) = Cluster::enter("hook").await else { return };
    let namespace = cluster.namespace.clone();
    for object in webhook(&namespace) {
        cluster.apply(&object).await;
    }
    let conf = format!(
        "admission: {{ address: '10.249.0.8:0', service: {namespace}/hook, webhookConfiguration: {namespace} }}\n"
    );
    let scope = format!(", namespaces: [{namespace}], leaderElection: {{ lease: {namespace}/hook }}");
    let edge = Edge::begin_as(&cluster.kubeconfig, &scope, &conf).await;
    tokio::time::timeout(PATIENCE, edge.running.ready()).await.expect("the proxy gets ready");
    let address = edge.running.admission().unwrap();
    cluster
        .put(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: hook }}\nspec: {{ ports: [ {{ port: 443, targetPort: {0} }} ] }}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{ name: hook, labels: {{ kubernetes.io/service-name: hook }} }}\naddressType: IPv4\nports: [ {{ name: '', port: {0}, protocol: TCP }} ]\nendpoints: [ {{ addresses: [ {1} ] }} ]\n",
            address.port(),
            address.ip()
        ))
        .await;
    let trusts = |configuration: &Value| configuration["webhooks"][0]["clientConfig"]["caBundle"].is_string();
    cluster.until(&cluster.path("ValidatingWebhookConfiguration", &namespace), trusts).await;
    let object = |name: &str, path: &str| {
        let mut object = objects(&ingress(name, &all_of("hook.test", "echo"))).remove(0);
        object["metadata"]["namespace"] = namespace.clone().into();
        object["spec"]["rules"][0]["http"]["paths"][0]["path"] = path.into();
        object
    };
    let wait = async {
        while cluster.try_apply(&object("good", "/a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the webhook is reached");
    // It is live, and its Service is not there.
    let wait = async {
        while get(edge.http(), "hook.test", "/a").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it is live");
    let clash = cluster.try_apply(&object("clash", "/a")).await.unwrap_err().to_string();
    assert!(clash.contains("already served by Ingress") && clash.contains("tidegate:"), "{clash}");
    let mut bad = object("bad", "/b");
    bad["metadata"]["annotations"] = json!({ "tidegate.io/ssl-redirect": "perhaps" });
    let bad = cluster.try_apply(&bad).await.unwrap_err().to_string();
    assert!(bad.contains("`perhaps` is not a boolean"), "{bad}");
    cluster.try_apply(&object("good", "/c")).await.unwrap();
    for object in webhook(&namespace) {
        let path = cluster.path(object["kind"].as_str().unwrap(), &namespace);
        cluster.call(Method::DELETE, &path, None).await.unwrap();
    }
    cluster.leave().await;
}
