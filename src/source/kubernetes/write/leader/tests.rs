use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::source::kubernetes::testing::{Server, soon};

/// The shortest, so that what takes a Lease's whole duration does not take long.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(15);
const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/edge/leases/tidegate-leader";

fn election(duration: Duration) -> Election {
    let timing = Timing::new(duration);
    Election { namespace: "edge".to_owned(), name: "tidegate-leader".to_owned(), timing }
}

/// An elector that runs.
struct Replica {
    leadership: Leadership,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Replica {
    fn start(server: &Server, name: &str) -> Self {
        let (elector, leadership) = Elector::new(server.client_of(name), election(SHORT), name.to_owned());
        let (stop, stopped) = watch::channel(false);
        Self { leadership, stop, running: tokio::spawn(elector.run(stopped)) }
    }

    async fn leads(&self) {
        soon("leadership", self.leadership.gained()).await;
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        soon("the end of an elector", self.running).await.unwrap();
        assert!(!self.leadership.is_held());
    }
}

fn elector(server: &Server, duration: Duration) -> (Elector, Leadership) {
    Elector::new(server.client(), election(duration), "one".to_owned())
}

fn holder(server: &Server) -> String {
    let lease = server.object(PATH).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn renewals(server: &Server) -> usize {
    server.writes().iter().filter(|call| call.starts_with("PUT")).count()
}

#[tokio::test]
async fn the_first_makes_the_lease_renews_it_and_gives_it_back() {
    let server = Server::start().await;
    let replica = Replica::start(&server, "one");
    replica.leads().await;
    assert_eq!(holder(&server), "one");
    assert_eq!(server.object(PATH).unwrap()["spec"]["leaseDurationSeconds"], 1);
    server.until("a renewal", |server| renewals(server) > 0).await;
    replica.stop().await;
    assert_eq!(holder(&server), "");
}

#[tokio::test]
async fn another_waits_and_takes_over_when_the_lease_is_given_back() {
    let server = Server::start().await;
    let first = Replica::start(&server, "one");
    first.leads().await;
    let second = Replica::start(&server, "two");
    server.until("renewals beside a second", |server| renewals(server) > 1).await;
    assert!(!second.leadership.is_held());
    first.stop().await;
    second.leads().await;
    assert_eq!(holder(&server), "two");
    assert_eq!(server.object(PATH).unwrap()["spec"]["leaseTransitions"], 1);
    second.stop().await;
}

#[tokio::test]
async fn one_that_is_cut_off_has_given_up_when_another_takes_over() {
    let server = Server::start().await;
    let first = Replica::start(&server, "one");
    first.leads().await;
    let second = Replica::start(&server, "two");
    server.cut_off("one");
    second.leads().await;
    let taken = second.leadership.until().unwrap() - Timing::new(SHORT).give_up();
    let given_up = first.leadership.until();
    assert!(given_up.is_none_or(|until| until < taken), "{given_up:?} is before {taken:?}");
    assert!(!first.leadership.is_held());
    assert_eq!(holder(&server), "two");
    second.stop().await;
    first.stop().await;
    assert_eq!(holder(&server), "", "who was cut off gives nothing back");
}

#[tokio::test]
async fn a_holder_makes_its_lease_again_when_somebody_deletes_it() {
    let server = Server::start().await;
    let (mut elector, leadership) = elector(&server, LONG);
    elector.try_once().await;
    server.remove(PATH);
    elector.try_once().await;
    assert!(leadership.is_held());
    assert_eq!(holder(&server), "one");
}

#[tokio::test]
async fn a_write_upon_an_old_version_is_lost_and_nothing_is_believed() {
    let server = Server::start().await;
    let (mut elector, leadership) = elector(&server, LONG);
    server.put(PATH, json!({ "metadata": { "name": "tidegate-leader" }, "spec": { "holderIdentity": "" } }));
    server.fail_writes(&[409]);
    elector.try_once().await;
    assert!(!leadership.is_held());
    assert_eq!(holder(&server), "");
    elector.try_once().await;
    assert!(leadership.is_held());
}

#[tokio::test]
async fn a_hold_that_cannot_be_renewed_runs_out_by_itself() {
    let server = Server::start().await;
    let (mut elector, leadership) = elector(&server, SHORT);
    soon("leadership", async {
        while !leadership.is_held() {
            elector.try_once().await;
        }
    })
    .await;
    let until = elector.candidate.held_until().unwrap();
    server.fail_writes(&[500]);
    elector.try_once().await;
    assert_eq!(elector.candidate.held_until(), Some(until), "a failure neither lengthens nor shortens it");
    assert_eq!(soon("its end", leadership.while_held(std::future::pending::<()>())).await, None);
    assert!(Instant::now() >= until);
}
