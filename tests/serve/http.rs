//! What the standards of HTTP ask of a proxy, on each pair of protocols where it matters.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

#[path = "http/endings.rs"]
mod endings;
#[path = "http/expect.rs"]
mod expect;
#[path = "http/flow.rs"]
mod flow;
#[path = "http/h2c.rs"]
mod h2c;
#[path = "http/http10.rs"]
mod http10;
#[path = "http/lengths.rs"]
mod lengths;

/// A proxy with routes for every host: `/h2` to an upstream of HTTP/2, everything else to one of HTTP/1.
async fn start(http1: SocketAddr, h2: SocketAddr, limits: &str) -> Proxy {
    let conf = format!(
        "upstreams:\n  a: {{ endpoints: [ {{ address: \"{http1}\" }} ] }}\n  g: {{ protocol: h2c, endpoints: [ {{ address: \"{h2}\" }} ] }}\nroutes:\n  - {{ paths: [ {{ prefix: /h2 }} ], backends: [ {{ upstream: g }} ] }}\n  - {{ backends: [ {{ upstream: a }} ] }}\n  - {{ hosts: [own.test], respond: {{ status: 200, body: own }} }}\n  - {{ hosts: [to.test], redirect: {{ status: 302, scheme: https }} }}\n{limits}"
    );
    Proxy::start(&conf, &[]).await
}

/// An upstream that answers requests of HTTP/1 by their path.
async fn http1<F>(answer: F) -> SocketAddr
where
    F: Fn(&Response) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    raw_server(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut buffer = Vec::new();
            while let Some(asked) = read_message(&mut stream, &mut buffer, true).await {
                if stream.write_all(&answer(&asked)).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// An upstream of HTTP/2 that does so with each request.
async fn http2<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    raw_server(move |stream| {
        let serve = serve.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((asked, respond))) = connection.accept().await {
                tokio::spawn(serve(asked, respond));
            }
        }
    })
    .await
}

fn path(asked: &Response) -> &str {
    asked.first_line.split(' ').nth(1).unwrap_or_default()
}

/// All fields of that name.
fn all<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect()
}

/// A client of HTTP/2 on a connection of any kind.
async fn client(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Reads until these bytes are there; whether they came within so long.
async fn comes(stream: &mut (impl AsyncRead + Unpin), so_far: &mut Vec<u8>, wanted: &[u8]) -> bool {
    let reading = async {
        while !so_far.windows(wanted.len()).any(|window| window == wanted) {
            if !stream.read_buf(so_far).await.is_ok_and(|count| count > 0) {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false)
}
