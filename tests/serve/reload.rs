//! Configuration that changes under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_endpoints_and_files_come_and_go() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let proxy = Proxy::start("", &[("svc.yaml", service("a", &[a.address]) + &service("b", &[b.address]))]).await;
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 404);
    proxy.put("ing.yaml", &ingress("i", "a.test", &[("/", "a")]));
    proxy.until("a.test", "/", |response| response.server() == "a").await;
    proxy.put("ing.yaml", &ingress("i", "a.test", &[("/", "b")]));
    proxy.until("a.test", "/", |response| response.server() == "b").await;
    proxy.put("svc.yaml", &(service("a", &[a.address]) + &service("b", &[a.address])));
    proxy.until("a.test", "/", |response| response.server() == "a").await;
    proxy.remove("ing.yaml");
    proxy.until("a.test", "/", |response| response.status == 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_file_keeps_its_last_good_content() {
    let a = Echo::start("a").await;
    let whole = ingress("i", "a.test", &[("/", "a")]) + &service("a", &[a.address]);
    let proxy = Proxy::start("", &[("a.yaml", whole.clone())]).await;
    let before = proxy.running.revision();
    let half = &whole[..whole.len() / 2].replace("http:", "http: [");
    std::fs::write(proxy.folder.path().join("manifests/a.yaml"), half).unwrap();
    proxy.running.after(before).await;
    assert_eq!(get(proxy.http(), "a.test", "/").await.server(), "a");
    let diagnostics = proxy.running.diagnostics();
    let fault = diagnostics.iter().find(|d| d.severity == tidegate::Severity::Error).expect("a diagnostic");
    assert!(fault.position.is_some(), "it points at the place: {fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conf_routes_change_live_and_what_needs_a_restart_says_so() {
    let conf = "routes: [ { hosts: [c.test], respond: { body: one } } ]\n";
    let proxy = Proxy::start(conf, &[]).await;
    assert_eq!(get(proxy.http(), "c.test", "/").await.text(), "one");
    let file = proxy.folder.path().join("tidegate.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("body: one", "body: two") + "threads: 7\n";
    let new = proxy.folder.path().join("new.yaml");
    std::fs::write(&new, changed).unwrap();
    std::fs::rename(new, &file).unwrap();
    proxy.until("c.test", "/", |response| response.text() == "two").await;
    assert!(
        proxy.running.diagnostics().iter().any(|d| d.code.as_str() == "NeedsRestart"),
        "{:?}",
        proxy.running.diagnostics()
    );
}

/// Counters of the load that runs while configuration changes.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

const WEBSOCKETS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_and_nothing_closes_while_configuration_changes() {
    change_under_load(60, 2000).await;
}

async fn change_under_load(changes: usize, requests: usize) {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (cert, _) = tls_secret("cert", &["load.test"]);
    let fixed = ingress("fixed", "load.test", &[("/", "a")])
        + "  tls: [ { hosts: [load.test], secretName: cert } ]\n"
        + &ingress("sockets", "ws.test", &[("/", "a")]);
    let fixed = fixed.replace(
        "metadata: { name: fixed, namespace: default }",
        "metadata: { name: fixed, namespace: default, annotations: { tidegate.io/ssl-redirect: \"false\" } }",
    );
    let proxy =
        Proxy::start("", &[("fixed.yaml", fixed), ("svc.yaml", service("a", &[a.address])), ("cert.yaml", cert)]).await;
    let mut sockets = Vec::new();
    for _ in 0..WEBSOCKETS {
        sockets.push(open_websocket(&proxy).await);
    }
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..4).map(|_| tokio::spawn(keep_asking(proxy.http(), load.clone()))).collect();
    let handshakes = tokio::spawn(keep_shaking_hands(proxy.https(), load.clone()));
    let start = proxy.running.revision();
    for change in 0..changes {
        let before = proxy.running.revision();
        change_something(&proxy, change, [a.address, b.address]);
        proxy.running.after(before).await;
        if change % 50 == 0 {
            sockets = keep_talking(sockets).await;
        }
    }
    while load.requests.load(Ordering::Relaxed) < requests {
        tokio::task::yield_now().await;
    }
    load.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    handshakes.await.unwrap();
    let failures = std::mem::take(&mut *load.failures.lock().unwrap());
    assert!(failures.is_empty(), "{} failures, first: {:?}", failures.len(), failures.first());
    assert!(proxy.running.revision() - start >= changes as u64, "{} changes", proxy.running.revision() - start);
    keep_talking(sockets).await;
}

/// Says something on every socket and hears it back; the sockets must not look idle.
async fn keep_talking(mut sockets: Vec<tokio::net::TcpStream>) -> Vec<tokio::net::TcpStream> {
    for (index, socket) in sockets.iter_mut().enumerate() {
        let message = format!("still here {index}");
        socket.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        socket.read_exact(&mut back).await.unwrap_or_else(|error| panic!("websocket {index} was closed: {error}"));
        assert_eq!(back, message.as_bytes());
    }
    sockets
}

/// One change out of four kinds: a route, an endpoint, a certificate, another route.
fn change_something(proxy: &Proxy, change: usize, endpoints: [std::net::SocketAddr; 2]) {
    match change % 4 {
        0 => proxy.put("extra.yaml", &ingress("extra", &format!("h{change}.test"), &[("/x", "a"), ("/y", "a")])),
        1 if change % 8 == 1 => proxy.put("svc.yaml", &service("a", &endpoints)),
        1 => proxy.put("svc.yaml", &service("a", &endpoints[..1])),
        2 => proxy.put("cert.yaml", &tls_secret("cert", &["load.test"]).0),
        _ => proxy.put("more.yaml", &ingress("more", "load.test", &[(&format!("/p{change}"), "a")])),
    }
}

async fn keep_asking(address: std::net::SocketAddr, load: Arc<Load>) {
    let mut connection = Connection::open(address).await;
    while !load.stop.load(Ordering::Relaxed) {
        load.requests.fetch_add(1, Ordering::Relaxed);
        match connection.get("load.test", "/path?size=10").await {
            Some(response) if response.status == 200 && response.is_whole => {}
            other => {
                load.failures.lock().unwrap().push(format!("{other:?}"));
                connection = Connection::open(address).await;
            }
        }
    }
}

async fn keep_shaking_hands(address: std::net::SocketAddr, load: Arc<Load>) {
    while !load.stop.load(Ordering::Relaxed) {
        load.requests.fetch_add(1, Ordering::Relaxed);
        let response = match tls(address, "load.test", &["http/1.1"]).await {
            Ok(stream) => Connection { stream, buffer: Vec::new() }.get("load.test", "/tls?size=10").await,
            Err(error) => {
                load.failures.lock().unwrap().push(format!("handshake: {error}"));
                continue;
            }
        };
        if response.as_ref().is_none_or(|response| response.status != 200) {
            load.failures.lock().unwrap().push(format!("over TLS: {response:?}"));
        }
    }
}

async fn open_websocket(proxy: &Proxy) -> tokio::net::TcpStream {
    let mut connection = Connection::open(proxy.http()).await;
    let head = "GET /chat HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let response = connection.send(head).await.unwrap();
    assert_eq!(response.status, 101, "{response:?}");
    connection.stream
}

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_fails_and_nothing_closes_over_five_hundred_changes() {
        change_under_load(500, 20_000).await;
    }
}
