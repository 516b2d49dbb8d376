//! Clients that leave in the middle of something, or send what is no HTTP. Only connecting can fail for them.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::{HOST, Proxy};
use crate::{Failure, orderly, tls};

/// Reads a part of a long answer and closes with bytes unread, which resets the connection.
pub(crate) async fn download(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(proxy.plain).await?;
    let _ = stream.write_all(format!("GET /soak/bytes/1000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut part = vec![0; fastrand::usize(1..60_000)];
    let _ = stream.read_exact(&mut part).await;
    Ok(())
}

/// Promises more bytes than it sends, with a length or in chunks.
pub(crate) async fn upload(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(proxy.plain).await?;
    let framing =
        if fastrand::bool() { "Content-Length: 100000\r\n\r\n" } else { "Transfer-Encoding: chunked\r\n\r\n100\r\n" };
    let _ = stream.write_all(format!("POST /soak/echo HTTP/1.1\r\nHost: {HOST}\r\n{framing}").as_bytes()).await;
    let _ = stream.write_all(&vec![b'x'; fastrand::usize(..200)]).await;
    Ok(())
}

/// Leaves before the answer, at times after only closing its half.
pub(crate) async fn wait(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(proxy.plain).await?;
    let _ = stream.write_all(format!("GET /soak/wait/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    if fastrand::bool() {
        let _ = stream.shutdown().await;
    }
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..100))).await;
    Ok(())
}

/// Opens a tunnel and is gone.
pub(crate) async fn tunnel(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let mut stream = orderly::open_tunnel(&proxy).await?;
    let _ = stream.write_all(&vec![b'x'; fastrand::usize(1..100_000)]).await;
    Ok(())
}

/// Streams of one HTTP/2 connection, each dropped somewhere between its request and the end of its answer.
pub(crate) async fn streams(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let stream = tls::tls(proxy.tls, HOST, &["h2"]).await?;
    let shaken = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken?;
    let connection = tokio::spawn(connection);
    for _ in 0..10 {
        let asked = sender.send_request(orderly::get("/soak/bytes/300000")?);
        let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_millis(fastrand::u64(1..20)), asked).await else {
            continue;
        };
        let mut body = answer.into_body();
        for _ in 0..fastrand::u8(..4) {
            let _ = body.frame().await;
        }
    }
    connection.abort();
    Ok(())
}

/// Bytes that are no request, half a head, nothing at all, a broken TLS hello.
pub(crate) async fn noise(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let address = if fastrand::bool() { proxy.plain } else { proxy.tls };
    let mut stream = TcpStream::connect(address).await?;
    let bytes: &[u8] = match fastrand::u8(..4) {
        0 => b"",
        1 => b"GET / HTTP/1.1\r\nHost: soak",
        2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        _ => b"\x00\xff no request \r\n\r\n",
    };
    let _ = stream.write_all(bytes).await;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..20))).await;
    Ok(())
}
