//! What is written to the cluster, and by whom: status, Lease, events, the certificate of the webhook.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::edge::{Edge, Load, objects, put};
use crate::server::ApiServer;
use crate::support::{Echo, PATIENCE, ingress, service};

const STATUS: &str = "ingress: { status: { addresses: [192.0.2.1, lb.example] } }\n";

fn addresses(server: &ApiServer, ingress: &str) -> Value {
    server.object("ingresses", ingress).unwrap()["status"]["loadBalancer"]["ingress"].clone()
}

fn holder(server: &ApiServer) -> String {
    let lease = server.object("leases", "tidegate-leader").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// C9: one of two writes, and traffic does not depend on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_replicas_writes_and_the_other_takes_over() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let foreign = ingress("foreign", "f.test", &[("/", "a")]).replace("tidegate", "other");
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &foreign + &service("a", &[echo.address])));
    let first = Edge::start_with(&server, "", STATUS).await;
    let given = serde_json::json!([{ "ip": "192.0.2.1" }, { "hostname": "lb.example" }]);
    server.until(|server| addresses(server, "a") == given).await;
    let leader = holder(&server);
    let second = Edge::start_with(&server, "", STATUS).await;
    put(&server, &ingress("b", "b.test", &[("/", "a")]));
    server.until(|server| addresses(server, "b") == given).await;
    assert_eq!(holder(&server), leader);
    first.until_metric("tidegate_leader", 1.0).await;
    assert_eq!(second.metric("tidegate_leader").await, 0.0);
    let load = Load::start(&second, "a.test");
    first.running.stop().await;
    server.until(|server| ![String::new(), leader.clone()].contains(&holder(server))).await;
    put(&server, &ingress("c", "c.test", &[("/", "a")]));
    server.until(|server| addresses(server, "c") == given).await;
    assert_eq!(load.end().await, [""; 0]);
    assert_eq!(addresses(&server, "foreign"), Value::Null);
    let patches = server.calls().iter().filter(|call| call.starts_with("PATCH")).count();
    assert_eq!(patches, 3, "one an Ingress: {:#?}", server.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_to_say_stands_on_the_objects() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "nowhere")]) + &service("a", &[echo.address])));
    let edge = Edge::start_with(&server, "", "").await;
    let told =
        |server: &ApiServer, reason: &str| server.objects("events").into_iter().find(|event| event["reason"] == reason);
    server.until(|server| told(server, "ServiceNotFound").is_some()).await;
    let event = told(&server, "ServiceNotFound").unwrap();
    assert_eq!((&event["type"], &event["regarding"]["name"]), (&"Warning".into(), &"a".into()));
    let mut curious = objects(&ingress("live", "live.test", &[("/", "a")])).remove(0);
    curious["metadata"]["annotations"] = serde_json::json!({ "tidegate.io/report-live": "true" });
    server.apply(curious);
    server.until(|server| told(server, "Live").is_some()).await;
    let note = told(&server, "Live").unwrap()["note"].as_str().unwrap().to_owned();
    assert!(
        note.starts_with("live in ") && note.ends_with(&format!("generation {}", edge.running.generation())),
        "{note}"
    );
    assert_eq!(told(&server, "Live").unwrap()["regarding"]["name"], "live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_to_be_written_nothing_is() {
    let server = ApiServer::start().await;
    put(&server, &ingress("a", "a.test", &[("/", "nowhere")]));
    let edge = Edge::start_with(&server, ", events: false", "").await;
    let revision = edge.running.revision();
    put(&server, &ingress("b", "b.test", &[("/", "nowhere")]));
    edge.running.after(revision).await;
    edge.running.stop().await;
    let writes: Vec<String> = server.calls().into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_election_one_process_writes_at_once() {
    let server = ApiServer::start().await;
    put(&server, &ingress("a", "a.test", &[("/", "nowhere")]));
    let edge = Edge::start_with(&server, ", leaderElection: off", STATUS).await;
    server.until(|server| addresses(server, "a") != Value::Null).await;
    assert_eq!(edge.metric("tidegate_leader").await, 1.0);
    edge.until_metric("tidegate_status_writes_total{result=\"written\"}", 1.0).await;
    assert_eq!(server.objects("leases"), [Value::Null; 0]);
}

fn configuration() -> Value {
    serde_json::json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "edge" }, "webhooks": [
            { "name": "a", "clientConfig": { "service": { "namespace": "edge", "name": "hook" } } },
            { "name": "b", "clientConfig": { "url": "https://elsewhere" } } ] })
}

/// Replicas serve one certificate, whose authority the leader writes down for the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_of_all_replicas_has_one_certificate() {
    let server = ApiServer::start().await;
    server.apply(configuration());
    let conf = "admission: { address: '127.0.0.1:0', service: edge/hook, webhookConfiguration: edge }\n";
    let first = Edge::start_with(&server, ", events: false", conf).await;
    let written = |server: &ApiServer| {
        let webhooks = server.object("validatingwebhookconfigurations", "edge").unwrap()["webhooks"].clone();
        webhooks[0]["clientConfig"]["caBundle"].as_str().map(str::to_owned)
    };
    server.until(|server| written(server).is_some()).await;
    let authority = written(&server).unwrap();
    let second = Edge::start_with(&server, ", events: false", conf).await;
    for edge in [&first, &second] {
        let wait = async {
            while !asks_for(edge, &authority, REVIEWED).await.contains("200 OK") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a certificate that the authority signed");
        let refused = asks_for(edge, &authority, &REVIEWED.replace("/good", "no-slash")).await;
        assert!(refused.contains("\"allowed\":false") && refused.contains("no-slash"), "{refused}");
        edge.until_metric("tidegate_admission_reviews_total{result=\"refused\"}", 1.0).await;
    }
    assert_eq!(written(&server), Some(authority));
    let url = server.object("validatingwebhookconfigurations", "edge").unwrap()["webhooks"][1].clone();
    assert_eq!(url, configuration()["webhooks"][1], "one that calls a URL is not ours");
    let writes = server.calls().iter().filter(|call| call.starts_with("PUT") && call.contains("webhook")).count();
    assert_eq!(writes, 1);
}

const REVIEWED: &str = r#"{ "request": { "uid": "1", "operation": "CREATE", "kind": { "kind": "Ingress" }, "object": {
    "metadata": { "namespace": "a", "name": "x" }, "spec": { "ingressClassName": "tidegate", "rules": [ { "host": "x.test",
    "http": { "paths": [ { "path": "/good", "pathType": "Exact", "backend": { "service": { "name": "a", "port": { "number": 80 } } } } ] } } ] } } } }"#;

/// Asks the webhook as an API server does that trusts this bundle; empty when it cannot.
async fn asks_for(edge: &Edge, bundle: &str, body: &str) -> String {
    use base64::Engine;
    use rustls_pki_types::pem::PemObject;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bundle = base64::prelude::BASE64_STANDARD.decode(bundle).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(&bundle).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(edge.running.admission().unwrap()).await.unwrap();
    let name = "hook.edge.svc".try_into().unwrap();
    let Ok(mut stream) = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return String::new();
    };
    let head =
        format!("POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
