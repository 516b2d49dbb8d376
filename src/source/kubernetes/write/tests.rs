use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::resources::status::ObjectStatus;
use crate::resources::{Kind, ObjectName, ObjectRef};
use crate::source::kubernetes::testing::{Server, soon};
use crate::source::kubernetes::write::leader::Timing;
use crate::source::kubernetes::write::status::{Address, AddressSource};

const BASE: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/edge/leases/tidegate-leader";

fn config(name: &str) -> WriteConfig {
    let timing = Timing::new(Duration::from_secs(1));
    let election = Election { namespace: "edge".to_owned(), name: "tidegate-leader".to_owned(), timing };
    let status = StatusConfig {
        from: AddressSource::Given(vec![Address::parse("192.0.2.1").unwrap()]),
        pods: None,
        namespaces: Vec::new(),
        clear_on_stop: false,
        writes_per_second: 1000,
        refresh: Duration::from_millis(20),
    };
    WriteConfig { election: Some(election), identity: name.to_owned(), status: Some(status), events: true }
}

fn put_ingress(server: &Server, name: &str) {
    let metadata = json!({ "name": name, "namespace": "shop" });
    let ingress = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata });
    server.put(&format!("{BASE}/{name}"), ingress);
}

fn served(names: &[String]) -> Arc<Statuses> {
    let status = ObjectStatus { has_address: true, ..ObjectStatus::default() };
    let object = |name: &String| ObjectRef::new(Kind::Ingress, "shop", name);
    Arc::new(names.iter().map(|name| (object(name), Some(status.clone()))).collect())
}

fn is_written(server: &Server, name: &str) -> bool {
    server.object(&format!("{BASE}/{name}")).unwrap()["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.1"
}

fn note() -> Note {
    Note::live(&ObjectName::new("shop", "a"), 1, Duration::ZERO)
}

#[tokio::test]
async fn one_of_two_writes_and_the_other_goes_on_when_it_stops() {
    let server = Server::start().await;
    put_ingress(&server, "a");
    let (first, outlet) = Writing::start(server.client_of("one"), config("one"));
    soon("leadership", first.leadership().gained()).await;
    let (second, other_outlet) = Writing::start(server.client_of("two"), config("two"));
    let names = ["a".to_owned(), "b".to_owned()];
    outlet.statuses(served(&names));
    other_outlet.statuses(served(&names));
    let written = |writing: &Writing| writing.counts().status_writes.load(Ordering::Relaxed);
    server.until("the leader writes", |server| is_written(server, "a") && written(&first) == 1).await;
    soon("the end of the first", first.stop()).await;
    assert!(!first.leadership().is_held());
    put_ingress(&server, "b");
    server.until("the other one writes", |server| is_written(server, "b")).await;
    assert_eq!(server.object(LEASE).unwrap()["spec"]["holderIdentity"], "two");
    assert_eq!(written(&first), 1);
    soon("the end of the second", second.stop()).await;
    assert_eq!(server.object(LEASE).unwrap()["spec"]["holderIdentity"], "");
}

#[tokio::test]
async fn nobody_waits_for_ten_thousand_statuses() {
    let server = Server::start().await;
    let names: Vec<String> = (0..10_000).map(|index| format!("shop-{index}")).collect();
    names.iter().for_each(|name| put_ingress(&server, name));
    server.stall_writes(true);
    let (writing, outlet) = Writing::start(server.client(), WriteConfig { election: None, ..config("one") });
    let sets = [served(&names), served(&names[..9_000])];
    outlet.statuses(Arc::clone(&sets[0]));
    server.until("a write is under way", |server| !server.writes().is_empty()).await;
    let begun = Instant::now();
    for set in sets.iter().cycle().take(10_000) {
        outlet.statuses(Arc::clone(set));
        outlet.findings(Arc::default());
        outlet.note(note());
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?} for 10,000 times", begun.elapsed());
    assert_eq!(writing.counts().status_waiting.load(Ordering::Relaxed), 10_000, "one entry an Ingress");
    assert_eq!(
        writing.counts().events_dropped.load(Ordering::Relaxed),
        10_000 - 192,
        "three quarters of the room for notes"
    );
    soon("the end in the middle of a queue", writing.stop()).await;
}

#[tokio::test]
async fn what_is_not_written_by_choice_is_heard_and_forgotten() {
    let server = Server::start().await;
    let none = WriteConfig { election: None, status: None, events: false, ..config("one") };
    let (writing, outlet) = Writing::start(server.client(), none);
    outlet.statuses(served(&["a".to_owned()]));
    outlet.note(note());
    soon("the end", writing.stop()).await;
    assert_eq!(server.calls(), [] as [String; 0]);
    assert_eq!(writing.counts().events_dropped.load(Ordering::Relaxed), 0);
}
