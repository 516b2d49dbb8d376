//! Plugins that see bodies: what they replace, refuse, and never see.

use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{BodyChunk, BodyFlow, BuildContext, BuildError, Define, Plugin, Shared, Stage, plugin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

/// Says every piece of a body twice, and ends a message that has a `!`.
struct Twice;

#[derive(Deserialize, JsonSchema)]
struct TwiceConfig {}

impl Define for Twice {
    const NAME: &'static str = "twice";
    const STAGE: Stage = Stage::Transform;
    type Config = TwiceConfig;

    fn build(_: TwiceConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[plugin]
impl Plugin for Twice {
    fn on_request_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        twice(chunk)
    }

    fn on_response_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        twice(chunk)
    }
}

fn twice(chunk: &mut BodyChunk<'_>) -> BodyFlow {
    let Some(bytes) = chunk.bytes.take() else { return BodyFlow::Continue };
    if bytes.contains(&b'!') {
        return BodyFlow::Abort(StatusCode::UNPROCESSABLE_ENTITY);
    }
    *chunk.bytes = Some(Bytes::from([&bytes[..], &bytes[..]].concat()));
    BodyFlow::Continue
}

async fn proxy(mode: &str) -> (Proxy, Echo) {
    let echo = Echo::start("a").await;
    let conf = format!(
        "plugins: {{ p: {{ type: twice, mode: {mode} }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [p] }}\n",
        echo.address
    );
    (Proxy::start_with(Tidegate::builder().plugin::<Twice>(), &conf, &[]).await, echo)
}

fn post(body: &str) -> String {
    format!("POST /post HTTP/1.1\r\nHost: p.test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn events(proxy: &Proxy, event: &str) -> f64 {
    metrics(proxy).await[&format!("tidegate_plugin_events_total{{plugin=\"p\",event=\"{event}\"}}")]
}

/// What the upstream got, from an answer that says everything twice.
fn told(answer: &[u8]) -> serde_json::Value {
    let half = &answer[..answer.len() / 2];
    assert_eq!(answer, [half, half].concat());
    serde_json::from_slice(half).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_may_get_longer_both_ways_whatever_length_was_told() {
    let (proxy, _echo) = proxy("enforce").await;
    let answer = request(proxy.http(), &post("abc")).await;
    assert_eq!((answer.status, answer.is_whole), (200, true), "{answer:?}");
    assert_eq!(told(&answer.body)["body"], "abcabc");
    let head = request(proxy.http(), "HEAD / HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(head.status, 200);

    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::builder().method(Method::POST).uri("https://p.test/h2").header("content-length", 3);
    let (answer, mut send) = client.send_request(ask.body(()).unwrap(), false).unwrap();
    send.send_data("abc".into(), true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    let mut body = Vec::new();
    while let Some(piece) = answer.data().await {
        let piece = piece.expect("the body is as long as its head says");
        answer.flow_control().release_capacity(piece.len()).unwrap();
        body.extend(piece);
    }
    assert_eq!(told(&body)["body"], "abcabc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_refused_gets_the_plugin_s_status_and_is_counted() {
    let (proxy, _echo) = proxy("enforce").await;
    assert_eq!(request(proxy.http(), &post("abc!")).await.status, 422);
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/post").await["reason"], "plugin");
    assert_eq!(events(&proxy, "reply").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_report_mode_a_body_is_not_refused_but_counted_once() {
    let (proxy, _echo) = proxy("report").await;
    let chunked = "POST / HTTP/1.1\r\nHost: p.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let mut socket = Connection::open(proxy.http()).await;
    let answer = socket.send(format!("{chunked}2\r\na!\r\n2\r\nb!\r\n0\r\n\r\n")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["body"], "a!b!", "what the plugin took away is there");
    assert_eq!(events(&proxy, "would_refuse").await, 1.0);
    assert_eq!(told(&request(proxy.http(), &post("abc")).await.body)["body"], "abcabc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_through_a_tunnel_is_no_body() {
    let (proxy, _echo) = proxy("enforce").await;
    let mut socket = Connection::open(proxy.http()).await;
    let switched = socket.send(format!("GET /ws HTTP/1.1\r\nHost: p.test\r\n{UPGRADE}\r\n")).await.unwrap();
    assert_eq!(switched.status, 101);
    socket.stream.write_all(b"ping!").await.unwrap();
    let mut pong = [0; 5];
    tokio::time::timeout(PATIENCE, socket.stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"ping!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_follow_a_body_that_got_longer() {
    let upstream = raw_server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"ab"), false).unwrap();
            let status = ("grpc-status".parse().unwrap(), http::HeaderValue::from_static("0"));
            body.send_trailers(http::HeaderMap::from_iter([status])).unwrap();
        }
    })
    .await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{upstream}\" }} ], protocol: h2c }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ], plugins: [ {{ type: twice }} ] }} ]\n"
    );
    let proxy = Proxy::start_with(Tidegate::builder().plugin::<Twice>(), &conf, &[]).await;
    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::post("https://p.test/").header("content-length", 2).body(()).unwrap();
    let (answer, mut send) = client.send_request(ask, false).unwrap();
    send.send_data("hi".into(), true).unwrap();
    let mut body = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        whole.extend(piece.unwrap());
    }
    assert_eq!(whole, b"abab");
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}
