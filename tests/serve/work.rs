//! Long work of plugins: whoever waits holds up nobody else, and whoever has gone is left.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    Blocking, BoxFuture, BuildContext, BuildError, Define, Flow, NotDone, Plugin, ReasonCode, Reply, RequestContext,
    Stage, Verdict, plugin,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::auth::{BY_SECRET, ask, basic, conf, list, secret};
use crate::support::*;

/// The gates whose work may end.
static OPEN: (Mutex<BTreeSet<String>>, Condvar) = (Mutex::new(BTreeSet::new()), Condvar::new());

/// Waits for a piece of work that ends when the test lets it.
struct Gate {
    name: String,
    blocking: Blocking,
}

#[derive(Deserialize, JsonSchema)]
struct GateConfig {
    name: String,
}

impl Define for Gate {
    const NAME: &'static str = "gate";
    const STAGE: Stage = Stage::Access;
    type Config = GateConfig;

    fn build(config: GateConfig, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { name: config.name, blocking: cx.blocking() })
    }
}

#[plugin]
impl Plugin for Gate {
    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        Flow::Wait
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async {
            let name = self.name.clone();
            let work = move || {
                let is_shut = |open: &mut BTreeSet<String>| !open.contains(&name);
                drop(OPEN.1.wait_while(OPEN.0.lock().unwrap(), is_shut).unwrap());
            };
            match self.blocking.run(cx, work).await {
                Ok(()) => Verdict::Continue,
                Err(NotDone::Refused) => {
                    Verdict::Reply(Reply::new(StatusCode::SERVICE_UNAVAILABLE).because(ReasonCode::WORK_REFUSED))
                }
                Err(NotDone::Lost) => Verdict::Reply(Reply::new(StatusCode::INTERNAL_SERVER_ERROR)),
            }
        })
    }
}

fn open(gate: &str) {
    OPEN.0.lock().unwrap().insert(gate.to_owned());
    OPEN.1.notify_all();
}

/// A proxy whose one thread for long work is taken by the gates of this name, at `gate.test` and `other.test`.
async fn gated(name: &str) -> Arc<Proxy> {
    let echo = Echo::start("a").await;
    let gates = format!(
        "plugins: {{ staff: {BY_SECRET}, gate: {{ type: gate, name: {name} }}, other: {{ type: gate, name: {name} }} }}"
    );
    let routes = "  - { hosts: [gate.test], backends: [ { upstream: a } ], plugins: [gate] }\n  - { hosts: [other.test], respond: { body: open }, plugins: [other] }\n";
    let conf = conf(&echo, BY_SECRET).lines().skip(1).fold(gates, |conf, line| conf + "\n" + line);
    let conf = format!("threads: 1\ntrustedProxies: [127.0.0.0/8]\n{conf}\n{routes}");
    let builder = Tidegate::builder().plugins(tidegate_plugins::ALL).plugin::<Gate>();
    Arc::new(Proxy::start_with(builder, &conf, &[("users.yaml", secret(&list("one")))]).await)
}

async fn until_queue(proxy: &Proxy, plugin: &str, length: f64) {
    until_metric(proxy, &format!("tidegate_plugin_work_queue_length{{plugin=\"{plugin}\"}}"), length).await;
}

async fn until_left(proxy: &Proxy, count: f64) {
    until_metric(proxy, "tidegate_plugin_work_total{plugin=\"other\",result=\"left\"}", count).await;
}

