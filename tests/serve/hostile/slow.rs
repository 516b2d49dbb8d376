//! Clients that are slow: each is cut within its limit, is counted, and harms nobody beside it.

use std::time::Duration;

use super::*;

/// Writes `first`, then `piece` again and again, slowly, until the proxy closes; gives what it said.
async fn drip(address: SocketAddr, first: &[u8], piece: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let dripping = async {
        let _ = write.write_all(first).await;
        while !piece.is_empty() && write.write_all(piece).await.is_ok() {
            // Under the rate that a body must keep, which is 100 bytes a second.
            tokio::time::sleep(Duration::from_millis(20 * piece.len() as u64)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let cut =
        async { tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)).await.expect("cut within its limit") };
    tokio::select! {
        _ = cut => {}
        () = dripping => unreachable!(),
    }
    latin1(&said)
}

/// Waits until a reason has been counted on a listener.
async fn until_counted(proxy: &Proxy, listener: &str, reason: &str) {
    let labels = [format!("listener=\"{listener}\""), format!("reason=\"{reason}\"")];
    let counted = async {
        loop {
            let all = metrics(proxy).await;
            let fits = |name: &str| {
                name.starts_with("tidegate_connection_failures_total")
                    && labels.iter().all(|label| name.contains(label))
            };
            if all.iter().any(|(name, value)| fits(name) && *value >= 1.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{listener} {reason} was never counted"));
}

const HEAD: &[u8] = b"POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_counted_and_harm_nobody() {
    let (proxy, recorder) = start(OPEN).await;
    let (http, https) = (proxy.http(), proxy.https());
    // A record head that promises a ClientHello of 512 bytes.
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let get: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let vectors: Vec<(SocketAddr, &[u8], &[u8], &str)> = vec![
        (http, b"", b"", "timeout_header"),
        (http, b"GET /x HTTP/1.1\r\nHost: a.test\r\nX: ", b"y", "timeout_header"),
        (http, b"GET", b"", "timeout_header"),
        (http, b"\r\n", b"\r\n", "timeout_header"),
        (http, HEAD, b"", "timeout_body"),
        (http, HEAD, b"x", "timeout_body"),
        (
            http,
            b"POST /slow HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            "timeout_body",
        ),
        (http, b"POST /slow HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"e", "timeout_body"),
        (
            http,
            b"POST /slow HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: y\r\n",
            "timeout_body",
        ),
        (http, get, b"", "timeout_idle"),
        (http, b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", b"", "timeout_idle"),
        (https, hello, b"", "handshake_timeout"),
        (https, b"", b"", "handshake_timeout"),
        (https, b"GET /x HTTP/1.1\r\n\r\n", b"", "handshake_not_tls"),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (address, first, piece, _) in &vectors {
        let (address, first, piece) = (*address, first.to_vec(), piece.to_vec());
        tasks.spawn(async move { drip(address, &first, &piece).await });
    }
    // A healthy client beside them.
    while !tasks.is_empty() {
        assert!(probe(&proxy).await);
        while let Some(said) = tasks.try_join_next() {
            let said = said.unwrap();
            let first = said.lines().next().unwrap_or_default();
            let is_told =
                ["", "HTTP/1.1 408", "HTTP/1.1 400", "HTTP/1.1 200"].iter().any(|start| first.starts_with(start));
            assert!(is_told, "{said}");
        }
    }
    for (address, _, _, reason) in &vectors {
        until_counted(&proxy, if *address == http { "http" } else { "https" }, reason).await;
    }
    assert!(recorder.seen().iter().all(|seen| seen.target() != "/slow" || !seen.is_whole), "no cut body looks whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_or_talk_nonsense_are_counted() {
    let (proxy, recorder) = start(OPEN).await;
    // Half of a head, then the end of it.
    let mut half = TcpStream::connect(proxy.http()).await.unwrap();
    half.write_all(b"GET /x HT").await.unwrap();
    half.shutdown().await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, half.read_to_end(&mut said)).await.expect("closed");
    until_counted(&proxy, "http", "malformed").await;
    drop(TcpStream::connect(proxy.https()).await.unwrap());
    until_counted(&proxy, "https", "handshake_closed").await;
    // A client that closes its half after the body announced more.
    let mut cut = TcpStream::connect(proxy.http()).await.unwrap();
    cut.write_all(HEAD).await.unwrap();
    cut.shutdown().await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, cut.read_to_end(&mut said)).await.expect("closed");
    assert!(probe(&proxy).await);
    assert!(recorder.whole_since(0).is_empty());
}
