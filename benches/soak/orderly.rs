//! Clients that behave: whatever they do not get as it should be is a failure.

use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::{HOST, Proxy};
use crate::{Failure, tls};

/// Requests of a round on one connection.
const REQUESTS: usize = 20;

type Body = Full<Bytes>;

/// One connection, several requests of every form.
pub(crate) async fn kept(proxy: Rc<Proxy>) -> Result<(), Failure> {
    several(TcpStream::connect(proxy.plain).await?).await
}

/// The same over TLS, with a handshake a round.
pub(crate) async fn over_tls(proxy: Rc<Proxy>) -> Result<(), Failure> {
    several(tls::tls(proxy.tls, HOST, &["http/1.1"]).await?).await
}

async fn several(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<(), Failure> {
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for number in 0..REQUESTS {
        let size = size();
        let request = if number % 3 == 0 { upload(size)? } else { get(&format!("/soak/bytes/{size}"))? };
        let answer = sender.send_request(request).await?;
        // An answer that began before the upload had ended closes the connection.
        let closes = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        expect(answer, StatusCode::OK, Some(size)).await?;
        if closes {
            break;
        }
    }
    drop(sender);
    connection.await??;
    Ok(())
}

/// One HTTP/2 connection, its requests at once.
pub(crate) async fn multiplexed(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let stream = tls::tls(proxy.tls, HOST, &["h2"]).await?;
    let (sender, connection) = http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let asked = (0..REQUESTS).map(|number| {
        let (mut sender, size) = (sender.clone(), size());
        async move {
            let request = if number % 3 == 0 { upload(size)? } else { get(&format!("/soak/bytes/{size}"))? };
            expect(sender.send_request(request).await?, StatusCode::OK, Some(size)).await
        }
    });
    for outcome in futures::future::join_all(asked).await {
        outcome?;
    }
    drop(sender);
    connection.await??;
    Ok(())
}

/// A tunnel that both sides use and the client closes.
pub(crate) async fn tunnel(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let mut stream = open_tunnel(&proxy).await?;
    let mut echoed = vec![0; 2_000];
    for _ in 0..10 {
        let sent = vec![b'x'; 2_000];
        stream.write_all(&sent).await?;
        stream.read_exact(&mut echoed).await?;
        if echoed != sent {
            return Err("the tunnel changed bytes".into());
        }
    }
    stream.shutdown().await?;
    Ok(())
}

/// A connection that has become a tunnel.
pub(crate) async fn open_tunnel(proxy: &Proxy) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(proxy.plain).await?;
    let head = format!(
        "GET /soak/tunnel HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await?);
    }
    if !seen.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&seen).into());
    }
    Ok(stream)
}

/// What tidegate itself answers: no route, no credentials, too many.
pub(crate) async fn refused(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let (mut sender, connection) =
        http1::handshake::<_, Body>(TokioIo::new(TcpStream::connect(proxy.plain).await?)).await?;
    let connection = tokio::spawn(connection);
    let cases = [
        ("/nowhere", StatusCode::NOT_FOUND),
        ("/guarded", StatusCode::UNAUTHORIZED),
        ("/limited", StatusCode::TOO_MANY_REQUESTS),
        ("/down", StatusCode::BAD_GATEWAY),
    ];
    for (path, status) in cases {
        expect(sender.send_request(get(path)?).await?, status, None).await?;
    }
    drop(sender);
    connection.await??;
    Ok(())
}

/// An answer that the upstream breaks off must not look whole.
pub(crate) async fn broken(proxy: Rc<Proxy>) -> Result<(), Failure> {
    let (mut sender, connection) =
        http1::handshake::<_, Body>(TokioIo::new(TcpStream::connect(proxy.plain).await?)).await?;
    let connection = tokio::spawn(connection);
    let looked_whole = match sender.send_request(get(&format!("/soak/cut/{}", size()))?).await {
        Ok(answer) => answer.status() == StatusCode::OK && answer.into_body().collect().await.is_ok(),
        Err(_) => false,
    };
    drop(sender);
    let _cut_too = connection.await?;
    if looked_whole { Err("a cut answer looked whole".into()) } else { Ok(()) }
}

/// Mostly small, at times large.
fn size() -> usize {
    if fastrand::u8(..) < 8 { fastrand::usize(..400_000) } else { fastrand::usize(..4_000) }
}

pub(crate) fn get(path: &str) -> Result<Request<Body>, Failure> {
    request(Method::GET, path, Body::default())
}

fn upload(size: usize) -> Result<Request<Body>, Failure> {
    request(Method::POST, "/soak/echo", Body::from(vec![b'x'; size]))
}

fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, Failure> {
    // HTTP/2 has the host in the target; HTTP/1 clients of hyper send what is given.
    let builder = Request::builder().method(method).uri(format!("https://{HOST}{path}")).header(header::HOST, HOST);
    Ok(builder.body(body)?)
}

async fn expect(answer: Response<Incoming>, status: StatusCode, size: Option<usize>) -> Result<(), Failure> {
    let got = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if got != status || size.is_some_and(|size| size != body.len()) {
        return Err(format!("{got} with {} bytes in place of {status} with {size:?}", body.len()).into());
    }
    Ok(())
}