/// One thread serves, and the one thread for long work is taken when a password asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_waits_for_a_hash_holds_up_nobody_else() {
    let proxy = gated("hash").await;
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200);
    let held = proxy.http();
    let held = tokio::spawn(async move { get(held, "gate.test", "/").await.status });
    until_queue(&proxy, "gate", 1.0).await;
    let other = proxy.clone();
    let waiting = tokio::spawn(async move { ask(&other, "/", &basic("ann:two")).await.status });
    until_queue(&proxy, "staff", 1.0).await;
    assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200, "who is remembered waits for no hash");
    assert!(!held.is_finished() && !waiting.is_finished());
    open("hash");
    assert_eq!((held.await.unwrap(), waiting.await.unwrap()), (200, 401));
    let metrics = metrics(&proxy).await;
    assert_eq!(metrics["tidegate_plugin_work_total{plugin=\"staff\",result=\"done\"}"], 2.0);
    assert!(metrics["tidegate_plugin_work_wait_seconds_total{plugin=\"staff\"}"] > 0.0);
    assert!(metrics["tidegate_plugin_work_seconds_total{plugin=\"gate\"}"] > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_wait_too_long_is_refused_with_a_reason_and_others_are_not() {
    let proxy = gated("crowd").await;
    let held = proxy.http();
    let held = tokio::spawn(async move { get(held, "gate.test", "/").await.status });
    until_queue(&proxy, "gate", 1.0).await;
    let stream = tls(proxy.https(), "other.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut waiting = Vec::new();
    for _ in 0..60 {
        client = client.ready().await.unwrap();
        let ask = http::Request::get("https://other.test/").header("x-forwarded-for", "10.0.0.1").body(()).unwrap();
        waiting.push(tokio::spawn(client.send_request(ask, true).unwrap().0));
    }
    assert_eq!(proxy.log_line(|line| line["http.response.status_code"] == 503).await["reason"], "work_refused");
    let others: Vec<_> = ["other.test", "p.test"]
        .into_iter()
        .map(|host| {
            let text = format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\n{}X-Forwarded-For: 10.0.0.2\r\nConnection: close\r\n\r\n",
                basic("ann:one")
            );
            let address = proxy.http();
            tokio::spawn(async move { request(address, &text).await.status })
        })
        .collect();
    until_queue(&proxy, "staff", 1.0).await;
    open("crowd");
    for other in others {
        assert_eq!(other.await.unwrap(), 200);
    }
    let mut refused = 0.0;
    for answer in waiting {
        refused += f64::from(u8::from(answer.await.unwrap().unwrap().status() == 503));
    }
    assert_eq!(held.await.unwrap(), 200);
    assert!((1.0..60.0).contains(&refused), "{refused}");
    assert_eq!(metrics(&proxy).await["tidegate_plugin_work_refused_total{plugin=\"other\"}"], refused);
}

/// Sends a request that waits, and more behind it, and leaves when it does.
async fn leave(proxy: &Proxy, mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &str, count: f64) {
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    until_queue(proxy, "other", 1.0).await;
    drop(stream);
    until_left(proxy, count).await;
    until_queue(proxy, "other", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_client_that_has_gone_is_left_on_every_protocol() {
    let proxy = gated("gone").await;
    let held = proxy.http();
    let held = tokio::spawn(async move { get(held, "gate.test", "/").await.status });
    until_queue(&proxy, "gate", 1.0).await;
    let head = "GET /gone HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned();
    let post = "POST /gone HTTP/1.1\r\nHost: other.test\r\nContent-Length: 5000\r\n\r\n".to_owned();
    let sent = [head.clone(), head.clone() + &head, post.clone(), post + &"x".repeat(4000)];
    let mut count = 0.0;
    for sent in &sent {
        count += 1.0;
        leave(&proxy, Connection::open(proxy.http()).await.stream, sent, count).await;
        count += 1.0;
        leave(&proxy, tls(proxy.https(), "other.test", &["http/1.1"]).await.unwrap(), sent, count).await;
    }
    let line = proxy.log_line(|line| line["url.path"] == "/gone").await;
    assert_eq!((&line["reason"], &line["http.response.status_code"]), (&"client_closed".into(), &499.into()), "{line}");

    let stream = tls(proxy.https(), "other.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let send = |client: &mut h2::client::SendRequest<bytes::Bytes>, is_last| {
        let ask = http::Request::post("https://other.test/").body(()).unwrap();
        client.send_request(ask, is_last).unwrap()
    };
    for is_last in [true, false] {
        count += 1.0;
        let (_answer, mut stream) = send(&mut client, is_last);
        until_queue(&proxy, "other", 1.0).await;
        stream.send_reset(h2::Reason::CANCEL);
        until_left(&proxy, count).await;
    }
    count += 1.0;
    let _waiting = send(&mut client, false);
    until_queue(&proxy, "other", 1.0).await;
    connection.abort();
    until_left(&proxy, count).await;
    open("gone");
    assert_eq!(held.await.unwrap(), 200);
}

/// What comes while a plugin waits is neither lost nor taken for something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_and_a_further_request_survive_the_wait() {
    let proxy = gated("survive").await;
    for is_tls in [false, true] {
        let body: String = (0..20_000).map(|number| char::from(b'a' + u8::try_from(number % 26).unwrap())).collect();
        let sent = format!("POST /one HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {}\r\n\r\n", body.len());
        match is_tls {
            false => survive(&proxy, Connection::open(proxy.http()).await.stream, &sent, &body).await,
            true => survive(&proxy, tls(proxy.https(), "gate.test", &["http/1.1"]).await.unwrap(), &sent, &body).await,
        }
    }
}

async fn survive(proxy: &Proxy, stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str) {
    OPEN.0.lock().unwrap().remove("survive");
    let mut connection = Connection { stream, buffer: Vec::new() };
    connection.stream.write_all(head.as_bytes()).await.unwrap();
    connection.stream.flush().await.unwrap();
    until_queue(proxy, "gate", 1.0).await;
    let (first, rest) = body.split_at(9_000);
    connection.stream.write_all(first.as_bytes()).await.unwrap();
    connection.stream.flush().await.unwrap();
    // The proxy has read it by the time that it has served others.
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    }
    open("survive");
    let answer = connection.send(rest).await.unwrap();
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some(body)));
    assert_eq!(connection.get("gate.test", "/two").await.unwrap().status, 200);
}
