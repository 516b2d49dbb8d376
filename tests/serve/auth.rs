//! `basic-auth` at work: over every protocol, with Secrets and files that change.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

fn list(password: &str) -> String {
    use sha1::{Digest, Sha1};
    format!("ann:{{SHA}}{}\n", BASE64_STANDARD.encode(Sha1::digest(password.as_bytes())))
}

fn secret(list: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: users, namespace: web }}\nstringData: {{ auth: {list:?} }}\n"
    )
}

fn basic(user_and_password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user_and_password))
}

fn conf(echo: &Echo, plugin: &str) -> String {
    format!(
        "plugins: {{ staff: {plugin} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [staff] }}\n  - {{ hosts: [free.test], backends: [ {{ upstream: a }} ] }}\n",
        echo.address
    )
}

const BY_SECRET: &str = "{ type: basic-auth, users: { secretName: users, namespace: web }, realm: staff }";

/// Asks until the answer has this status.
async fn until(proxy: &Proxy, fields: &str, status: u16) {
    let asking = async { while ask(proxy, "/", fields).await.status != status {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {status}: {fields}"));
}

async fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
    request(proxy.http(), &format!("GET {path} HTTP/1.1\r\nHost: p.test\r\n{fields}Connection: close\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_the_route_on_every_protocol() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(&echo, BY_SECRET), &[("users.yaml", secret(&list("one")))]).await;
    for fields in
        [String::new(), basic("ann:two"), basic("bob:one"), basic("annone"), "Authorization: Basic ?\r\n".into()]
    {
        let refused = ask(&proxy, "/", &fields).await;
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Basic realm=\"staff\", charset=\"UTF-8\"")),
            "{fields}"
        );
    }
    let let_in = ask(&proxy, "/in", &basic("ann:one")).await;
    assert_eq!((let_in.status, let_in.seen("authorization").is_some()), (200, true));
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/in").await["user.name"], "ann");

    let upgrade = |fields: &str| format!("GET /ws HTTP/1.1\r\nHost: p.test\r\n{fields}{UPGRADE}\r\n");
    assert_eq!(request(proxy.http(), &upgrade("")).await.status, 401);
    let mut socket = Connection::open(proxy.http()).await;
    assert_eq!(socket.send(upgrade(&basic("ann:one"))).await.unwrap().status, 101);
    socket.stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    tokio::time::timeout(PATIENCE, socket.stream.read_exact(&mut pong)).await.unwrap().unwrap();

    let stream = tls(proxy.https(), "p.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (content_type, password, status, grpc) in [
        ("text/plain", "one", 200, None),
        ("text/plain", "two", 401, None),
        // 16 is UNAUTHENTICATED; gRPC has no other status than 200.
        ("application/grpc", "two", 200, Some("16")),
    ] {
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("ann:{password}")));
        let ask = http::Request::post("https://p.test/svc/Method").header("content-type", content_type);
        let ask = ask.header("authorization", credentials).body(()).unwrap();
        let (answer, _) = client.send_request(ask, true).unwrap();
        let answer = answer.await.unwrap();
        let told = answer.headers().get("grpc-status").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told), (status, grpc), "{content_type} {password}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_changes_who_may_come_in_and_a_lost_one_closes_the_route() {
    let echo = Echo::start("a").await;
    let proxy = Proxy::start(&conf(&echo, BY_SECRET), &[("users.yaml", secret(&list("one")))]).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200);
    let step = |text: Option<String>| {
        let before = proxy.running.revision();
        match text {
            Some(text) => proxy.put("users.yaml", &text),
            None => proxy.remove("users.yaml"),
        }
        proxy.running.after(before)
    };
    step(Some(secret(&list("two")))).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 401, "the old password is out, remembered or not");
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 200);
    step(Some(secret("ann:clear"))).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 503, "what cannot be read closes the route");
    let told = format!("{:?}", proxy.running.diagnostics());
    assert!(told.contains("line 1") && !told.contains("clear\\n") && !told.contains("ann:"), "{told}");
    step(None).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 503);
    assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    step(Some(secret(&list("one")))).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_followed_and_a_lost_one_keeps_what_it_said() {
    let echo = Echo::start("a").await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, list("one")).unwrap();
    let plugin = format!("{{ type: basic-auth, users: {{ file: {file:?} }}, forward: false }}");
    let proxy = Proxy::start(&conf(&echo, &plugin), &[]).await;
    let let_in = ask(&proxy, "/", &basic("ann:one")).await;
    assert_eq!((let_in.status, let_in.seen("authorization")), (200, None), "the upstream sees no password");
    std::fs::write(folder.path().join("new"), list("two")).unwrap();
    std::fs::rename(folder.path().join("new"), &file).unwrap();
    until(&proxy, &basic("ann:one"), 401).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 200);
    std::fs::remove_file(&file).unwrap();
    let told = async {
        while !proxy.running.diagnostics().iter().any(|told| told.code == "FileUnreadable") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a diagnostic");
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 200, "the last good list holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hash_holds_up_nobody_else() {
    // 20 times the usual rounds: seconds of work in a debug build, on a proxy with one serving thread.
    let slow = "sam:$6$rounds=100000$saltstring$t7lT0QfRLduHzNd8jTheKteIokX4YyfJo2laYVGEHK72ieZkb7m16Q2uZQjtRTtTkpaOYF0bbOwP3ufbrV6OQ/";
    let echo = Echo::start("a").await;
    let conf = "threads: 1\n".to_owned() + &conf(&echo, BY_SECRET);
    let proxy = Proxy::start(&conf, &[("users.yaml", secret(slow))]).await;
    let credentials = basic("sam:one");
    let slow = ask(&proxy, "/slow", &credentials);
    let others = async {
        while metrics(&proxy).await["tidegate_plugin_work_queue_length"] < 1.0 {}
        assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    };
    tokio::select! {
        biased;
        answer = slow => panic!("answered before the others: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_report_mode_strangers_pass_and_are_counted() {
    let echo = Echo::start("a").await;
    let plugin = BY_SECRET.replace("realm: staff", "mode: report");
    let proxy = Proxy::start(&conf(&echo, &plugin), &[("users.yaml", secret(&list("one")))]).await;
    assert_eq!(ask(&proxy, "/", "").await.status, 200);
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 200);
    let metrics = metrics(&proxy).await;
    assert_eq!(metrics["tidegate_plugin_events_total{plugin=\"staff\",event=\"would_refuse\"}"], 2.0);
    assert_eq!(metrics["tidegate_plugin_work_refused_total"], 0.0);
}
