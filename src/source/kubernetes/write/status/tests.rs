use serde_json::{Value, json};

use super::*;
use crate::resources::status::ObjectStatus;
use crate::resources::{Kind, ObjectRef};
use crate::source::kubernetes::testing::{Server, soon};
use crate::source::kubernetes::write::leader::LeaseSender;

const BASE: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "shop".into(), name: name.into() }
}

fn put_ingress(server: &Server, name: &str, addresses: Value) {
    let status = json!({ "loadBalancer": { "ingress": addresses } });
    server.put(
        &format!("{BASE}/{name}"),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": "shop" }, "status": status,
        }),
    );
}

fn standing(server: &Server, name: &str) -> Value {
    server.object(&format!("{BASE}/{name}")).unwrap()["status"]["loadBalancer"]["ingress"].clone()
}

fn given(address: &str) -> StatusConfig {
    StatusConfig {
        from: AddressSource::Given(vec![Address::parse(address).unwrap()]),
        pods: None,
        namespaces: Vec::new(),
        clear_on_stop: false,
        writes_per_second: 1000,
        refresh: Duration::from_millis(20),
    }
}

/// Status written by a leader, until `stop`.
struct Run {
    held: LeaseSender,
    served: watch::Sender<Arc<Statuses>>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    writer: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(server: &Server, config: StatusConfig, names: &[&str]) -> Self {
        let (held, leadership) = Leadership::none_yet();
        let counts = Arc::<Counts>::default();
        let (served, told) = watch::channel(all(names));
        let (stop, stopped) = watch::channel(false);
        let writer = StatusWriter::new(server.client(), config, leadership, Arc::clone(&counts));
        let run = Self { held, served, counts, stop, writer: tokio::spawn(writer.run(told, stopped)) };
        run.lead(true);
        run
    }

    fn lead(&self, leads: bool) {
        self.held.send_replace(leads.then(|| Instant::now() + Duration::from_secs(60)));
    }

    fn serve(&self, names: &[&str]) {
        self.served.send_replace(all(names));
    }

    fn waiting(&self) -> u64 {
        self.counts.status_waiting.load(Ordering::Relaxed)
    }

