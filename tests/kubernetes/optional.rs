//! Kinds that a server may not know: they hold up nothing, cost little, and are followed once they are there.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tidegate::bench::resources::Kind;
use tidegate::bench::source::{Reads, Scope};

use crate::server::ApiServer;
use crate::{Follower, ingress, slice};

/// Which kinds the server has.
const KINDS: &str = "";

fn reads(kind: Kind, ask_again: Duration) -> Reads {
    Reads { optional: [kind].into(), ask_again, ..Reads::default() }
}

fn soon(kind: Kind) -> Reads {
    reads(kind, Duration::from_millis(100))
}

fn class(name: &str) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name } })
}

fn asked(server: &ApiServer, what: &str) -> usize {
    server.calls().iter().filter(|call| call.split(['?', ' ']).nth(1).unwrap().ends_with(what)).count()
}

fn classes(follower: &Follower) -> Vec<String> {
    follower.resources.ingress_classes.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn one_that_is_not_there_holds_up_nothing_and_is_followed_once_it_is() {
    let server = ApiServer::start().await;
    server.refuse("ingressclasses", StatusCode::NOT_FOUND);
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    follower.until(|it| it.is_complete).await;
    assert_eq!(follower.codes, [""; 0], "there is nothing that anybody could mend");
    assert_eq!(asked(&server, "/ingressclasses"), 0, "no list is tried");
    server.apply(class("x"));
    server.allow("ingressclasses");
    follower.until(|it| classes(it) == ["x"]).await;
    server.apply(class("y"));
    follower.until(|it| classes(it) == ["x", "y"]).await;
    server.delete(&class("x"));
    follower.until(|it| classes(it) == ["y"]).await;
}

#[tokio::test]
async fn one_that_is_there_belongs_to_the_first_state() {
    let server = ApiServer::start().await;
    server.apply(class("x"));
    server.hold(KINDS);
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    server.watched("ingresses", 1).await;
    server.watched("secrets", 1).await;
    server.release(KINDS);
    follower.until(|it| it.is_complete).await;
    assert_eq!(classes(&follower), ["x"]);
}

#[tokio::test]
async fn one_that_goes_takes_its_objects_along_and_may_come_back() {
    let server = ApiServer::start().await;
    server.apply(class("x"));
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    follower.until(|it| it.is_complete).await;
    server.refuse("ingressclasses", StatusCode::NOT_FOUND);
    server.cut();
    follower.until(|it| classes(it).is_empty()).await;
    server.apply(ingress("a", "i"));
    follower.until(|it| it.has("a", "i")).await;
    server.allow("ingressclasses");
    follower.until(|it| classes(it) == ["x"]).await;
    assert_eq!(follower.codes, [""; 0]);
}

#[tokio::test]
async fn one_that_is_not_there_is_asked_for_once_a_pause_however_many_namespaces_there_are() {
    let server = ApiServer::start().await;
    // As a server says it that does not know the group.
    server.refuse(KINDS, StatusCode::NOT_FOUND);
    server.refuse("endpointslices", StatusCode::NOT_FOUND);
    let scope = Scope::Namespaces(["a", "b", "c"].map(str::to_owned).to_vec());
    let hour = Duration::from_secs(3600);
    let mut follower = Follower::read(&server, &Reads { scope, ..reads(Kind::EndpointSlice, hour) });
    follower.until(|it| it.is_complete).await;
    server.apply(ingress("b", "i"));
    follower.until(|it| it.has("b", "i")).await;
    assert_eq!((asked(&server, "/discovery.k8s.io/v1"), asked(&server, "/endpointslices")), (1, 0));
}

#[tokio::test]
async fn one_that_appears_is_followed_in_every_namespace_that_is_read() {
    let server = ApiServer::start().await;
    server.refuse("endpointslices", StatusCode::NOT_FOUND);
    let team = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "team": "a" } } });
    server.apply(team("a"));
    let scope = Scope::Selector("team=a".to_owned());
    let mut follower = Follower::read(&server, &Reads { scope, ..soon(Kind::EndpointSlice) });
    follower.until(|it| it.is_complete).await;
    let in_namespace = |namespace: &str| {
        let mut slice = slice(true);
        slice["metadata"]["namespace"] = namespace.into();
        slice
    };
    for namespace in ["a", "b", "foreign"] {
        server.apply(in_namespace(namespace));
    }
    server.allow("endpointslices");
    follower.until(|it| it.resources.endpoint_slices.len() == 1).await;
    server.apply(team("b"));
    follower.until(|it| it.resources.endpoint_slices.len() == 2).await;
    server.delete(&team("a"));
    follower.until(|it| it.resources.endpoint_slices.len() == 1).await;
}

#[tokio::test]
async fn a_server_that_does_not_say_is_waited_for_for_a_while_and_told_of() {
    let server = ApiServer::start().await;
    server.apply(class("x"));
    server.refuse(KINDS, StatusCode::INTERNAL_SERVER_ERROR);
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    follower.until(|it| it.is_complete && it.codes.contains(&"SourceUnavailable")).await;
    assert!(asked(&server, "/networking.k8s.io/v1") >= 5);
    assert_eq!(classes(&follower), [""; 0]);
    server.allow(KINDS);
    follower.until(|it| classes(it) == ["x"] && it.codes.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_does_not_tell_everybody_is_tried() {
    let server = ApiServer::start().await;
    server.apply(class("x"));
    server.refuse(KINDS, StatusCode::FORBIDDEN);
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    follower.until(|it| it.is_complete).await;
    assert_eq!(classes(&follower), ["x"]);
}

#[tokio::test]
async fn one_that_may_not_be_listed_holds_up_nothing() {
    let server = ApiServer::start().await;
    server.refuse("ingressclasses", StatusCode::FORBIDDEN);
    let mut follower = Follower::read(&server, &soon(Kind::IngressClass));
    follower.until(|it| it.is_complete).await;
    assert_eq!(follower.codes, ["SourceUnavailable"]);
}
