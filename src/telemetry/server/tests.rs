use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::http::{Limits, Places, Server};
use crate::telemetry::vitals::Pulse;

struct Running {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    vitals: Arc<Vitals>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    start_with(Limits::default())
}

fn start_with(limits: Limits) -> Running {
    let (readiness, vitals) = (Arc::new(Readiness::default()), Arc::new(Vitals::default()));
    let metrics = Arc::new(Metrics::new().unwrap());
    let pages = Arc::new(TelemetryPages::new(metrics, Arc::clone(&readiness), Arc::clone(&vitals)));
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().with_limits(limits);
    let address = server.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(pages, async {
        let _ = stopped.await;
    }));
    Running { address, readiness, vitals, stop, task }
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
async fn a_task_that_is_stuck_or_has_ended_is_told() {
    let running = start().await;
    let pulse: Arc<Pulse> = running.vitals.pulse("control");
    assert!(ask(running.address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
    pulse.end();
    let told = ask(running.address, "GET /healthz").await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.ends_with("control has ended\n"), "{told}");
    pulse.rest();
    assert!(ask(running.address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
}

/// Asks and reads one byte of the answer, so that the connection is known to be served; or says nothing.
async fn hold(address: SocketAddr, asks: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if asks {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn probes_are_answered_while_others_hold_all_connections() {
    for of_source in [8, 3] {
        let places = Places { all: 8, of_source };
        let running = start_with(Limits { places, ..Limits::default() });
        let mut held = Vec::new();
        for nth in 0..20 {
            held.push(hold(running.address, nth % 2 == 0).await);
        }
        for _ in 0..20 {
            assert!(ask(running.address, "GET /healthz").await.ends_with("ok\n"));
        }
        // Those that waited longest were closed; would they not be, this would not end.
        let mut rest = Vec::new();
        held.remove(0).read_to_end(&mut rest).await.ok();
    }
}

#[tokio::test]
async fn whoever_reads_nothing_is_cut_off() {
    let running = start_with(Limits { write: Duration::from_millis(50), ..Limits::default() });
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    // Asks for more than the system keeps for a reader that does not come, and goes on as long as it can.
    let asked = tokio::time::timeout(Duration::from_secs(30), async {
        let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(64);
        while stream.write_all(&requests).await.is_ok() {}
    });
    asked.await.expect("the connection ends");
}

#[tokio::test]
async fn a_head_that_never_ends_and_an_idle_client_are_cut_off() {
    let running = start_with(Limits { header: Duration::from_millis(20), ..Limits::default() });
    for sent in ["GET /healthz HTTP/1.1\r\nhost: ", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        // Would the server wait, this would not end.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
    }
}
