use serde_json::json;

use super::*;
use crate::origin::Origin;
use crate::source::kubernetes::leader::{Election, Elector, Timing};
use crate::source::kubernetes::testing::Server;

fn finding(name: &str, text: &str) -> Diagnostic {
    Diagnostic::error("ServiceNotFound", &Origin::new("Ingress", "shop", name, None), text).hint("make it")
}

async fn leader(server: &Server) -> (Leadership, watch::Sender<bool>) {
    let second = Duration::from_secs(1);
    let timing = Timing { duration: second * 15, renew: second, give_up: second * 10 };
    let text = |text: &str| text.to_owned();
    let election = Election { namespace: text("edge"), name: text("lease"), timing };
    let (elector, mut leadership) = Elector::new(server.client(), election, text("me"));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(elector.run(stopped));
    leadership.gained().await;
    (leadership, stop)
}

fn events(server: &Server) -> Vec<serde_json::Value> {
    server.objects_under("/apis/events.k8s.io/v1/namespaces/shop/events")
}

fn put_ingress(server: &Server, name: &str) {
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}") });
    server.put(
        &format!("/apis/networking.k8s.io/v1/namespaces/shop/ingresses/{name}"),
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata }),
    );
}

#[tokio::test]
async fn a_finding_is_told_once_on_its_object_whoever_tells_it() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    put_ingress(&server, "last");
    let (leadership, _stop) = leader(&server).await;
    for replica in ["one", "two"] {
        let mut writer = EventWriter::new(server.client(), replica.to_owned(), leadership.clone(), Arc::default());
        let findings = vec![finding("shop", "there is no Service `a`"), finding("gone", "there is no Service `b`")];
        let (sender, mut receiver) = watch::channel(Findings::new(findings));
        writer.tell_all(&mut receiver).await;
        sender.send_replace(Arc::new(vec![finding("shop", "there is no Service `a`")]));
        writer.tell_all(&mut receiver).await;
    }
    let told = events(&server);
    assert_eq!(told.len(), 1, "{told:?}");
    let event = &told[0];
    assert_eq!(event["note"], "there is no Service `a`; make it");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("ServiceNotFound")));
    assert_eq!(event["regarding"]["uid"], "uid-shop");
    assert_eq!(event["reportingInstance"], "one");
    let posts = server.writes().iter().filter(|call| call.contains("/events")).count();
    assert_eq!(posts, 2, "one each replica; the second is refused as a double");
}

#[tokio::test]
async fn only_the_leader_tells() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let (leadership, stop) = leader(&server).await;
    stop.send_replace(true);
    server.until(|_| !leadership.is_held()).await;
    let mut writer = EventWriter::new(server.client(), "one".to_owned(), leadership, Arc::default());
    let (_sender, mut receiver) = watch::channel(Findings::new(vec![finding("shop", "x")]));
    writer.tell_all(&mut receiver).await;
    assert_eq!(events(&server), [] as [serde_json::Value; 0]);
}

#[tokio::test]
async fn an_ingress_is_told_that_it_is_live() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let (leadership, _stop) = leader(&server).await;
    let mut writer = EventWriter::new(server.client(), "one".to_owned(), leadership, Arc::default());
    writer.tell(Note::live(&"shop".into(), &"shop".into(), 7, Duration::from_millis(12))).await;
    let told = events(&server);
    assert_eq!(told[0]["note"], "live in 12 ms at generation 7");
    assert_eq!(told[0]["type"], "Normal");
}

#[test]
fn findings_about_files_and_conf_are_not_told_to_a_cluster() {
    let conf = Diagnostic::error("X", &Origin::new("Conf", "", "tidegate.yaml", None), "x");
    assert_eq!(Note::of(&conf), None);
    let place = crate::origin::Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
    let file = Diagnostic::error("X", &Origin::new("Ingress", "a", "b", Some(place)), "x");
    assert_eq!(Note::of(&file), None);
}

#[test]
fn a_long_text_is_shortened_at_a_character() {
    let text = shorten("ä".repeat(1000));
    assert!(text.len() <= MAX_TEXT && text.ends_with('…'), "{}", text.len());
}
