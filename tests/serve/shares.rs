//! What one upstream may take of what all requests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// A server that reads requests and never answers.
async fn silent() -> std::net::SocketAddr {
    raw_server(|mut stream| async move {
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    })
    .await
}

/// Requests that are under way once the upstream `id` has `count` of them.
async fn pile_up(proxy: &Proxy, host: &str, id: &str, count: usize) -> Vec<Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(proxy.http()).await;
        connection.stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        held.push(connection);
    }
    until_metric(proxy, &format!("tidegate_upstream_requests{{upstream=\"{id}\"}}"), count as f64).await;
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_whose_requests_pile_up_leaves_a_quarter_to_the_others() {
    let (echo, silent) = (Echo::start("a").await, silent().await);
    for limit in ["requests", "connections"] {
        let conf = format!(
            "defaults: {{ limits: {{ {limit}: 8 }} }}\nupstreams:\n  a: {{ endpoints: [ {{ address: \"{}\" }} ] }}\n  s: {{ endpoints: [ {{ address: \"{silent}\" }} ] }}\nroutes:\n  - {{ hosts: [a.test], backends: [ {{ upstream: a }} ] }}\n  - {{ hosts: [s.test], backends: [ {{ upstream: s }} ] }}\n",
            echo.address
        );
        let proxy = Proxy::start(&conf, &[]).await;
        let held = pile_up(&proxy, "s.test", "upstream/s", 6).await;
        let refused = get(proxy.http(), "s.test", "/").await;
        assert_eq!((refused.status, refused.header("connection")), (503, Some("close")), "over its share of {limit}");
        let line = proxy.log_line(|line| line["server.address"] == "s.test").await;
        assert_eq!((&line["reason"], &line["upstream"]), (&"over_share".into(), &"upstream/s".into()), "{line}");
        assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a", "there is something left for others");
        // The one that was answered is given back a moment after its answer.
        until_metric(&proxy, "tidegate_capacity_used{resource=\"requests\"}", 6.0).await;
        let used = metrics(&proxy).await;
        assert_eq!(used[&format!("tidegate_capacity{{resource=\"{limit}\"}}")], 8.0);
        drop(held);
        until_metric(&proxy, "tidegate_capacity_used{resource=\"requests\"}", 0.0).await;
        pile_up(&proxy, "s.test", "upstream/s", 6).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reserve_is_a_setting_that_changes_live() {
    let silent = silent().await;
    let conf = format!(
        "defaults: {{ limits: {{ requests: 4, reserve: 50 }} }}\nupstreams: {{ s: {{ endpoints: [ {{ address: \"{silent}\" }} ] }} }}\nroutes: [ {{ hosts: [s.test], backends: [ {{ upstream: s }} ] }}, {{ respond: {{ body: first }} }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let half = pile_up(&proxy, "s.test", "upstream/s", 2).await;
    assert_eq!(get(proxy.http(), "s.test", "/").await.status, 503);
    let file = proxy.folder.path().join("tidegate.yaml");
    let changed =
        std::fs::read_to_string(&file).unwrap().replace("reserve: 50", "reserve: 0").replace("first", "second");
    std::fs::write(&file, changed).unwrap();
    proxy.running.reload();
    proxy.until("other.test", "/", |response| response.text() == "second").await;
    drop(half);
    until_metric(&proxy, "tidegate_capacity_used{resource=\"requests\"}", 0.0).await;
    let _all = pile_up(&proxy, "s.test", "upstream/s", 4).await;
    assert_eq!(get(proxy.http(), "s.test", "/").await.status, 503, "`requests` holds without a reserve too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_of_a_namespace_leave_something_to_other_namespaces() {
    let (echo, silent) = (Echo::start("a").await, silent().await);
    let services = ["s", "t", "u", "v"];
    let hogs: String = services
        .map(|name| ingress(name, &format!("{name}.test"), &[("/", name)]) + &service(name, &[silent]))
        .concat();
    let other = ingress("a", "a.test", &[("/", "a")]) + &service("a", &[echo.address]);
    let other = other.replace("namespace: default", "namespace: other");
    let conf = "defaults: { limits: { requests: 16 } }\n";
    let proxy = Proxy::start(conf, &[("hogs.yaml", hogs), ("other.yaml", other)]).await;
    let _first = pile_up(&proxy, "s.test", "default/s:80", 12).await;
    let _second = pile_up(&proxy, "t.test", "default/t:80", 2).await;
    for name in services {
        assert_eq!(get(proxy.http(), &format!("{name}.test"), "/").await.status, 503, "seven eighths are {name}'s too");
    }
    assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_next_request_is_given_back_under_strain() {
    let answers = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = read_message(&mut stream, &mut buffer, true).await {
            if request.first_line.contains("/wait") {
                std::future::pending::<()>().await;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let conf = format!(
        "defaults: {{ limits: {{ requests: 4 }} }}\nupstreams: {{ u: {{ endpoints: [ {{ address: \"{answers}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: u }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let mut kept = Connection::open(proxy.http()).await;
    assert_eq!(kept.get("u.test", "/").await.unwrap().header("connection"), Some("keep-alive"));
    let mut waiting = Vec::new();
    for count in 1..=3 {
        let mut connection = Connection::open(proxy.http()).await;
        connection.stream.write_all(b"GET /wait HTTP/1.1\r\nHost: u.test\r\n\r\n").await.unwrap();
        until_metric(&proxy, "tidegate_upstream_requests{upstream=\"upstream/u\"}", f64::from(count)).await;
        waiting.push(connection);
    }
    assert_eq!(get(proxy.http(), "u.test", "/").await.status, 503);
    waiting.pop();
    until_metric(&proxy, "tidegate_upstream_requests{upstream=\"upstream/u\"}", 2.0).await;
    let answer = kept.get("u.test", "/").await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "it is answered, and closed");
    assert!(kept.read().await.is_none());
}

/// A Pod that sends each request back to where it came from, stripped of everything by which a loop could be known.
async fn looping(
    proxy: Arc<std::sync::OnceLock<std::net::SocketAddr>>,
    rounds: Arc<AtomicUsize>,
) -> std::net::SocketAddr {
    raw_server(move |mut stream| {
        let (proxy, rounds) = (proxy.clone(), rounds.clone());
        async move {
            let mut buffer = Vec::new();
            if read_message(&mut stream, &mut buffer, true).await.is_none() {
                return;
            }
            rounds.fetch_add(1, Ordering::SeqCst);
            let Ok(mut back) = TcpStream::connect(proxy.get().unwrap()).await else { return };
            if back.write_all(b"GET / HTTP/1.1\r\nHost: loop.test\r\n\r\n").await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut back).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_cannot_be_known_ends_at_its_share() {
    let (address, rounds) = (Arc::new(std::sync::OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let looping = looping(address.clone(), rounds.clone()).await;
    let echo = Echo::start("a").await;
    let conf = format!(
        "defaults: {{ limits: {{ connections: 64 }} }}\nupstreams:\n  a: {{ endpoints: [ {{ address: \"{}\" }} ] }}\n  l: {{ endpoints: [ {{ address: \"{looping}\" }} ] }}\nroutes:\n  - {{ hosts: [a.test], backends: [ {{ upstream: a }} ] }}\n  - {{ hosts: [loop.test], backends: [ {{ upstream: l }} ] }}\n",
        echo.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    address.set(proxy.http()).unwrap();
    let mut client = Connection::open(proxy.http()).await;
    assert_eq!(client.get("loop.test", "/").await.unwrap().status, 503);
    let rounds = rounds.load(Ordering::SeqCst);
    assert!((40..=48).contains(&rounds), "three quarters of 64 at most, and most of them: {rounds}");
    assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a");
    drop(client);
    // What the rounds held is free again, without anybody's idle timeout.
    until_metric(&proxy, "tidegate_capacity_used{resource=\"requests\"}", 0.0).await;
    until_metric(&proxy, "tidegate_capacity_used{resource=\"connections\"}", 0.0).await;
}
