//! The origin: what a path asks for is what it does, good or bad.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

type Body = BoxBody<Bytes, std::io::Error>;

/// Serves on every address, for ever.
pub(crate) async fn serve(addresses: &[&str]) -> Result<(), Failure> {
    let mut running = tokio::task::JoinSet::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await?;
        running.spawn(accept(listener));
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    let _client_may_leave = served.with_upgrades().await;
}

/// `/soak/bytes/N`, `/soak/echo`, `/soak/wait/MILLISECONDS`, `/soak/cut/N`, `/soak/tunnel`.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches("/soak/").split('/');
    let what = parts.next().unwrap_or_default();
    let number: u64 = parts.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Ok(match what {
        "bytes" => Response::new(whole(vec![b'x'; number as usize])),
        "echo" => Response::new(request.into_body().map_err(std::io::Error::other).boxed()),
        "wait" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            Response::new(whole(vec![b'x'; 10]))
        }
        "cut" => cut(number as usize),
        "tunnel" => tunnel(request),
        _ => of(StatusCode::NOT_FOUND),
    })
}

fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

fn of(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

/// An answer that ends before it is whole.
fn cut(size: usize) -> Response<Body> {
    let pieces = [Ok(Frame::data(Bytes::from(vec![b'x'; size]))), Err(std::io::Error::other("cut on purpose"))];
    Response::new(StreamBody::new(futures::stream::iter(pieces)).boxed())
}

/// Switches protocols and sends back whatever comes.
fn tunnel(request: Request<Incoming>) -> Response<Body> {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let Some(piece) = buffer.get(..read) else { return };
            if stream.write_all(piece).await.is_err() {
                return;
            }
        }
    });
    let mut response = of(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    response
}
