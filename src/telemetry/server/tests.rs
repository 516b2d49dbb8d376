use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::http::MAX_CONNECTIONS;

struct Running {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    start_with(|server| server).await
}

async fn start_with(change: impl FnOnce(Server) -> Server) -> Running {
    let readiness = Arc::new(Readiness::new());
    let pages = Arc::new(TelemetryPages::new(Arc::new(Metrics::new().unwrap()), Arc::clone(&readiness)));
    let server = change(Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap());
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(pages, async {
        let _ = stopped.await;
    }));
    Running { address, readiness, stop, task }
}

async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_health_and_nothing_else_are_served() {
    let running = start().await;
    let metrics = ask(running.address, "GET /metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("\ntidegate_config_generation 0\n"), "{metrics}");
    assert!(ask(running.address, "GET /healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(ask(running.address, "GET /").await.starts_with("HTTP/1.1 404 "));
    let head = ask(running.address, "HEAD /healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 3\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "no body after HEAD: {head}");
    let post = ask(running.address, "POST /metrics").await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
}

#[tokio::test]
async fn ready_is_from_the_first_load_to_the_drain() {
    let running = start().await;
    let (address, readiness) = (running.address, &running.readiness);
    let before = ask(address, "GET /readyz").await;
    assert!(before.starts_with("HTTP/1.1 503 ") && before.ends_with("not ready: no configuration loaded yet\n"));
    readiness.set_loaded();
    assert!(readiness.is_ready());
    assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 200 "));
    readiness.begin_drain();
    let after = ask(address, "GET /readyz").await;
    assert!(after.starts_with("HTTP/1.1 503 ") && after.ends_with("not ready: draining\n"), "{after}");
    assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "), "alive while draining");
}

#[tokio::test]
async fn stops_with_an_idle_connection_open() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err(), "the listener is closed");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(String::from_utf8(rest).unwrap().ends_with("ok\n"));
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_slot() {
    let running = start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        open.push(stream);
    }
    let address = running.address;
    let late = tokio::spawn(async move { ask(address, "GET /healthz").await });
    drop(open.pop());
    assert!(late.await.unwrap().ends_with("ok\n"));
}

#[tokio::test]
async fn a_head_that_never_ends_and_an_idle_client_are_cut_off() {
    let running = start_with(|server| server.with_header_timeout(Duration::from_millis(20))).await;
    for sent in ["GET /healthz HTTP/1.1\r\nhost: ", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        // Would the server wait, this would not end.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
    }
}
