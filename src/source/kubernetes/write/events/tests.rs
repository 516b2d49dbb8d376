use serde_json::json;

use super::*;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::ObjectName;
use crate::source::kubernetes::testing::{Server, soon};
use crate::source::kubernetes::write::leader::LeaseSender;

fn finding(name: &str, text: &str) -> Note {
    finding_in("shop", name, text)
}

fn finding_in(namespace: &str, name: &str, text: &str) -> Note {
    let found = Diagnostic::error(Code::ServiceNotFound, &Origin::new("Ingress", namespace, name, None), text);
    Note::of(&found.hint("make it")).unwrap()
}

/// Leads for as long as what comes first is kept.
fn leader() -> (LeaseSender, Leadership) {
    let (held, leadership) = Leadership::none_yet();
    held.send_replace(Some(Instant::now() + Duration::from_secs(60)));
    (held, leadership)
}

fn writer(server: &Server, name: &str, leadership: &Leadership) -> EventWriter {
    EventWriter::new(server.client(), name, leadership.clone(), Arc::default())
}

/// A writer that runs.
struct Run {
    held: LeaseSender,
    findings: watch::Sender<Findings>,
    notes: Arc<Notes>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    writer: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(server: &Server) -> Self {
        let (held, leadership) = leader();
        let writer = writer(server, "one", &leadership);
        let counts = Arc::clone(&writer.counts);
        let (findings, told) = watch::channel(Findings::default());
        let notes = Arc::<Notes>::default();
        let noted = Arc::clone(&notes);
        let (stop, stopped) = watch::channel(false);
        Self { held, findings, notes, counts, stop, writer: tokio::spawn(writer.run(told, noted, stopped)) }
    }

    fn find(&self, findings: impl IntoIterator<Item = Note>) {
        self.findings.send_replace(Arc::new(findings.into_iter().collect()));
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        soon("the end of the writer", self.writer).await.unwrap();
    }
}

fn posts(server: &Server) -> usize {
    server.writes().iter().filter(|call| call.starts_with("POST") && call.ends_with("/events")).count()
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
    let (_held, leadership) = leader();
    for replica in ["one", "two"] {
        let mut writer = writer(&server, replica, &leadership);
        let twice = finding("shop", "there is no Service `a`");
        let findings = vec![twice.clone(), twice.clone(), finding("gone", "there is no Service `b`")];
        let (sender, mut receiver) = watch::channel(Findings::new(findings));
        writer.tell_all(&mut receiver, &Notes::default()).await;
        sender.send_replace(Arc::new(vec![twice]));
        writer.tell_all(&mut receiver, &Notes::default()).await;
    }
    let told = events(&server);
    assert_eq!(told.len(), 1, "{told:?}");
    let event = &told[0];
    assert_eq!(event["note"], "there is no Service `a`; make it");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("ServiceNotFound")));
    assert_eq!(event["regarding"]["uid"], "uid-shop");
    assert_eq!(event["reportingInstance"], "one");
    assert_eq!(posts(&server), 2, "one each replica; the second is refused as a double");
}

#[tokio::test]
async fn only_the_leader_tells_and_a_new_one_tells_what_still_holds() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let run = Run::start(&server);
    run.held.send_replace(None);
    run.find([finding("shop", "x")]);
    // Who does not lead throws them away.
    for generation in 0..10 {
        assert!(run.notes.push(Note::live(&ObjectName::new("shop", "shop"), generation, Duration::ZERO)));
    }
    let thrown_away = async {
        while run.notes.len() > 0 {
            tokio::task::yield_now().await
        }
    };
    soon("the last note", thrown_away).await;
    assert_eq!(server.calls(), [] as [String; 0]);
    run.held.send_replace(Some(Instant::now() + Duration::from_secs(60)));
    server.until("it is told", |server| events(server).len() == 1).await;
    let counts = Arc::clone(&run.counts);
    run.stop().await;
    assert_eq!(events(&server)[0]["note"], "x; make it");
    assert_eq!(counts.events_dropped.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_flood_of_findings_is_told_at_a_pace() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let run = Run::start(&server);
    let begun = Instant::now();
    run.find((0..40).map(|index| finding("shop", &format!("fault {index}"))));
    server.until("a burst and three more", |server| events(server).len() == BURST as usize + 3).await;
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    run.stop().await;
}

