//! The admission webhook of a proxy without a cluster: certificate and objects from files.

use crate::support::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A proxy that serves `a.test/`, and its webhook.
struct Webhook {
    proxy: Proxy,
    certificate: Vec<u8>,
    _files: TempDir,
}

impl Webhook {
    async fn start() -> Self {
        let files = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["hook.edge.svc".to_owned()]).unwrap();
        let (certificate, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let conf = format!(
            "admission: {{ address: '127.0.0.1:0', certificateFile: '{}', keyFile: '{}' }}\n",
            certificate.display(),
            key.display()
        );
        let manifests = ingress("old", "a.test", &[("/", "a")]) + &service("a", &[]);
        let proxy = Proxy::start(&conf, &[("a.yaml", manifests)]).await;
        Self { proxy, certificate: made.cert.der().to_vec(), _files: files }
    }

    async fn connect(&self) -> Connection<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let stream = tls(self.proxy.running.admission().unwrap(), "hook.edge.svc", &[]).await.unwrap();
        Connection { stream, buffer: Vec::new() }
    }

    /// What the API server is told about an object of these paths.
    async fn review(&self, name: &str, host: &str, paths: &[&str]) -> Value {
        let backend = json!({ "service": { "name": "a", "port": { "number": 80 } } });
        let path = |path: &&str| json!({ "path": path, "pathType": "Prefix", "backend": backend });
        let paths: Vec<Value> = paths.iter().map(path).collect();
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "ingressClassName": "tidegate", "rules": [{ "host": host, "http": { "paths": paths } }] },
        });
        let kind = json!({ "group": "networking.k8s.io", "version": "v1", "kind": "Ingress" });
        let request = json!({ "uid": "7", "kind": kind, "operation": "CREATE", "object": object, "oldObject": null });
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        let body = review.to_string();
        let head = "POST /validate HTTP/1.1\r\nHost: hook\r\nContent-Type: application/json\r\nContent-Length:";
        let response = self.connect().await.send(format!("{head} {}\r\n\r\n{body}", body.len())).await.unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["response"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_judged_by_what_is_live() {
    let webhook = Webhook::start().await;
    let allowed = webhook.review("new", "b.test", &["/"]).await;
    assert_eq!((&allowed["allowed"], &allowed["uid"]), (&json!(true), &json!("7")), "{allowed}");
    let own = webhook.review("old", "a.test", &["/"]).await;
    assert_eq!(own["allowed"], true, "{own}");
    let refused = webhook.review("new", "a.test", &["/"]).await;
    let message = "tidegate: prefix path `/` of host `a.test` is already served by Ingress/default/old";
    assert_eq!((&refused["allowed"], &refused["status"]["message"]), (&json!(false), &json!(message)));
    let before = webhook.proxy.running.revision();
    webhook.proxy.put("a.yaml", &ingress("old", "c.test", &[("/", "a")]));
    tokio::time::timeout(PATIENCE, webhook.proxy.running.after(before)).await.expect("the change is taken in");
    let free = webhook.review("new", "a.test", &["/"]).await;
    assert_eq!(free["allowed"], true, "{free}");
    let metrics = metrics(&webhook.proxy).await;
    let count = |result: &str| metrics[&format!("tidegate_admission_reviews_total{{result=\"{result}\"}}")];
    assert_eq!((count("allowed"), count("refused"), count("failed")), (3.0, 1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_that_of_the_files_and_a_stop_ends_it() {
    let webhook = Webhook::start().await;
    let address = webhook.proxy.running.admission().unwrap();
    assert_eq!(presented(address, "hook.edge.svc").await, webhook.certificate);
    let mut idle = webhook.connect().await;
    tokio::time::timeout(PATIENCE, webhook.proxy.running.stop()).await.expect("it stops");
    assert!(idle.read().await.is_none(), "an idle connection is closed");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_no_body_keeps_nobody_from_a_verdict() {
    let webhook = Webhook::start().await;
    let head = "POST /validate HTTP/1.1\r\nHost: hook\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let mut held = Vec::new();
    // More than are judged at once, and more than one source has connections.
    for _ in 0..80 {
        let mut connection = webhook.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut connection.stream, head.as_bytes()).await.unwrap();
        held.push(connection);
    }
    let mut another = webhook.connect().await;
    let response = another.send(format!("{head}}}       ")).await.unwrap();
    assert_eq!(response.status, 400, "read and judged: {}", response.text());
}
