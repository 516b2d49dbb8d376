//! Plugins that answer with a reason, take the place of a response, and wait in the middle of a body.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    BodyChunk, BodyFlow, BodyVerdict, BoxFuture, BuildContext, BuildError, Define, Flow, GrpcStatus, LogRecord, Plugin,
    ReasonCode, Reply, RequestContext, ResponseContext, ResponseFlow, ResponseVerdict, Shared, Stage, plugin,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::support::*;

const DENIED: ReasonCode = ReasonCode::new("path_denied");
const REPLACED: ReasonCode = ReasonCode::new("error_page");

/// Does what the path says.
struct Speaks {
    open: &'static Semaphore,
}

/// How many requests' log hooks have found what the response hook left.
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whoever waits does so for one of these.
static OPEN: Semaphore = Semaphore::const_new(0);

/// A piece of a body that its hook keeps.
struct Kept(Bytes);

/// Left by the response hook.
struct Left(String);

#[derive(Deserialize, JsonSchema)]
struct SpeaksConfig {}

impl Define for Speaks {
    const NAME: &'static str = "speaks";
    const STAGE: Stage = Stage::Access;
    type Config = SpeaksConfig;

    fn build(_: SpeaksConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { open: &OPEN })
    }
}

fn page() -> Reply {
    let reply = Reply::new(StatusCode::SERVICE_UNAVAILABLE).because(REPLACED).body("another page");
    reply.header(http::header::CONTENT_TYPE, HeaderValue::from_static("text/html"))
}

#[plugin]
impl Plugin for Speaks {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        match cx.path {
            "/denied" => {
                Flow::Reply(Reply::new(StatusCode::FORBIDDEN).because(DENIED).grpc(GrpcStatus::ResourceExhausted))
            }
            "/grpc.Service/Plain" => Flow::reply(StatusCode::FORBIDDEN),
            _ => Flow::Continue,
        }
    }

    fn on_request_body(&self, chunk: &mut BodyChunk<'_>, shared: &mut Shared) -> BodyFlow {
        if chunk.bytes.as_ref().is_some_and(|bytes| bytes.starts_with(b"+")) {
            shared.put(Kept(chunk.bytes.take().unwrap()));
            return BodyFlow::Wait;
        }
        if let (Some(Kept(kept)), Some(bytes)) = (shared.get(), chunk.bytes.as_mut()) {
            *bytes = [kept.clone(), bytes.clone()].concat().into();
            shared.put(Kept(Bytes::new()));
        }
        match chunk.bytes.as_ref().is_some_and(|bytes| bytes.contains(&b'?')) {
            true => BodyFlow::Wait,
            false => BodyFlow::Continue,
        }
    }

    fn wait_request_body<'f>(&'f self, chunk: &'f mut BodyChunk<'_>, _: &'f mut Shared) -> BoxFuture<'f, BodyVerdict> {
        Box::pin(async {
            if chunk.bytes.is_none() {
                return BodyVerdict::Continue;
            }
            if chunk.bytes.as_ref().is_some_and(|bytes| bytes.contains(&b'~')) {
                std::future::pending::<()>().await;
            }
            self.open.acquire().await.unwrap().forget();
            let bytes = chunk.bytes.take().unwrap_or_default();
            if bytes.contains(&b'#') {
                return BodyVerdict::Abort(StatusCode::UNPROCESSABLE_ENTITY);
            }
            *chunk.bytes =
                Some(Bytes::from(bytes.iter().map(|b| if *b == b'?' { b'!' } else { *b }).collect::<Vec<_>>()));
            BodyVerdict::Continue
        })
    }

    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        let path = cx.facts().path.to_owned();
        cx.shared.put(Left(path.clone()));
        match path.as_str() {
            "/replaced" => ResponseFlow::Replace(page()),
            "/waits" | "/edited" | "/forever" => ResponseFlow::Wait,
            "/own" if cx.status == StatusCode::NOT_FOUND => ResponseFlow::Replace(page()),
            _ => ResponseFlow::Continue,
        }
    }

    fn wait_response<'f>(&'f self, cx: &'f mut ResponseContext<'_>) -> BoxFuture<'f, ResponseVerdict> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if cx.facts().path == "/forever" {
                std::future::pending::<()>().await;
            }
            cx.headers.set(http::HeaderName::from_static("x-waited"), HeaderValue::from_static("yes"));
            match cx.facts().path {
                "/waits" => ResponseVerdict::Replace(page()),
                _ => ResponseVerdict::Continue,
            }
        })
    }

    fn on_log(&self, record: &LogRecord<'_>) {
        if let Some(Left(path)) = record.shared.get() {
            FOUND.lock().unwrap().push(path.clone());
        }
    }
}

