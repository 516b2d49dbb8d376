//! The running proxy with the Kubernetes source: what clients see while the API server changes, fails and comes back.
//! C1 to C11 name the faults of a control plane that each of these is about.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tempfile::TempDir;

use crate::edge::{Edge, Load, kubeconfig, objects, put, tls_route};
use crate::server::ApiServer;
use crate::support::{Echo, PATIENCE, get, ingress, presented, request, service, tls_secret};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_with_a_certificate_is_served() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let (secret, der) = tls_secret("cert", &["a.test"]);
    put(&server, &(tls_route("a", "a.test", "cert") + &service("a", &[echo.address]) + &secret));
    let edge = Edge::start(&server).await;
    assert_eq!(presented(edge.https(), "a.test").await, der);
    assert_eq!(get(edge.http(), "a.test", "/").await.status, 308);
    assert_eq!(edge.metric("tidegate_source_up{source=\"kubernetes\"}").await, 1.0);
    assert!(edge.metric("tidegate_source_last_contact_timestamp_seconds").await > 1e9);
}

/// What is new goes live together with its Secret: no client ever meets the default certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_never_lives_without_its_certificate() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &service("a", &[echo.address]));
    let edge = Edge::start(&server).await;
    for number in 0..10 {
        let host = format!("h{number}.test");
        let (secret, der) = tls_secret(&format!("cert{number}"), &[&host]);
        put(&server, &(secret + &tls_route(&format!("i{number}"), &host, &format!("cert{number}"))));
        edge.until(&host, 308).await;
        assert_eq!(presented(edge.https(), &host).await, der, "{host}");
    }
    let (other, other_der) = tls_secret("other", &["h0.test"]);
    let before = presented(edge.https(), "h0.test").await;
    put(&server, &(other + &tls_route("i0", "h0.test", "other")));
    let wait = async {
        loop {
            let now = presented(edge.https(), "h0.test").await;
            if now == other_der {
                return;
            }
            assert_eq!(now, before, "neither the old nor the new certificate");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the other certificate");
}

/// As cert-manager goes about it: the Ingress comes before its certificate, then another one for the challenge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_ordered_through_a_challenge_over_http() {
    const TOKEN: &str = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    let (echo, solver) = (Echo::start("a").await, Echo::start("solver").await);
    let server = ApiServer::start().await;
    put(&server, &(tls_route("a", "a.test", "cert") + &service("a", &[echo.address])));
    let edge = Edge::start(&server).await;
    edge.until("a.test", 308).await;

    // Its Ingress has nothing of the other one's, and says that everybody may come.
    let mut challenge = objects(&ingress("cm-acme-http-solver-x7x2f", "a.test", &[(TOKEN, "solver")])).remove(0);
    challenge["metadata"]["annotations"] =
        serde_json::json!({ "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0" });
    challenge["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "ImplementationSpecific".into();
    put(&server, &service("solver", &[solver.address]));
    server.apply(challenge.clone());
    let answered = async { while get(edge.http(), "a.test", TOKEN).await.server() != "solver" {} };
    tokio::time::timeout(PATIENCE, answered).await.expect("the challenge over plain HTTP");
    assert_eq!(get(edge.http(), "a.test", "/").await.status, 308, "all else goes to https as before");

    let (secret, der) = tls_secret("cert", &["a.test"]);
    put(&server, &secret);
    let served = async { while presented(edge.https(), "a.test").await != der {} };
    tokio::time::timeout(PATIENCE, served).await.expect("the new certificate");
    server.delete(&challenge);
    let gone = async { while get(edge.http(), "a.test", TOKEN).await.server() != "a" {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the end of the challenge");
}

/// Whoever may write EndpointSlices could otherwise reach what listens on this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_lead_to_the_machine_get_no_request_until_they_are_allowed() {
    let echo = Echo::start("inside").await;
    let server = ApiServer::start().await;
    let probed = service("a", &[echo.address]).replacen(
        "metadata: { name: a, namespace: default }",
        "metadata: { name: a, namespace: default, annotations: { tidegate.io/health-check: \"/probe,interval=10ms\" } }",
        1,
    );
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &probed));
    let edge = Edge::start_with(&server, "", "defaults: { allowAddresses: [10.0.0.0/8] }\n").await;
    edge.until_told("AddressRefused", true).await;
    assert_eq!(get(edge.http(), "a.test", "/").await.status, 503);
    assert_eq!(echo.requests.load(Ordering::Relaxed), 0, "no request, and no probe");

    edge.rewrite("10.0.0.0/8", "127.0.0.0/8");
    edge.until("a.test", 200).await;
    edge.until_told("AddressRefused", false).await;

    // The process's own sockets are not let in by a whole network.
    let telemetry = edge.running.telemetry().unwrap();
    put(&server, &(service("own", &[telemetry]) + &ingress("own", "own.test", &[("/", "own")])));
    edge.until("own.test", 503).await;
    edge.until_told("AddressRefused", true).await;
    edge.rewrite("127.0.0.0/8", "127.0.0.1/32");
    // It has no page there.
    edge.until("own.test", 404).await;
    edge.until_told("AddressRefused", false).await;

    edge.rewrite("127.0.0.1/32", "10.0.0.0/8");
    edge.until("a.test", 503).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_follow_the_readiness_of_endpoints() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[one.address, two.address])));
    let edge = Edge::start(&server).await;
    let generation = edge.running.generation();
    let mut slice = objects(&service("a", &[one.address, two.address])).remove(1);
    slice["endpoints"][0]["conditions"]["ready"] = false.into();
    let revision = edge.running.revision();
    server.apply(slice);
    edge.running.after(revision).await;
    for _ in 0..10 {
        assert_eq!(get(edge.http(), "a.test", "/").await.server(), "two");
    }
    assert_eq!(edge.running.generation(), generation, "endpoints need no new snapshot");
}

