use serde_json::json;

use super::*;
use crate::source::kubernetes::testing::Server;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/edge/leases/tidegate-leader";

fn election() -> Election {
    Election {
        namespace: "edge".to_owned(),
        name: "tidegate-leader".to_owned(),
        timing: Timing {
            duration: Duration::from_secs(15),
            renew: Duration::from_millis(200),
            give_up: Duration::from_secs(10),
        },
    }
}

fn holder(server: &Server) -> String {
    let lease = server.object(PATH).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_first_makes_the_lease_renews_it_and_gives_it_back() {
    let server = Server::start().await;
    let (elector, mut leadership) = Elector::new(server.client(), election(), "one".to_owned());
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(elector.run(stopped));
    leadership.gained().await;
    assert_eq!(holder(&server), "one");
    assert_eq!(server.object(PATH).unwrap()["spec"]["leaseDurationSeconds"], 15);
    server.until(|server| server.writes().iter().any(|call| call.starts_with("PUT"))).await;
    stop.send_replace(true);
    running.await.unwrap();
    assert!(!leadership.is_held());
    assert_eq!(holder(&server), "");
}

#[tokio::test]
async fn another_waits_and_takes_over_when_the_lease_is_given_back() {
    let server = Server::start().await;
    let (first, mut first_leads) = Elector::new(server.client(), election(), "one".to_owned());
    let (stop, stopped) = watch::channel(false);
    let first = tokio::spawn(first.run(stopped));
    first_leads.gained().await;
    let (second, mut second_leads) = Elector::new(server.client(), election(), "two".to_owned());
    let (_keep, never) = watch::channel(false);
    let second = tokio::spawn(second.run(never));
    stop.send_replace(true);
    first.await.unwrap();
    second_leads.gained().await;
    assert!(!first_leads.is_held());
    assert_eq!(holder(&server), "two");
    assert_eq!(server.object(PATH).unwrap()["spec"]["leaseTransitions"], 1);
    second.abort();
}

#[tokio::test]
async fn a_write_upon_an_old_version_is_lost_and_nothing_is_believed() {
    let server = Server::start().await;
    let (mut elector, leadership) = Elector::new(server.client(), election(), "one".to_owned());
    server.put(PATH, json!({ "metadata": { "name": "tidegate-leader" }, "spec": { "holderIdentity": "" } }));
    server.fail_writes(&[409]);
    elector.attempt().await.unwrap();
    elector.tell(false);
    assert!(!leadership.is_held());
    assert_eq!(holder(&server), "");
    elector.attempt().await.unwrap();
    elector.tell(false);
    assert!(leadership.is_held());
}

#[tokio::test]
async fn a_hold_that_cannot_be_renewed_runs_out_by_itself() {
    let server = Server::start().await;
    let mut quick = election();
    quick.timing.give_up = Duration::from_millis(300);
    let (mut elector, leadership) = Elector::new(server.client(), quick, "one".to_owned());
    elector.attempt().await.unwrap();
    elector.tell(false);
    let until = elector.candidate.held_until().unwrap();
    server.fail_writes(&[500]);
    assert!(elector.attempt().await.is_err());
    assert_eq!(elector.candidate.held_until(), Some(until), "a failure neither lengthens nor shortens it");
    tokio::time::sleep_until(until).await;
    assert!(!leadership.is_held());
}