async fn proxy() -> (Proxy, Echo) {
    proxy_with("60s").await
}

async fn proxy_with(body_timeout: &str) -> (Proxy, Echo) {
    let echo = Echo::start("a").await;
    let conf = format!(
        "defaults: {{ limits: {{ bodyTimeout: {body_timeout} }} }}\nplugins: {{ p: {{ type: speaks }}, h: {{ type: headers, response: {{ set: {{ x-h: set }} }} }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [p, h] }}\n  - {{ hosts: [own.test], respond: {{ status: 404, body: nothing }}, plugins: [p] }}\n",
        echo.address
    );
    let builder = Tidegate::builder().plugins(tidegate_plugins::ALL).plugin::<Speaks>();
    (Proxy::start_with(builder, &conf, &[]).await, echo)
}

async fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
    request(
        proxy.http(),
        &format!("POST {path} HTTP/1.1\r\nHost: p.test\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_has_a_reason_and_a_status_of_grpc() {
    let (proxy, _echo) = proxy().await;
    let plain = ask(&proxy, "/denied", "").await;
    assert_eq!((plain.status, plain.header("grpc-status")), (403, None));
    let line = proxy.log_line(|line| line["url.path"] == "/denied").await;
    let told = ["reason", "plugin.name", "plugin.reason"].map(|name| line[name].as_str().unwrap_or_default());
    assert_eq!(told, ["plugin", "p", "path_denied"]);
    const GRPC: &str = "Content-Type: application/grpc\r\n";
    for (path, status) in [("/denied", "8"), ("/grpc.Service/Plain", "7")] {
        let answer = ask(&proxy, path, GRPC).await;
        assert_eq!((answer.status, answer.header("grpc-status"), answer.body.len()), (200, Some(status), 0), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
    }
    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://p.test/denied").header("content-type", "application/grpc");
    let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &HeaderValue::from_static("8")));
    assert!(answer.body().is_end_stream(), "trailers only");
    let counted = metrics(&proxy).await["tidegate_plugin_replies_total{plugin=\"p\",reason=\"path_denied\"}"];
    assert!((counted - 3.0).abs() < f64::EPSILON, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_is_replaced_at_once_or_after_a_wait() {
    let (proxy, echo) = proxy().await;
    for path in ["/replaced", "/waits", "/waits?size=300000", "/replaced?size=300000"] {
        let answer = get(proxy.http(), "p.test", path).await;
        assert_eq!((answer.status, answer.text().as_str(), answer.is_whole), (503, "another page", true), "{path}");
        assert_eq!((answer.header("content-type"), answer.header("x-echo")), (Some("text/html"), None));
        assert_eq!(answer.header("x-h"), Some("set"), "the other plugins see it too");
        assert_eq!(answer.header("x-waited"), None, "what was made of the other response is gone with it");
    }
    let mut kept = Connection::open(proxy.http()).await;
    assert_eq!(kept.get("p.test", "/edited").await.unwrap().status, 200);
    let edited = kept.get("p.test", "/edited").await.unwrap();
    assert_eq!((edited.status, edited.header("x-waited"), edited.is_whole), (200, Some("yes"), true));
    assert_eq!(echo.requests.load(std::sync::atomic::Ordering::Relaxed), 6, "each was asked for once");
    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for path in ["/waits?size=300000", "/edited", "/replaced"] {
        let request = http::Request::get(format!("https://p.test{path}")).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let status = answer.await.unwrap().status();
        assert_eq!(status, if path == "/edited" { 200 } else { 503 }, "{path}");
    }
    let line = proxy.log_line(|line| line["url.path"] == "/waits").await;
    let told = ["reason", "plugin.name", "plugin.reason"].map(|name| line[name].as_str().unwrap_or_default());
    assert_eq!((told, &line["http.response.status_code"]), (["plugin", "p", "error_page"], &503.into()));
    let with_body = "POST /replaced HTTP/1.1\r\nHost: p.test\r\nContent-Length: 2\r\n\r\nhi";
    let mut client = Connection::open(proxy.http()).await;
    let answer = client.send(with_body).await.unwrap();
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!((answer.status, answer.text().as_str()), (503, "another page"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_of_our_own_are_replaced_too_and_slots_reach_the_log() {
    let (proxy, _echo) = proxy().await;
    let own = get(proxy.http(), "own.test", "/own").await;
    assert_eq!((own.status, own.text().as_str()), (503, "another page"));
    let line = proxy.log_line(|line| line["url.path"] == "/own").await;
    let told = ["reason", "plugin.reason"].map(|name| line[name].as_str().unwrap_or_default());
    assert_eq!(told, ["direct_response", "error_page"]);
    assert!(FOUND.lock().unwrap().iter().any(|path| path == "/own"), "the log hook sees what the response hook left");
    let edited = get(proxy.http(), "own.test", "/edited").await;
    assert_eq!((edited.status, edited.header("x-waited"), edited.text().as_str()), (404, Some("yes"), "nothing"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_hook_that_waits_holds_the_client_up_and_nobody_else() {
    let (proxy, _echo) = proxy().await;
    let mut client = Connection::open(proxy.http()).await;
    let length = 32 << 20;
    client
        .stream
        .write_all(
            format!("POST /held?size=5 HTTP/1.1\r\nHost: p.test\r\nContent-Length: {length}\r\n\r\n?").as_bytes(),
        )
        .await
        .unwrap();
    let rest = vec![b'x'; length - 1];
    let stalled =
        tokio::time::timeout(std::time::Duration::from_millis(700), client.stream.write_all(&rest[1..])).await;
    assert!(stalled.is_err(), "more was taken of the client than buffers hold");
    assert_eq!(get(proxy.http(), "p.test", "/free").await.status, 200);
    drop(client);
    let post = |body: &str| {
        format!(
            "POST /asks HTTP/1.1\r\nHost: p.test\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    OPEN.add_permits(3);
    let answer = request(proxy.http(), &post("what?")).await;
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("what!")));
    assert_eq!(request(proxy.http(), &post("#?")).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_waits_for_ever_is_waited_for_no_longer_than_the_limit() {
    let (proxy, echo) = proxy_with("1s").await;
    let body = "POST /body HTTP/1.1\r\nHost: p.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\n?~";
    assert_eq!(request(proxy.http(), body).await.status, 503);
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/body").await["reason"], "work_refused");
    for host in ["p.test", "own.test"] {
        assert_eq!(get(proxy.http(), host, "/forever").await.status, 500, "{host}");
    }
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/forever").await["reason"], "internal");
    assert_eq!(get(proxy.http(), "p.test", "/free").await.status, 200);
    drop(echo);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_a_hook_keeps_while_it_waits_is_not_the_end() {
    let (proxy, _echo) = proxy().await;
    let chunked = "POST /kept HTTP/1.1\r\nHost: p.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n+a\r\n1\r\nb\r\n0\r\n\r\n";
    let answer = request(proxy.http(), chunked).await;
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("+ab")));
}
