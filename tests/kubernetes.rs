//! The Kubernetes source against an API server of our own: what it delivers, and what faults do not do to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

#[path = "kubernetes/conformance.rs"]
mod conformance;
#[path = "kubernetes/edge.rs"]
mod edge;
#[path = "kubernetes/optional.rs"]
mod optional;
#[path = "kubernetes/real.rs"]
mod real;
#[path = "kubernetes/rights.rs"]
mod rights;
#[path = "kubernetes/secrets.rs"]
mod secrets;
#[path = "kubernetes/server.rs"]
mod server;
#[path = "kubernetes/serving.rs"]
mod serving;
#[path = "serve/support.rs"]
#[expect(dead_code, reason = "shared with the tests of `serve`, which use all of it")]
mod support;
#[path = "kubernetes/writing.rs"]
mod writing;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use server::ApiServer;
use tidegate::bench::resources::{Batch, ObjectName, Resources};
use tidegate::bench::source::connect;
use tidegate::bench::source::{Demand, Kubernetes, Reads, Running, Scope};
use tokio::sync::mpsc;

/// Only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source that follows a server, and what came of it.
struct Follower {
    batches: mpsc::Receiver<Batch>,
    resources: Resources,
    codes: Vec<&'static str>,
    is_complete: bool,
    answered: u64,
    demand: Demand,
    _running: Running,
}

impl Follower {
    fn start(server: &ApiServer, namespaces: &[&str]) -> Self {
        match namespaces {
            [] => Self::follow(server, &Scope::All),
            names => Self::follow(server, &Scope::Namespaces(names.iter().map(|&it| it.to_owned()).collect())),
        }
    }

    fn follow(server: &ApiServer, scope: &Scope) -> Self {
        Self::read(server, &Reads { scope: scope.clone(), ..Reads::default() })
    }

    fn read(server: &ApiServer, reads: &Reads) -> Self {
        let (sender, batches) = mpsc::channel(16);
        let (client, contact) = connect(server.config()).unwrap();
        let source = Kubernetes::new(client, contact, reads);
        let demand = source.demand();
        let _running = source.watch(sender, tidegate::bench::telemetry::Pulse::unwatched("kubernetes"));
        let resources = Resources::default();
        Self { batches, resources, codes: Vec::new(), is_complete: false, answered: 0, demand, _running }
    }

    async fn next(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.batches.recv()).await.expect("no batch came").unwrap();
        assert!(batch.is_complete || batch.events.is_empty(), "half a state was delivered: {batch:?}");
        self.codes = batch.diagnostics.iter().map(|it| it.code.as_str()).collect();
        self.is_complete |= batch.is_complete;
        self.answered = batch.answered;
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
        let is_list = |call: &&String| call.contains("limit=") || call.contains("sendInitialEvents");
        let lists = server.calls().iter().filter(|call| call.contains("/ingresses?")).filter(is_list).count();
        // In a stream, refused and tried again; and in pages, since the server gives no streams.
        assert_eq!(lists, 3, "{status}");
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
async fn of_secrets_only_names_are_listed_and_watched() {
    let server = ApiServer::start().await;
    server.apply(secret("a", "x", "b25l"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.watched("secrets", 2).await;
    let is_whole = |call: &String| call.contains("/secrets") && !call.ends_with("metadata");
    assert!(!server.calls().iter().any(is_whole), "{:?}", server.calls());
}

fn secret(namespace: &str, name: &str, text: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": { "namespace": namespace, "name": name },
        "data": { "key": text } })
}

impl Follower {
    /// Wants a Secret, or wants it no more, and waits for the answer.
    async fn want(&mut self, name: &str, is_wanted: bool) {
        let number = self.demand.tell([(ObjectName::new("a", name), is_wanted)]);
        self.until(|it| it.answered == number).await;
    }

