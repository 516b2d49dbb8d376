//! Graceful stop: readiness, drain, exit.

use crate::support::*;

async fn slow_echo(name: &'static str, release: tokio::sync::watch::Receiver<bool>) -> std::net::SocketAddr {
    raw_server(move |mut stream| {
        let mut release = release.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            if read_message(&mut stream, &mut Vec::new(), true).await.is_some() {
                let _ = release.wait_for(|go| *go).await;
                let head = format!("HTTP/1.1 200 OK\r\nX-Echo: {name}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_finish_and_new_connections_are_refused() {
    let (go, release) = tokio::sync::watch::channel(false);
    let slow = slow_echo("slow", release).await;
    let conf = format!(
        "shutdown: {{ delay: 0s, timeout: 30s }}\nupstreams: {{ s: {{ endpoints: [ {{ address: \"{slow}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: s }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let (http, telemetry) = (proxy.http(), proxy.running.telemetry().unwrap());
    assert_eq!(get(telemetry, "localhost", "/readyz").await.status, 200);
    let in_flight = tokio::spawn(async move { get(http, "s.test", "/").await });
    let idle = Connection::open(http).await;
    tokio::time::timeout(PATIENCE, async {
        while !metrics(&proxy)
            .await
            .iter()
            .any(|(name, value)| name.starts_with("tidegate_connections") && *value >= 2.0)
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("both connections are counted");
    let running = proxy.running;
    let stopping = tokio::spawn(async move { running.stop().await });
    let refused = async {
        while tokio::net::TcpStream::connect(http).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("new connections are refused");
    assert!(!in_flight.is_finished(), "the request in flight goes on");
    go.send(true).unwrap();
    assert_eq!(in_flight.await.unwrap().server(), "slow");
    tokio::time::timeout(PATIENCE, stopping).await.expect("it stops as soon as it is idle").unwrap();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_what_does_not_finish() {
    let (_go, release) = tokio::sync::watch::channel(false);
    let slow = slow_echo("slow", release).await;
    let conf = format!(
        "shutdown: {{ delay: 0s, timeout: 200ms }}\nupstreams: {{ s: {{ endpoints: [ {{ address: \"{slow}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: s }} ] }} ]\n"
    );
    let proxy = Proxy::start(&conf, &[]).await;
    let http = proxy.http();
    let in_flight = tokio::spawn(async move { get(http, "s.test", "/").await });
    tokio::time::timeout(PATIENCE, async {
        while !metrics(&proxy)
            .await
            .iter()
            .any(|(name, value)| name.starts_with("tidegate_connections") && *value >= 1.0)
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    tokio::time::timeout(PATIENCE, proxy.running.stop()).await.expect("the deadline holds");
    assert_ne!(in_flight.await.unwrap().status, 200);
}