    async fn until_waiting(&self, count: u64) {
        soon("what waits", async {
            while self.waiting() != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        soon("the end of the writer", self.writer).await.unwrap();
    }
}

/// Statuses with an address of all of these, and of another one that has none.
fn all(names: &[&str]) -> Arc<Statuses> {
    let status = |name: ObjectName, has_address| {
        (ObjectRef { kind: Kind::Ingress, name }, Some(ObjectStatus { has_address, ..ObjectStatus::default() }))
    };
    let addressed = names.iter().map(|it| status(name(it), true));
    Arc::new(addressed.chain([status(name("without"), false)]).collect())
}

fn patches(server: &Server) -> Vec<String> {
    server.writes().into_iter().filter(|call| call.starts_with("PATCH")).collect()
}

fn ours() -> Value {
    json!([{ "ip": "192.0.2.1" }])
}

async fn until_ours(server: &Server, name: &str) {
    server.until(&format!("{name} says where we are"), |server| standing(server, name) == ours()).await;
}

#[tokio::test]
async fn only_what_is_served_and_says_something_else_is_written() {
    let server = Server::start().await;
    put_ingress(&server, "same", ours());
    put_ingress(&server, "other", json!([{ "ip": "192.0.2.7" }]));
    put_ingress(&server, "foreign", json!([]));
    let run = Run::start(&server, given("192.0.2.1"), &["same", "other"]);
    until_ours(&server, "other").await;
    // One that comes later, with its status already there; and then one without.
    put_ingress(&server, "restored", ours());
    put_ingress(&server, "zero", json!([]));
    run.serve(&["same", "other", "restored", "zero"]);
    until_ours(&server, "zero").await;
    run.until_waiting(0).await;
    let lists = lists(&server);
    server.until("it is all compared again", |server| self::lists(server) > lists + 1).await;
    assert_eq!(run.counts.status_writes.load(Ordering::Relaxed), 2);
    run.stop().await;
    assert_eq!(patches(&server), [format!("PATCH {BASE}/other/status"), format!("PATCH {BASE}/zero/status")]);
    assert_eq!(standing(&server, "foreign"), json!([]));
}

#[tokio::test]
async fn a_new_leader_finds_the_one_that_differs_among_many_at_once() {
    let server = Server::start().await;
    let mut names = many(100);
    names.iter().for_each(|name| put_ingress(&server, name, ours()));
    put_ingress(&server, "zero", json!([]));
    names.push("zero".to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // At this pace it would take longer than a test waits to look at each.
    let run = Run::start(&server, StatusConfig { writes_per_second: 1, ..given("192.0.2.1") }, &[]);
    run.serve(&names);
    until_ours(&server, "zero").await;
    run.stop().await;
    put_ingress(&server, "zero", json!([]));
    let run = Run::start(&server, StatusConfig { writes_per_second: 1, ..given("192.0.2.1") }, &names);
    until_ours(&server, "zero").await;
    run.stop().await;
    assert_eq!(patches(&server).len(), 2);
    assert!(!server.calls().contains(&format!("GET {BASE}/shop-0")), "what was listed is not asked for");
}

/// How often all Ingresses were listed.
fn lists(server: &Server) -> usize {
    server.calls().iter().filter(|call| *call == "GET /apis/networking.k8s.io/v1/ingresses").count()
}

#[tokio::test]
async fn a_failed_write_is_tried_again_and_one_that_is_gone_is_not() {
    let server = Server::start().await;
    put_ingress(&server, "shop", json!([]));
    server.fail_writes(&[500, 429]);
    let run = Run::start(&server, given("lb.example"), &["gone", "shop"]);
    let there = json!([{ "hostname": "lb.example" }]);
    server.until("it is written", |server| standing(server, "shop") == there).await;
    run.until_waiting(0).await;
    assert_eq!(run.counts.status_failures.load(Ordering::Relaxed), 2);
    run.stop().await;
    assert_eq!(patches(&server), vec![format!("PATCH {BASE}/shop/status"); 3]);
}

#[tokio::test]
async fn a_server_in_trouble_is_left_alone_for_longer_and_longer() {
    let server = Server::start().await;
    let names = many(100);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.iter().for_each(|name| put_ingress(&server, name, json!([])));
    server.fail_writes(&[503; 100]);
    let begun = Instant::now();
    let run = Run::start(&server, given("192.0.2.1"), &names);
    server.until("three attempts", |server| patches(server).len() == 3).await;
    // Half of 200 ms and half of 400 ms: the rest is chance.
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    run.stop().await;
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("shop-{index}")).collect()
}

#[tokio::test]
async fn writing_stops_at_once_when_the_leadership_is_lost_and_goes_on_when_it_is_back() {
    let server = Server::start().await;
    let names = many(100);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.iter().for_each(|name| put_ingress(&server, name, json!([])));
    let run = Run::start(&server, given("192.0.2.1"), &names);
    server.until("some are written", |server| patches(server).len() >= 30).await;
    server.stall_writes(true);
    server.until("one is under way", |server| count_of(server, &ours()) < patches(server).len()).await;
    let written = patches(&server).len();
    run.lead(false);
    run.until_waiting(0).await;
    server.stall_writes(false);
    // Served again and again: who does not lead does not care.
    run.serve(&names);
    server.put("/unrelated", json!({ "metadata": {} }));
    assert_eq!(patches(&server).len(), written);
    assert!(written < 100, "it was in the middle of the queue");
    run.lead(true);
    server.until("all are written", |server| count_of(server, &ours()) == 100).await;
    run.stop().await;
    assert!(patches(&server).len() <= 101, "only the one that was cut off is written twice");
}

fn count_of(server: &Server, addresses: &Value) -> usize {
    let all = server.objects_under(BASE);
    all.iter().filter(|ingress| ingress["status"]["loadBalancer"]["ingress"] == *addresses).count()
}

#[tokio::test]
async fn an_address_is_taken_back_from_what_is_not_served_any_more_if_it_is_ours() {
    let server = Server::start().await;
    for name in ["shop", "taken", "kept", "deleted"] {
        put_ingress(&server, name, json!([]));
    }
    let run = Run::start(&server, given("192.0.2.1"), &["shop", "taken", "kept", "deleted"]);
    server.until("all are written", |server| count_of(server, &ours()) == 4).await;
    // Another controller was quicker.
    put_ingress(&server, "taken", json!([{ "ip": "192.0.2.99" }]));
    server.remove(&format!("{BASE}/deleted"));
    run.serve(&["kept"]);
    server.until("it is taken back", |server| standing(server, "shop") == json!([])).await;
    run.until_waiting(0).await;
    run.stop().await;
    assert_eq!(standing(&server, "taken"), json!([{ "ip": "192.0.2.99" }]));
    assert_eq!(standing(&server, "kept"), ours());
    assert_eq!(patches(&server).len(), 5);
}

#[tokio::test]
async fn what_was_not_served_while_this_process_leads_is_left_alone() {
    let server = Server::start().await;
    put_ingress(&server, "shop", json!([]));
    put_ingress(&server, "old", ours());
    let run = Run::start(&server, given("192.0.2.1"), &["shop"]);
    until_ours(&server, "shop").await;
    run.stop().await;
    assert_eq!(standing(&server, "old"), ours());
}

#[tokio::test]
async fn what_others_overwrite_is_written_again_once_a_refresh_and_not_faster() {
    let server = Server::start().await;
    put_ingress(&server, "shop", json!([]));
    let run = Run::start(&server, given("192.0.2.1"), &["shop"]);
    for round in 1..=5 {
        until_ours(&server, "shop").await;
        run.until_waiting(0).await;
        put_ingress(&server, "shop", json!([]));
        run.serve(&["shop"]);
        assert!(patches(&server).len() <= lists(&server), "round {round}: {:#?}", server.calls());
    }
    until_ours(&server, "shop").await;
    run.stop().await;
    assert_eq!(patches(&server).len(), 6);
}

#[tokio::test]
async fn a_service_that_gets_its_address_late_is_published_then() {
    let server = Server::start().await;
    let service = "/api/v1/namespaces/edge/services/tidegate";
    let balancer = |entries: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tidegate" },
            "spec": { "type": "LoadBalancer" }, "status": { "loadBalancer": { "ingress": entries } },
        })
    };
    server.put(service, balancer(json!([])));
    put_ingress(&server, "shop", json!([{ "ip": "192.0.2.7" }]));
    let from = AddressSource::Service(ObjectName { namespace: "edge".into(), name: "tidegate".into() });
    let run = Run::start(&server, StatusConfig { from, ..given("192.0.2.1") }, &["shop"]);
    server.until("it is compared", |server| lists(server) > 1).await;
    assert_eq!(patches(&server), [] as [String; 0], "nothing is cleared while no address is known");
    server.put(service, balancer(ours()));
    until_ours(&server, "shop").await;
    // An address that goes away is kept: a balancer that is made anew tells none for a while.
    server.put(service, balancer(json!([])));
    let lists = lists(&server);
    server.until("it is compared", |server| self::lists(server) > lists + 1).await;
    assert_eq!(standing(&server, "shop"), ours());
    server.put(service, balancer(json!([{ "ip": "192.0.2.2" }])));
    server.until("the new one is told", |server| standing(server, "shop") == json!([{ "ip": "192.0.2.2" }])).await;
    run.stop().await;
}

