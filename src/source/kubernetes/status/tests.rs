use serde_json::{Value, json};

use super::*;
use crate::source::kubernetes::leader::{Election, Elector, Timing};
use crate::source::kubernetes::testing::Server;

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
    served: watch::Sender<Served>,
    stop: watch::Sender<bool>,
    writer: tokio::task::JoinHandle<()>,
    _elected: watch::Sender<bool>,
}

impl Run {
    fn start(server: &Server, config: StatusConfig, names: &[&str]) -> Self {
        let second = Duration::from_secs(1);
        let timing = Timing { duration: second * 15, renew: second, give_up: second * 10 };
        let text = |text: &str| text.to_owned();
        let election = Election { namespace: text("edge"), name: text("lease"), timing };
        let (elector, leadership) = Elector::new(server.client(), election, text("me"));
        let (elected, until) = watch::channel(false);
        tokio::spawn(elector.run(until));
        let (served, told) = watch::channel(Arc::new(names.iter().map(|it| name(it)).collect()));
        let (stop, stopped) = watch::channel(false);
        let writer =
            tokio::spawn(StatusWriter::new(server.client(), config, leadership, Arc::default()).run(told, stopped));
        Self { served, stop, writer, _elected: elected }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.writer.await.unwrap();
    }
}

fn patches(server: &Server) -> Vec<String> {
    server.writes().into_iter().filter(|call| call.starts_with("PATCH")).collect()
}

#[tokio::test]
async fn what_stands_there_already_is_not_written_again() {
    let server = Server::start().await;
    put_ingress(&server, "same", json!([{ "ip": "192.0.2.1" }]));
    put_ingress(&server, "other", json!([{ "ip": "192.0.2.7" }]));
    put_ingress(&server, "foreign", json!([]));
    let run = Run::start(&server, given("192.0.2.1"), &["same", "other"]);
    server.until(|server| standing(server, "other") == json!([{ "ip": "192.0.2.1" }])).await;
    // One that comes later, with its status already there; and then one without.
    put_ingress(&server, "restored", json!([{ "ip": "192.0.2.1" }]));
    put_ingress(&server, "zero", json!([]));
    run.served.send_replace(Arc::new(["same", "other", "restored", "zero"].map(name).into_iter().collect()));
    server.until(|server| standing(server, "zero") == json!([{ "ip": "192.0.2.1" }])).await;
    run.stop().await;
    assert_eq!(patches(&server), [format!("PATCH {BASE}/other/status"), format!("PATCH {BASE}/zero/status")]);
    assert_eq!(standing(&server, "foreign"), json!([]));
}

#[tokio::test]
async fn a_failed_write_is_tried_again_and_one_that_is_gone_is_not() {
    let server = Server::start().await;
    // Somebody else's writes must not be the ones that fail: the Lease is there before.
    let run = Run::start(&server, given("lb.example"), &[]);
    server.until(|server| !server.writes().is_empty()).await;
    put_ingress(&server, "shop", json!([]));
    server.fail_writes(&[500, 429]);
    run.served.send_replace(Arc::new(["gone", "shop"].map(name).into_iter().collect()));
    server.until(|server| standing(server, "shop") == json!([{ "hostname": "lb.example" }])).await;
    run.stop().await;
    assert!(patches(&server).iter().all(|call| call.ends_with("shop/status")), "{:?}", patches(&server));
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
    server.until(|server| !server.writes().is_empty()).await;
    assert_eq!(patches(&server), [] as [String; 0], "nothing is cleared while no address is known");
    server.put(service, balancer(json!([{ "ip": "192.0.2.1" }])));
    server.until(|server| standing(server, "shop") == json!([{ "ip": "192.0.2.1" }])).await;
    run.stop().await;
}

fn put_pod(server: &Server, name: &str) {
    server.put(&format!("/api/v1/namespaces/edge/pods/{name}"), json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "nodeName": "node", "containers": [] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }));
}

fn clearing() -> StatusConfig {
    let text = |text: &str| text.to_owned();
    let pods = Replicas { namespace: text("edge"), own: text("one") };
    StatusConfig { pods: Some(pods), clear_on_stop: true, ..given("192.0.2.1") }
}

#[tokio::test]
async fn the_last_replica_takes_the_addresses_back() {
    let server = Server::start().await;
    put_pod(&server, "one");
    put_ingress(&server, "shop", json!([]));
    let run = Run::start(&server, clearing(), &["shop"]);
    server.until(|server| standing(server, "shop") != json!([])).await;
    // The write is known to have been done when the next one begins.
    put_ingress(&server, "next", json!([]));
    run.served.send_replace(Arc::new(["shop", "next"].map(name).into_iter().collect()));
    server.until(|server| standing(server, "next") != json!([])).await;
    run.stop().await;
    assert_eq!(standing(&server, "shop"), json!([]));
}

#[tokio::test]
async fn addresses_stay_while_another_replica_serves() {
    let server = Server::start().await;
    put_pod(&server, "one");
    put_pod(&server, "two");
    put_ingress(&server, "shop", json!([]));
    let run = Run::start(&server, clearing(), &["shop"]);
    server.until(|server| standing(server, "shop") != json!([])).await;
    run.stop().await;
    assert_eq!(standing(&server, "shop"), json!([{ "ip": "192.0.2.1" }]));
}

#[tokio::test]
async fn nodes_of_ready_pods_are_published() {
    let server = Server::start().await;
    put_pod(&server, "one");
    let addresses = json!([{ "type": "ExternalIP", "address": "192.0.2.5" }]);
    server.put("/api/v1/nodes/node", json!({ "metadata": { "name": "node" }, "status": { "addresses": addresses } }));
    put_ingress(&server, "shop", json!([]));
    let from = AddressSource::Nodes(NodeAddress::External);
    let run = Run::start(&server, StatusConfig { from, ..clearing() }, &["shop"]);
    server.until(|server| standing(server, "shop") == json!([{ "ip": "192.0.2.5" }])).await;
    run.stop().await;
}
