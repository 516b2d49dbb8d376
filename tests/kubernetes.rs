//! The Kubernetes source against an API server of our own: what it delivers, and what faults do not do to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

#[path = "kubernetes/server.rs"]
mod server;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use server::ApiServer;
use tidegate::resources::{Batch, ObjectName, Resources};
use tidegate::source::kubernetes::{Kubernetes, Running};
use tokio::sync::mpsc;

/// Only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source that follows a server, and what came of it.
struct Follower {
    batches: mpsc::Receiver<Batch>,
    resources: Resources,
    codes: Vec<&'static str>,
    is_complete: bool,
    _running: Running,
}

impl Follower {
    fn start(server: &ApiServer, namespaces: &[&str]) -> Self {
        let (sender, batches) = mpsc::channel(16);
        let namespaces: Vec<String> = namespaces.iter().map(|&it| it.to_owned()).collect();
        let running = Kubernetes::new(&server.client(), &namespaces).watch(sender);
        Self { batches, resources: Resources::default(), codes: Vec::new(), is_complete: false, _running: running }
    }

    async fn next(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.batches.recv()).await.expect("no batch came").unwrap();
        assert!(batch.is_complete || batch.events.is_empty(), "half a state was delivered: {batch:?}");
        self.codes = batch.diagnostics.iter().map(|it| it.code).collect();
        self.is_complete |= batch.is_complete;
        self.resources.apply(batch.events);
    }

    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            self.next().await;
        }
    }

    fn has(&self, namespace: &str, name: &str) -> bool {
        self.resources.ingresses.contains_key(&ObjectName::new(namespace, name))
    }
}

fn ingress(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "namespace": namespace, "name": name, "uid": name },
        "spec": { "rules": [{ "host": "a.test" }] } })
}

fn slice(is_ready: bool) -> Value {
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "namespace": "a", "name": "s", "labels": { "kubernetes.io/service-name": "s" } },
        "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": is_ready } }], "ports": [] })
}

#[tokio::test]
async fn an_empty_server_gives_a_complete_first_batch() {
    let server = ApiServer::start().await;
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.is_complete && follower.codes.is_empty());
}

#[tokio::test]
async fn the_first_batch_holds_every_kind_and_all_pages() {
    let server = ApiServer::start().await;
    (0..1200).for_each(|number| server.apply(ingress("a", &format!("i{number}"))));
    server.apply(slice(true));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.is_complete);
    assert_eq!((follower.resources.ingresses.len(), follower.resources.endpoint_slices.len()), (1200, 1));
    let pages = server.calls().iter().filter(|call| call.contains("/ingresses?") && call.contains("limit=")).count();
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn objects_that_are_added_changed_and_deleted_arrive() {
    let server = ApiServer::start().await;
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.apply(ingress("a", "x"));
    follower.until(|it| it.has("a", "x")).await;
    let mut changed = ingress("a", "x");
    changed["spec"]["ingressClassName"] = "other".into();
    server.apply(changed);
    let class = |it: &Follower| it.resources.ingresses.values().next()?.object.class.clone();
    follower.until(|it| class(it).as_deref() == Some("other")).await;
    server.delete(&ingress("a", "x"));
    follower.until(|it| !it.has("a", "x")).await;
}

#[tokio::test]
async fn the_readiness_of_an_endpoint_arrives() {
    let server = ApiServer::start().await;
    server.apply(slice(true));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.apply(slice(false));
    let ready = |it: &Follower| {
        let slice = it.resources.endpoint_slices.values().next()?.object.clone();
        Some(slice.endpoints.first()?.is_ready)
    };
    follower.until(|it| ready(it) == Some(false)).await;
}

#[tokio::test]
async fn a_malformed_object_hurts_no_other_and_is_told() {
    let server = ApiServer::start().await;
    server.apply(ingress("a", "good"));
    let mut bad = ingress("a", "bad");
    bad["spec"]["rules"] = "none".into();
    server.apply(bad.clone());
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.has("a", "good") && !follower.has("a", "bad"));
    assert_eq!(follower.codes, ["InvalidObject"]);
    server.apply(ingress("a", "later"));
    follower.until(|it| it.has("a", "later")).await;
    server.delete(&bad);
    follower.until(|it| it.codes.is_empty()).await;
}

#[tokio::test]
async fn refused_lists_are_told_and_tried_again() {
    for status in [401, 403, 500] {
        let server = ApiServer::start().await;
        server.apply(ingress("a", "x"));
        server.fail(&[("ingresses", StatusCode::from_u16(status).unwrap())]);
        let mut follower = Follower::start(&server, &[]);
        follower.next().await;
        assert_eq!((follower.is_complete, &*follower.codes), (false, &["SourceUnavailable"][..]), "{status}");
        follower.until(|it| it.is_complete).await;
        assert!(follower.has("a", "x") && follower.codes.is_empty(), "{status}");
    }
}

/// The client itself tries these again, so that a server which is busy for a moment is no news.
#[tokio::test]
async fn a_list_that_a_busy_server_refuses_is_tried_again() {
    for status in [429, 503, 504] {
        let server = ApiServer::start().await;
        server.apply(ingress("a", "x"));
        server.fail(&[("ingresses", StatusCode::from_u16(status).unwrap())]);
        let mut follower = Follower::start(&server, &[]);
        follower.until(|it| it.is_complete).await;
        assert!(follower.has("a", "x") && follower.codes.is_empty(), "{status}");
        let lists =
            server.calls().iter().filter(|call| call.contains("/ingresses?") && call.contains("limit=")).count();
        assert_eq!(lists, 2, "{status}");
    }
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was() {
    let server = ApiServer::start().await;
    server.apply(ingress("a", "x"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.watched("ingresses", 1).await;
    server.cut();
    server.watched("ingresses", 2).await;
    server.apply(ingress("a", "y"));
    follower.until(|it| it.has("a", "y")).await;
    assert!(follower.has("a", "x"));
    let lists = server.calls().iter().filter(|call| call.contains("/ingresses?") && call.contains("limit=")).count();
    assert_eq!(lists, 1, "{:?}", server.calls());
}

#[tokio::test]
async fn a_410_is_a_new_list_that_lands_as_one_batch() {
    let server = ApiServer::start().await;
    server.apply(ingress("a", "kept"));
    server.apply(ingress("a", "gone"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.delete_unseen(&ingress("a", "gone"));
    follower.until(|it| !it.has("a", "gone") || !it.has("a", "kept")).await;
    assert!(follower.has("a", "kept"), "the set flapped");
}

#[tokio::test]
async fn only_the_configured_namespaces_are_asked_for() {
    let server = ApiServer::start().await;
    server.apply(ingress("a", "x"));
    server.apply(ingress("b", "x"));
    let mut follower = Follower::start(&server, &["a"]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.has("a", "x") && !follower.has("b", "x"));
    let outside = |call: &String| !call.contains("/namespaces/a/") && !call.contains("/ingressclasses");
    assert_eq!(server.calls().into_iter().filter(outside).collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn secrets_are_never_listed_or_watched() {
    let server = ApiServer::start().await;
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert!(!server.calls().iter().any(|call| call.contains("secrets")), "{:?}", server.calls());
}