#[tokio::test]
async fn a_server_that_refuses_events_is_not_asked_for_each() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let (_held, leadership) = leader();
    let mut writer = writer(&server, "one", &leadership);
    server.fail_writes(&[403; 100]);
    let findings = (0..20).map(|index| finding("shop", &format!("fault {index}"))).collect();
    let (_sender, mut receiver) = watch::channel(Findings::new(findings));
    writer.tell_all(&mut receiver, &Notes::default()).await;
    assert_eq!(posts(&server), MAX_FAILURES as usize);
    assert_eq!(writer.counts.events_dropped.load(Ordering::Relaxed), 20);
    assert!(writer.told.is_empty(), "it is told when the right is there");
}

#[tokio::test]
async fn what_one_namespace_has_to_say_keeps_no_other_waiting() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let (_held, leadership) = leader();
    let mut writer = writer(&server, "one", &leadership);
    // Its objects are gone by now, and nothing is written of them; each still takes its turn.
    let mut findings: Vec<_> = (0..5000).map(|index| finding_in("many", "gone", &format!("fault {index}"))).collect();
    findings.push(finding("shop", "there is no Service `a`"));
    let notes = Notes::default();
    while notes.push(Note::live(&ObjectName::new("many", "gone"), 1, PATIENCE)) {}
    assert!(notes.push(Note::live(&ObjectName::new("shop", "shop"), 7, Duration::from_millis(12))));
    let (_sender, mut receiver) = watch::channel(Findings::new(findings));
    let telling = writer.tell_all(&mut receiver, &notes);
    let told = server.until("both are told", |server| events(server).len() == 2);
    tokio::select! {
        () = telling => {}
        () = told => {}
    }
    assert_eq!(events(&server).len(), 2);
    let asked = server.calls().len();
    assert!(asked <= 2 * BURST as usize, "within the first burst, not after five thousand: {asked} calls");
}

#[tokio::test]
async fn a_namespace_that_refuses_events_silences_itself_only() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let (_held, leadership) = leader();
    let mut writer = writer(&server, "one", &leadership);
    let findings = [("bad", 0..6), ("shop", 0..7)];
    let findings = findings.into_iter().flat_map(|(namespace, faults)| {
        faults.map(move |fault| finding_in(namespace, "shop", &format!("fault {fault}")))
    });
    server.put(
        "/apis/networking.k8s.io/v1/namespaces/bad/ingresses/shop",
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "shop", "namespace": "bad", "uid": "x" } }),
    );
    // They have turns, so every other write is of the one that is being deleted.
    server.fail_writes(&[403, 0, 403, 0, 403, 0, 403, 0, 403]);
    let (_sender, mut receiver) = watch::channel(Findings::new(findings.collect()));
    writer.tell_all(&mut receiver, &Notes::default()).await;
    assert_eq!(events(&server).len(), 7, "all of the other one's");
    assert_eq!(writer.counts.events_dropped.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn an_ingress_is_told_that_it_is_live() {
    let server = Server::start().await;
    put_ingress(&server, "shop");
    let run = Run::start(&server);
    assert!(run.notes.push(Note::live(&ObjectName::new("shop", "shop"), 7, Duration::from_millis(12))));
    server.until("it is told", |server| events(server).len() == 1).await;
    run.stop().await;
    let told = events(&server);
    assert_eq!(told[0]["note"], "live in 12 ms at generation 7");
    assert_eq!(told[0]["type"], "Normal");
}