fn put_pod(server: &Server, name: &str, ready: &str) {
    let metadata = json!({ "name": name, "labels": { "app": "tidegate", "pod-template-hash": name } });
    let path = format!("/api/v1/namespaces/edge/pods/{name}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": { "nodeName": "node", "containers": [] },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    });
    server.put(&path, pod);
}

fn replicated(clear_on_stop: bool) -> StatusConfig {
    let pods = Replicas { namespace: "edge".to_owned(), own: "one".to_owned() };
    StatusConfig { pods: Some(pods), clear_on_stop, ..given("192.0.2.1") }
}

/// What stands on `shop` and on `other`, which somebody overwrote, after a replica stopped.
async fn after_stop(server: &Server, config: StatusConfig, leads: bool) -> [Value; 2] {
    put_ingress(server, "shop", json!([]));
    put_ingress(server, "other", json!([]));
    let run = Run::start(server, config, &["shop", "other"]);
    server.until("both are written", |server| count_of(server, &ours()) == 2).await;
    run.until_waiting(0).await;
    put_ingress(server, "other", json!([{ "ip": "192.0.2.99" }]));
    run.lead(leads);
    run.stop().await;
    ["shop", "other"].map(|name| standing(server, name))
}

#[tokio::test]
async fn the_last_ready_replica_takes_its_addresses_back_by_choice() {
    let foreign = json!([{ "ip": "192.0.2.99" }]);
    for (clear_on_stop, other, leads, left) in [
        (true, None, true, json!([])),
        (true, Some("False"), true, json!([])),
        (true, Some("True"), true, ours()),
        (true, None, false, ours()),
        (false, None, true, ours()),
    ] {
        let server = Server::start().await;
        put_pod(&server, "one", "True");
        if let Some(ready) = other {
            put_pod(&server, "two", ready);
        }
        let after = after_stop(&server, replicated(clear_on_stop), leads).await;
        let case = format!("clear {clear_on_stop}, another {other:?}, leads {leads}");
        assert_eq!(after, [left, foreign.clone()], "{case}");
    }
}

#[tokio::test]
async fn addresses_stay_when_it_cannot_be_told_who_else_serves() {
    let server = Server::start().await;
    put_pod(&server, "two", "False");
    let after = after_stop(&server, replicated(true), true).await;
    assert_eq!(after[0], ours(), "our own Pod is not there any more");
}

#[tokio::test]
async fn nodes_of_ready_pods_are_published() {
    let server = Server::start().await;
    put_pod(&server, "one", "True");
    let addresses = json!([{ "type": "ExternalIP", "address": "192.0.2.5" }]);
    server.put("/api/v1/nodes/node", json!({ "metadata": { "name": "node" }, "status": { "addresses": addresses } }));
    put_ingress(&server, "shop", json!([]));
    let from = AddressSource::Nodes(NodeAddress::External);
    let run = Run::start(&server, StatusConfig { from, ..replicated(false) }, &["shop"]);
    server.until("it is written", |server| standing(server, "shop") == json!([{ "ip": "192.0.2.5" }])).await;
    run.stop().await;
}
