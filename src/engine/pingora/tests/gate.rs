//! A proxy on a loopback port, upstreams that do as they are told, and clients that speak raw.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::services::listening::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::proxy::testing::snapshot;
pub(super) use crate::proxy::testing::{PATIENCE, edge, route, target};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::edge::Edge;
use crate::snapshot::route::Route;
use crate::telemetry::record::{Recorder, RequestRecord, SessionRecord};

/// A running proxy.
pub(super) struct Gate {
    address: SocketAddr,
    seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<Seen>>,
    _shutdown: watch::Sender<bool>,
}

/// What was recorded.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) reason: Reason,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) tries: Vec<Reason>,
    pub(super) is_timed: bool,
}

/// Marks answers whose head ended the stream.
#[derive(Clone)]
pub(super) struct EndsWithHead;

/// Fields that came after the body.
#[derive(Clone)]
pub(super) struct Trailers(pub(super) http::HeaderMap);

struct Teller(Mutex<mpsc::UnboundedSender<Seen>>);

impl Recorder for Teller {
    fn record(&self, record: &RequestRecord<'_>) {
        let seen = Seen {
            status: record.status,
            reason: record.reason,
            host: record.host.to_owned(),
            path: record.path.to_owned(),
            tries: record.attempts.iter().map(|t| t.outcome).collect(),
            is_timed: record.attempts.iter().all(|t| t.connect.is_some() && t.header.is_some() && t.response.is_some()),
        };
        self.0.lock().unwrap().send(seen).unwrap();
    }

    fn record_session(&self, _: &SessionRecord<'_>) {}
}

impl Gate {
    /// A proxy that sends everything over one route.
    pub(super) async fn start(route: Route) -> Self {
        Self::with(edge(), route).await
    }

    /// The same with other edge settings.
    pub(super) async fn with(edge: Edge, route: Route) -> Self {
        Self::serve(snapshot(1, Some(Arc::new(route)), edge)).await
    }

    /// A proxy without routes.
    pub(super) async fn empty(generation: u64) -> Self {
        Self::serve(snapshot(generation, None, edge())).await
    }

    async fn serve(snapshot: Snapshot) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let app = Arc::new(Engine::new(Proxy::new(snapshot, Arc::new(Teller(Mutex::new(sender)))), 1, 128).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, watch) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
                let mut stream = Stream::from(socket);
                stream.set_socket_digest(digest);
                tokio::spawn(Service::<Engine>::handle_event(Box::new(stream), app.clone(), watch.clone()));
            }
        });
        Self { address, seen: tokio::sync::Mutex::new(seen), _shutdown: shutdown }
    }

    /// The next record.
    pub(super) async fn seen(&self) -> Seen {
        let mut seen = self.seen.lock().await;
        tokio::time::timeout(PATIENCE, seen.recv()).await.expect("a record").unwrap()
    }

    /// What comes back until the connection ends, in lower case.
    pub(super) async fn send(&self, request: &str) -> String {
        self.send_each(&[request]).await
    }

    /// The same, each request after the head of the answer to the one before.
    pub(super) async fn send_each(&self, requests: &[&str]) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let mut answer = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            socket.write_all(request.as_bytes()).await.unwrap();
            if index + 1 < requests.len() {
                answer.extend(read_head(&mut socket).await);
            } else if !request.contains("close") && !request.contains("pgrade") {
                socket.shutdown().await.unwrap();
            }
        }
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end").unwrap();
        String::from_utf8_lossy(&answer).to_lowercase()
    }

    /// Head and body of the answer over HTTP/2, the latter in lower case.
    pub(super) async fn send_h2(&self, request: http::Request<()>) -> (http::response::Parts, String) {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        let (mut head, mut body) = answer.into_parts();
        if body.is_end_stream() {
            head.extensions.insert(EndsWithHead);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        if let Some(trailers) = body.trailers().await.unwrap() {
            head.extensions.insert(Trailers(trailers));
        }
        (head, String::from_utf8_lossy(&bytes).to_lowercase())
    }
}

/// Answers 200 with the request's head as body.
pub(super) async fn echo() -> SocketAddr {
    listen(|head| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}", head.len())).await
}

/// Answers with these bytes, then closes.
pub(super) async fn scripted(script: &'static str) -> SocketAddr {
    listen(move |_| script.to_owned()).await
}

/// Keeps connections, but closes each at its second request.
pub(super) async fn once_a_connection() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                read_head(&mut socket).await;
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                read_head(&mut socket).await;
            });
        }
    });
    address
}

/// Speaks HTTP/2 in clear; says what it was asked for, and that all went well.
pub(super) async fn grpc() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let te = request.headers().get("te").and_then(|te| te.to_str().ok()).unwrap_or("none");
                    let text = format!("{} {te}", request.uri());
                    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                    body.send_data(text.into(), false).unwrap();
                    let status = (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
                    body.send_trailers(http::HeaderMap::from_iter([status])).unwrap();
                }
            });
        }
    });
    address
}

/// Accepts and says nothing.
pub(super) async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            kept.push(socket);
        }
    });
    address
}

/// Nobody listens there: the port belongs to a bound socket that never will.
pub(super) async fn closed() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

async fn listen(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let head = read_head(&mut socket).await;
                let text = answer(&String::from_utf8_lossy(&head));
                let _ = socket.write_all(text.as_bytes()).await;
                let _ = socket.shutdown().await;
                // Closing with unread bytes would reset the connection before the answer is read.
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            });
        }
    });
    address
}

async fn read_head(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    head
}