/// C1: nothing is refused at the socket, and readiness waits for the first complete state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_at_start_it_waits_and_says_so() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address])));
    server.vanish();
    let edge = Edge::begin(&server, "").await;
    edge.until_told("SourceUnavailable", true).await;
    assert_eq!(get(edge.http(), "a.test", "/").await.status, 503);
    assert_eq!(get(edge.running.telemetry().unwrap(), "localhost", "/readyz").await.status, 503);
    server.come_back().await;
    edge.until("a.test", 200).await;
    assert_eq!(get(edge.running.telemetry().unwrap(), "localhost", "/readyz").await.status, 200);
    edge.until_told("SourceUnavailable", false).await;
}

/// C2: what was said last stays in force, and the process stays ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_takes_no_route_with_it() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address])));
    let edge = Edge::start(&server).await;
    let load = Load::start(&edge, "a.test");
    server.vanish();
    edge.until_told("SourceUnavailable", true).await;
    edge.until_metric("tidegate_source_up{source=\"kubernetes\"}", 0.0).await;
    assert_eq!(get(edge.running.telemetry().unwrap(), "localhost", "/readyz").await.status, 200);
    load.pass(100).await;
    put(&server, &ingress("b", "b.test", &[("/", "a")]));
    server.come_back().await;
    edge.until("b.test", 200).await;
    edge.until_told("SourceUnavailable", false).await;
    assert_eq!(load.end().await, [""; 0]);
}

/// C3, C4: a new list lands in one swap, however slowly it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_history_and_a_slow_list_cost_no_request() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let routes: String = (0..20).map(|number| ingress(&format!("i{number}"), "a.test", &[("/", "a")])).collect();
    put(&server, &(routes + &ingress("gone", "gone.test", &[("/", "a")]) + &service("a", &[echo.address])));
    let edge = Edge::start(&server).await;
    let load = Load::start(&edge, "a.test");
    server.watched("ingresses", 2).await;
    server.hold("ingresses");
    server.delete_unseen(&objects(&ingress("gone", "gone.test", &[("/", "a")])).remove(0));
    load.pass(200).await;
    assert_eq!(get(edge.http(), "gone.test", "/").await.status, 200, "the last good state is in force");
    server.release("ingresses");
    edge.until("gone.test", 404).await;
    load.pass(50).await;
    assert_eq!(load.end().await, [""; 0]);
}

/// C5: the same state is no new snapshot, however often and in whatever order it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_again_changes_nothing() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let manifests = ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address]);
    put(&server, &manifests);
    let edge = Edge::start(&server).await;
    server.watched("endpointslices", 2).await;
    let generation = edge.running.generation();
    for object in objects(&manifests).iter().rev() {
        let revision = edge.running.revision();
        server.repeat(object);
        edge.running.after(revision).await;
    }
    assert_eq!(edge.running.generation(), generation);
    let revision = edge.running.revision();
    server.apply(objects(&ingress("b", "b.test", &[("/", "a")])).remove(0));
    edge.running.after(revision).await;
    assert_eq!(edge.running.generation(), generation + 1);
}

/// C6, C10: what one object or one permission does wrong stays its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_object_and_a_revoked_permission_hurt_no_other() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address])));
    let edge = Edge::start(&server).await;
    let mut bad = objects(&ingress("bad", "bad.test", &[("/", "a")])).remove(0);
    bad["spec"]["rules"] = 7.into();
    bad["metadata"]["annotations"] = serde_json::json!({ "garbage": "x".repeat(1 << 20) });
    server.apply(bad);
    edge.until_told("InvalidObject", true).await;
    for status in [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED] {
        server.refuse("endpointslices", status);
        server.cut();
        let host = format!("{status}.test").replace(' ', "-").to_lowercase();
        put(&server, &ingress(&host.replace('.', "-"), &host, &[("/", "a")]));
        edge.until(&host, 200).await;
        assert_eq!(get(edge.http(), "a.test", "/").await.status, 200);
    }
}

