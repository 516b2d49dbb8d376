//! Plugins on requests that are not plain HTTP: WebSocket upgrades and gRPC.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt;

use crate::support::*;

const PLUGINS: &str = "{ type: headers, request: { set: { x-client: \"${client.ip}\" }, remove: [x-gone] }, response: { set: { x-path: \"${request.path}\" } } }, { type: rate-limit, rate: 1/h, burst: 2 }";

fn conf(upstream: std::net::SocketAddr, protocol: &str) -> String {
    format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{upstream}\" }} ], protocol: {protocol} }} }}\nroutes: [ {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [ {PLUGINS} ] }} ]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_changed_both_ways_and_limited() {
    // Tells in a field of its 101 what it was asked.
    let upstream = raw_server(|mut stream| async move {
        let mut buffer = Vec::new();
        let Some(asked) = read_message(&mut stream, &mut buffer, true).await else { return };
        let told = format!("{:?} {:?}", asked.header("x-client"), asked.header("x-gone"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        let _ = stream.write_all(format!("{head}X-Asked: {told}\r\n\r\n").as_bytes()).await;
    })
    .await;
    let proxy = Proxy::start(&conf(upstream, "http"), &[]).await;
    let ask = format!("GET /ws HTTP/1.1\r\nHost: p.test\r\nX-Gone: 1\r\n{UPGRADE}\r\n");
    for _ in 0..2 {
        let switched = request(proxy.http(), &ask).await;
        assert_eq!((switched.status, switched.header("x-path")), (101, Some("/ws")));
        assert_eq!(switched.header("x-asked"), Some("Some(\"127.0.0.1\") None"));
    }
    let refused = request(proxy.http(), &ask).await;
    assert_eq!((refused.status, refused.header("upgrade")), (429, None));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

/// A gRPC server over HTTP/2 without TLS: gives the field `x-client` back, and a message and its status as trailers.
async fn grpc_server() -> std::net::SocketAddr {
    raw_server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((asked, mut respond))) = connection.accept().await {
            let client = asked.headers().get("x-client").cloned().unwrap_or(HeaderValue::from_static("none"));
            let head = http::Response::builder().header("content-type", "application/grpc").header("x-client", client);
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            body.send_trailers(trailers).unwrap();
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_call_is_changed_both_ways_and_refused_as_grpc_says() {
    let proxy = Proxy::start(&conf(grpc_server().await, "h2c"), &[]).await;
    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = || {
        let ask = http::Request::post("https://p.test/svc/Method").header("content-type", "application/grpc");
        let (answer, _) = client.clone().send_request(ask.body(()).unwrap(), true).unwrap();
        async move { tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap() }
    };
    for _ in 0..2 {
        let answer = call().await;
        let field = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((field("x-client"), field("x-path")), (Some("127.0.0.1"), Some("/svc/Method")), "{answer:?}");
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), &b"\0\0\0\0\x02hi"[..]);
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
    let refused = call().await;
    // 14 is UNAVAILABLE, which is what gRPC makes of 429; gRPC has no other HTTP status than 200.
    assert_eq!((refused.status().as_u16(), &refused.headers()["grpc-status"]), (200, &HeaderValue::from_static("14")));
}
