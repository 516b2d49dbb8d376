//! `basic-auth` at work: over every protocol, with Secrets and files that change.

use std::sync::{Arc, Condvar, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{
    Blocking, BoxFuture, BuildContext, BuildError, Define, Flow, Hooks, Plugin, RequestContext, Stage, Verdict,
};
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
    assert_eq!(proxy.log_line(|line| line["reason"] != "upstream").await["reason"], "unauthorized");

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

/// Lets the work of [`Gate`] end.
static OPEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Waits for a piece of work that ends when the test lets it.
struct Gate(Blocking);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GateConfig {}

impl Define for Gate {
    const NAME: &'static str = "gate";
    const STAGE: Stage = Stage::Access;
    type Config = GateConfig;

    fn build(_: GateConfig, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self(cx.blocking()))
    }
}

impl Plugin for Gate {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        Flow::Wait
    }

    fn wait<'f>(&'f self, _: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async {
            let work = || drop(OPEN.1.wait_while(OPEN.0.lock().unwrap(), |open| !*open).unwrap());
            self.0.run(work).await.unwrap();
            Verdict::Continue
        })
    }
}

/// One thread serves, and the one thread for long work is taken when a password asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_waits_for_a_hash_holds_up_nobody_else() {
    let echo = Echo::start("a").await;
    let gate = "  - { hosts: [gate.test], respond: { body: open }, plugins: [ { type: gate } ] }\n";
    let conf = format!("threads: 1\n{}{gate}", conf(&echo, BY_SECRET));
    let builder = Tidegate::builder().plugins(tidegate_plugins::ALL).plugin::<Gate>();
    let proxy = Arc::new(Proxy::start_with(builder, &conf, &[("users.yaml", secret(&list("one")))]).await);
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200);
    let queue = async |length: f64| {
        let asking = async { while metrics(&proxy).await["tidegate_plugin_work_queue_length"] != length {} };
        tokio::time::timeout(PATIENCE, asking).await.expect("work that waits");
    };
    let held = proxy.http();
    let held = tokio::spawn(async move { get(held, "gate.test", "/").await.status });
    queue(1.0).await;
    let other = proxy.clone();
    let waiting = tokio::spawn(async move { ask(&other, "/", &basic("ann:two")).await.status });
    queue(2.0).await;
    assert_eq!(get(proxy.http(), "free.test", "/").await.status, 200);
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200, "who is remembered waits for no hash");
    assert!(!held.is_finished() && !waiting.is_finished());
    *OPEN.0.lock().unwrap() = true;
    OPEN.1.notify_all();
    assert_eq!((held.await.unwrap(), waiting.await.unwrap()), (200, 401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_of_an_annotation_holds_at_once_and_never_shows() {
    let echo = Echo::start("a").await;
    let notes = "annotations: { tidegate.io/auth-type: basic, tidegate.io/auth-secret: users }";
    let routes = ingress("own", "own.test", &[("/", "a")])
        .replace("namespace: default }", &format!("namespace: default, {notes} }}"));
    let routes = routes + &service("a", &[echo.address]);
    let own = |password: &str| secret(&list(password)).replace("namespace: web", "namespace: default");
    let proxy = Proxy::start("", &[("a.yaml", routes), ("own.yaml", own("one"))]).await;
    let answer = async |fields: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: own.test\r\n{fields}Connection: close\r\n\r\n");
        request(proxy.http(), &text).await.status
    };
    assert_eq!(answer(&basic("ann:one")).await, 200);
    let before = proxy.running.revision();
    proxy.put("own.yaml", &own("two"));
    proxy.running.after(before).await;
    assert_eq!(answer(&basic("ann:one")).await, 401);
    assert_eq!(answer(&basic("ann:two")).await, 200);
    let before = proxy.running.revision();
    proxy.remove("own.yaml");
    proxy.running.after(before).await;
    assert_eq!(answer(&basic("ann:two")).await, 503);
    let admin = proxy.running.admin().unwrap();
    for page in ["/api/v1/snapshot", "/api/v1/explain?method=GET&url=http://own.test/", "/api/v1/diagnostics"] {
        assert!(!get(admin, "localhost", page).await.text().contains("{SHA}"), "{page}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_of_an_ingress_ask_for_a_password_of_its_own_namespace() {
    const PREFIX: &str = "nginx.ingress.kubernetes.io";
    let echo = Echo::start("a").await;
    let annotated = |name: &str, more: &str| {
        let auth = format!("{PREFIX}/auth-type: basic, {PREFIX}/auth-realm: Staff only{more}");
        ingress(name, &format!("{name}.test"), &[("/", "a")])
            .replace("namespace: default }", &format!("namespace: default, annotations: {{ {auth} }} }}"))
    };
    let manifests = [
        annotated("list", &format!(", {PREFIX}/auth-secret: users")),
        annotated("map", &format!(", {PREFIX}/auth-secret: by-key, {PREFIX}/auth-secret-type: auth-map")),
        annotated("other", &format!(", {PREFIX}/auth-secret: web/users")),
        annotated("half", ""),
        secret(&list("one")).replace("namespace: web", "namespace: default"),
        secret(&list("one")),
        secret("")
            .replace("namespace: web", "namespace: default")
            .replace("name: users", "name: by-key")
            .replace("auth: \"\"", &list("two").trim().replacen(':', ": \"", 1).replace('=', "=\"")),
        service("a", &[echo.address]),
    ];
    let manifests = [("all.yaml", manifests.join("\n---\n"))];
    let proxy = Proxy::start("", &manifests).await;
    let granted = "grants: [ { namespace: web, from: [ { kind: Ingress, namespace: default } ], to: [ { kind: Secret, name: users } ] } ]\n";
    let granting = Proxy::start(granted, &manifests).await;
    let other = |proxy: &Proxy, password: &str| {
        let fields = basic(&format!("ann:{password}"));
        let text = format!("GET / HTTP/1.1\r\nHost: other.test\r\n{fields}Connection: close\r\n\r\n");
        let address = proxy.http();
        async move { request(address, &text).await.status }
    };
    assert_eq!((other(&granting, "one").await, other(&granting, "two").await), (200, 401));
    for (host, credentials, status) in [
        ("list", "ann:one", 200),
        ("list", "ann:two", 401),
        ("map", "ann:two", 200),
        ("map", "ann:one", 401),
        ("other", "ann:one", 503),
        ("half", "ann:one", 503),
    ] {
        let fields = basic(credentials);
        let text = format!("GET / HTTP/1.1\r\nHost: {host}.test\r\n{fields}Connection: close\r\n\r\n");
        let answer = request(proxy.http(), &text).await;
        assert_eq!(answer.status, status, "{host} {credentials}: {:?}", proxy.running.diagnostics());
        match status {
            200 => assert_eq!(answer.seen("authorization"), None, "the upstream sees no password"),
            401 => assert!(answer.header("www-authenticate").unwrap().contains("Staff only")),
            _ => {}
        }
    }
}