/// C7: the last good certificate stays; other hosts notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_certificate_keeps_the_last_good_one() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let (secret, der) = tls_secret("cert", &["a.test"]);
    let (other, other_der) = tls_secret("other", &["b.test"]);
    let routes = tls_route("a", "a.test", "cert") + &tls_route("b", "b.test", "other");
    put(&server, &(routes + &service("a", &[echo.address]) + &secret + &other));
    let edge = Edge::start(&server).await;
    let mut broken = objects(&secret).remove(0);
    broken["stringData"]["tls.key"] = "rubbish".into();
    server.apply(broken);
    edge.until_told("InvalidCertificate", true).await;
    assert_eq!(presented(edge.https(), "a.test").await, der);
    assert_eq!(presented(edge.https(), "b.test").await, other_der);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_source_needs_a_restart_and_says_so() {
    let server = ApiServer::start().await;
    let edge = Edge::start(&server).await;
    let file = edge.folder.path().join("tidegate.yaml");
    let conf = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, conf.replace("kube.yaml", "kube.yaml, namespaces: [a]")).unwrap();
    edge.until_told("NeedsRestart", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_namespace_sees_nothing_of_another() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    put(&server, &(ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address])));
    let edge = Edge::begin(&server, ", namespaces: [other]").await;
    tokio::time::timeout(PATIENCE, edge.running.ready()).await.expect("ready");
    assert_eq!(request(edge.http(), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.status, 404);
}

/// C1: what was known is served while the server is away, and what has gone since goes when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_state_is_served_until_the_server_is_back() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let (secret, der) = tls_secret("cert", &["a.test"]);
    let (gone, _) = tls_secret("gone", &["gone.test"]);
    let routes = tls_route("a", "a.test", "cert") + &tls_route("gone", "gone.test", "gone");
    put(
        &server,
        &(routes + &ingress("plain", "plain.test", &[("/", "a")]) + &service("a", &[echo.address]) + &secret + &gone),
    );
    let state = TempDir::new().unwrap();
    for (keeps, secrets) in [("true", true), ("false", false)] {
        // One that stops may still be writing its own.
        let file = state.path().join(keeps);
        let kept = format!(", cache: {{ path: '{}', secrets: {keeps} }}", file.display());
        let edge = Edge::start_with(&server, &kept, "").await;
        let wait = async {
            while !std::fs::read_to_string(&file).unwrap_or_default().contains("plain.test") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the state is written");
        edge.running.stop().await;
        server.vanish();
        let edge = Edge::start_with(&server, &kept, "").await;
        assert_eq!(get(edge.http(), "plain.test", "/").await.status, 200);
        assert_eq!(presented(edge.https(), "a.test").await == der, secrets, "secrets: {keeps}");
        assert_eq!(get(edge.http(), "gone.test", "/").await.status, 308);
        edge.until_told("StaleState", true).await;
        assert_eq!(edge.metric("tidegate_source_up{source=\"kubernetes\"}").await, 0.0);
        let going = objects(&ingress("gone", "gone.test", &[("/", "a")])).remove(0);
        server.delete(&going);
        server.come_back().await;
        edge.until("gone.test", 404).await;
        edge.until_told("StaleState", false).await;
        assert_eq!(presented(edge.https(), "a.test").await, der);
        assert_eq!(get(edge.http(), "plain.test", "/").await.status, 200);
        edge.running.stop().await;
        put(&server, &tls_route("gone", "gone.test", "gone"));
    }
}

/// What an API server would call: a webhook of this Service.
/// `check`, `routes` and `explain` read a cluster as they read files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_commands_look_at_the_cluster_once() {
    let echo = Echo::start("a").await;
    let server = ApiServer::start().await;
    let (secret, _) = tls_secret("cert", &["a.test"]);
    let routes = tls_route("a", "a.test", "cert") + &ingress("b", "b.test", &[("/", "nowhere")]);
    put(&server, &(routes + &service("a", &[echo.address]) + &secret));
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("kube.yaml"), kubeconfig(&server)).unwrap();
    let file = folder.path().join("t.yaml");
    let conf = "sources: { kubernetes: { kubeconfig: kube.yaml } }\ndefaults: { allowAddresses: [127.0.0.0/8] }\n";
    std::fs::write(&file, conf).unwrap();
    let run = async |arguments: &'static [&'static str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).arg("--conf").arg(&file);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["check"]).await;
    assert!(code == Some(1) && text.contains("there is no Service `default/nowhere`"), "{text}");
    let (_, text) = run(&["routes"]).await;
    assert!(text.contains("a.test") && text.contains("1/1"), "{text}");
    let (_, text) = run(&["explain", "GET", "https://a.test/x"]).await;
    assert!(text.contains("default/cert"), "the Secret was fetched: {text}");
    server.refuse("ingresses", StatusCode::FORBIDDEN);
    let (code, text) = run(&["check"]).await;
    assert!(code == Some(1) && text.contains("cannot be listed"), "{text}");
}