    fn secret(&self, name: &str) -> Option<Vec<u8>> {
        let secret = self.resources.secrets.get(&ObjectName::new("a", name))?;
        secret.object.data.first().map(|(_, bytes)| bytes.to_vec())
    }
}

#[tokio::test]
async fn only_wanted_secrets_are_fetched_and_followed() {
    let server = ApiServer::start().await;
    server.apply(secret("a", "x", "b25l"));
    server.apply(secret("a", "y", "b25l"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert_eq!(follower.resources.secrets.len(), 0);
    follower.want("x", true).await;
    assert_eq!((follower.secret("x"), follower.secret("y")), (Some(b"one".to_vec()), None));
    server.apply(secret("a", "y", "dHdv"));
    server.apply(secret("a", "x", "dHdv"));
    follower.until(|it| it.secret("x").as_deref() == Some(b"two")).await;
    server.delete(&secret("a", "x", ""));
    follower.until(|it| it.secret("x").is_none()).await;
    server.apply(secret("a", "x", "b25l"));
    follower.until(|it| it.secret("x").is_some()).await;
    follower.want("x", false).await;
    assert_eq!(follower.secret("x"), None);
    let fetched = |call: &String| call.contains("/secrets/");
    let calls: Vec<String> = server.calls().into_iter().filter(fetched).collect();
    assert!(calls.iter().all(|call| call.contains("/namespaces/a/secrets/x")), "{calls:?}");
}

#[tokio::test]
async fn secrets_are_read_in_their_own_namespaces_only() {
    let server = ApiServer::start().await;
    server.apply(ingress("b", "x"));
    ["a", "b"].iter().for_each(|namespace| server.apply(secret(namespace, "x", "b25l")));
    let mut follower = Follower::read(&server, &Reads { secrets: vec!["a".into()], ..Reads::default() });
    follower.until(|it| it.is_complete).await;
    let number =
        follower.demand.tell([("a", true), ("b", true)].map(|(it, wanted)| (ObjectName::new(it, "x"), wanted)));
    follower.until(|it| it.answered == number).await;
    assert!(follower.has("b", "x") && follower.secret("x").is_some());
    assert_eq!(follower.resources.secrets.len(), 1);
    let outside = |call: &String| call.contains("/secrets") && !call.contains("/namespaces/a/");
    assert!(!server.calls().iter().any(outside), "{:?}", server.calls());
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_an_answer() {
    let server = ApiServer::start().await;
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    follower.want("x", true).await;
    assert_eq!(follower.secret("x"), None);
    server.apply(secret("a", "x", "b25l"));
    follower.until(|it| it.secret("x").is_some()).await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_fetched_holds_up_nothing_and_comes_later() {
    let server = ApiServer::start().await;
    server.apply(secret("a", "x", "b25l"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    server.refuse("secrets", StatusCode::FORBIDDEN);
    follower.want("x", true).await;
    assert_eq!((follower.secret("x"), &*follower.codes), (None, &["SecretUnavailable"][..]));
    server.allow("secrets");
    follower.until(|it| it.secret("x").is_some() && it.codes.is_empty()).await;
}

#[tokio::test]
async fn where_secrets_are_forbidden_the_rest_is_served() {
    let server = ApiServer::start().await;
    server.refuse("secrets", StatusCode::FORBIDDEN);
    server.apply(ingress("a", "x"));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.has("a", "x"));
    assert_eq!(follower.codes, ["SourceUnavailable"]);
    follower.want("y", true).await;
    server.apply(secret("a", "y", "b25l"));
    server.allow("secrets");
    follower.until(|it| it.secret("y").is_some() && it.codes.is_empty()).await;
}

#[tokio::test]
async fn where_ingresses_are_forbidden_nothing_is_complete() {
    let server = ApiServer::start().await;
    server.refuse("ingresses", StatusCode::FORBIDDEN);
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.codes.contains(&"SourceUnavailable")).await;
    assert!(!follower.is_complete);
    server.allow("ingresses");
    follower.until(|it| it.is_complete).await;
}

#[tokio::test]
async fn one_forbidden_namespace_holds_up_no_other() {
    let server = ApiServer::start().await;
    server.apply(ingress("a", "x"));
    let mut follower = Follower::start(&server, &["a", "b"]);
    server.fail(&[]);
    follower.until(|it| it.is_complete).await;
    assert!(follower.has("a", "x"));
}

fn namespace(name: &str, team: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "team": team } } })
}

#[tokio::test]
async fn selected_namespaces_are_followed_as_their_labels_change() {
    let server = ApiServer::start().await;
    for (name, team) in [("a", "blue"), ("b", "red")] {
        server.apply(namespace(name, team));
        server.apply(ingress(name, "x"));
    }
    let mut follower = Follower::follow(&server, &Scope::Selector("team=blue".into()));
    follower.until(|it| it.is_complete).await;
    assert!(follower.has("a", "x") && !follower.has("b", "x"));
    server.apply(namespace("b", "blue"));
    follower.until(|it| it.has("b", "x")).await;
    server.apply(namespace("a", "red"));
    follower.until(|it| !it.has("a", "x")).await;
    assert!(follower.has("b", "x"));
}

#[tokio::test]
async fn a_server_that_streams_lists_is_not_asked_for_pages() {
    let server = ApiServer::start().await;
    server.stream();
    (0..1200).for_each(|number| server.apply(ingress("a", &format!("i{number}"))));
    let mut follower = Follower::start(&server, &[]);
    follower.until(|it| it.is_complete).await;
    assert_eq!(follower.resources.ingresses.len(), 1200);
    server.apply(ingress("a", "later"));
    follower.until(|it| it.has("a", "later")).await;
    server.delete_unseen(&ingress("a", "i7"));
    follower.until(|it| !it.has("a", "i7")).await;
    assert!(follower.has("a", "later"));
    assert!(!server.calls().iter().any(|call| call.contains("limit=")), "{:?}", server.calls());
}
