//! `basic-auth` at work: over every protocol, with Secrets and files that change.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

pub fn list(password: &str) -> String {
    use sha1::{Digest, Sha1};
    format!("ann:{{SHA}}{}\n", BASE64_STANDARD.encode(Sha1::digest(password.as_bytes())))
}

pub fn secret(list: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: users, namespace: web }}\nstringData: {{ auth: {list:?} }}\n"
    )
}

pub fn basic(user_and_password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user_and_password))
}

pub fn conf(echo: &Echo, plugin: &str) -> String {
    format!(
        "plugins: {{ staff: {plugin} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ hosts: [p.test], backends: [ {{ upstream: a }} ], plugins: [staff] }}\n  - {{ hosts: [free.test], backends: [ {{ upstream: a }} ] }}\n",
        echo.address
    )
}

pub const BY_SECRET: &str = "{ type: basic-auth, users: { secretName: users, namespace: web }, realm: staff }";

/// Asks until the answer has this status.
async fn until(proxy: &Proxy, fields: &str, status: u16) {
    let asking = async { while ask(proxy, "/", fields).await.status != status {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {status}: {fields}"));
}

pub async fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
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
        while !proxy.running.diagnostics().iter().any(|told| told.code.as_str() == "FileUnreadable") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a diagnostic");
    assert_eq!(ask(&proxy, "/", &basic("ann:two")).await.status, 200, "the last good list holds");
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
    assert_eq!(metrics["tidegate_plugin_work_refused_total{plugin=\"staff\"}"], 0.0);
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

/// Statuses of so many guesses, each with fields of its own.
async fn guesses(proxy: &Proxy, count: usize, more: &str) -> Vec<u16> {
    let mut found = Vec::new();
    for number in 0..count {
        let fields = format!("{}{more}", basic(&format!("ann:wrong{number}")));
        found.push(ask(proxy, "/", &fields).await.status);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_by_address_route_or_header_limits_guesses_wherever_it_is_written() {
    for key in ["clientIp", "route", "{ header: X-Key }"] {
        for plugins in ["[staff, limit]", "[limit, staff]"] {
            let echo = Echo::start("a").await;
            let limit = format!("{BY_SECRET}, limit: {{ type: rate-limit, rate: 3/h, burst: 3, key: {key} }}");
            let conf = conf(&echo, &limit).replace("[staff]", plugins);
            let proxy = Proxy::start(&conf, &[("users.yaml", secret(&list("one")))]).await;
            let found = guesses(&proxy, 5, "X-Key: k\r\n").await;
            assert_eq!(found, [401, 401, 401, 429, 429], "{key} {plugins}");
            assert_eq!(proxy.log_line(|line| line["http.response.status_code"] == 429).await["reason"], "rate_limited");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_by_identity_counts_those_who_have_come_in() {
    let echo = Echo::start("a").await;
    let limit = format!("{BY_SECRET}, limit: {{ type: rate-limit, rate: 2/h, burst: 2, key: identity }}");
    let conf = conf(&echo, &limit).replace("[staff]", "[limit, staff]");
    let proxy =
        Proxy::start(&conf, &[("users.yaml", secret(&(list("one") + &list("one").replace("ann", "bob"))))]).await;
    assert_eq!(guesses(&proxy, 4, "").await, [401; 4], "nobody has come in");
    for (user, status) in [("ann", 200), ("ann", 200), ("ann", 429), ("bob", 200)] {
        assert_eq!(ask(&proxy, "/", &basic(&format!("{user}:one"))).await.status, status, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_guesses_too_often_is_stopped_and_no_other() {
    let echo = Echo::start("a").await;
    let plugin = BY_SECRET.replace("realm: staff", "failures: { rate: 2/h, burst: 2 }");
    let conf = format!("trustedProxies: [127.0.0.0/8]\n{}", conf(&echo, &plugin));
    let users = list("one") + &list("one").replace("ann", "bob");
    let proxy = Proxy::start(&conf, &[("users.yaml", secret(&users))]).await;
    let from = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    assert_eq!(ask(&proxy, "/", &(basic("ann:one") + &from("10.0.0.1"))).await.status, 200);
    assert_eq!(guesses(&proxy, 4, &from("10.0.0.1")).await, [401, 401, 429, 429]);
    let stopped = ask(&proxy, "/stopped", &(basic("bob:one") + &from("10.0.0.1"))).await;
    assert_eq!((stopped.status, stopped.header("retry-after")), (429, Some("1800")));
    assert_eq!(proxy.log_line(|line| line["url.path"] == "/stopped").await["reason"], "too_many_failures");
    assert_eq!(ask(&proxy, "/", &(basic("ann:one") + &from("10.0.0.1"))).await.status, 200, "known to be right");
    assert_eq!(ask(&proxy, "/", &(basic("bob:one") + &from("10.0.0.2"))).await.status, 200, "somebody else");
    assert_eq!(guesses(&proxy, 3, &from("2001:db8::1")).await, [401, 401, 429]);
    assert_eq!(guesses(&proxy, 1, &from("2001:db8::2")).await, [429], "the same network");
    assert_eq!(guesses(&proxy, 1, &from("2001:db8:0:1::2")).await, [401], "another network");
    let metrics = metrics(&proxy).await;
    let counted = metrics.iter().filter(|(series, _)| {
        series.starts_with("tidegate_requests_total") && series.contains("reason=\"too_many_failures\"")
    });
    assert_eq!(counted.map(|(_, value)| *value).sum::<f64>(), 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_two_namespaces_name_counts_apart_unless_told_otherwise() {
    for (scope, other) in [("", 200), (", scope: namespace", 200), (", scope: instance", 429)] {
        let echo = Echo::start("a").await;
        let conf = format!("plugins: {{ limit: {{ type: rate-limit, rate: 2/h, burst: 2{scope} }} }}\n");
        let tenant = |namespace: &str| {
            let name = "metadata: { name: web, namespace: default";
            let text = ingress("web", &format!("{namespace}.test"), &[("/", "a")]) + &service("a", &[echo.address]);
            text.replace(name, &format!("{name}, annotations: {{ tidegate.io/plugins: limit }}"))
                .replace("namespace: default", &format!("namespace: {namespace}"))
        };
        let proxy = Proxy::start(&conf, &[("a.yaml", tenant("one") + &tenant("two"))]).await;
        let ask = async |host: &str| get(proxy.http(), host, "/").await.status;
        assert_eq!([ask("one.test").await, ask("one.test").await, ask("one.test").await], [200, 200, 429], "{scope}");
        assert_eq!(ask("two.test").await, other, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_that_is_too_dear_keeps_its_user_out_until_the_conf_allows_it() {
    // "Hello world!", by the SHA-crypt specification.
    const DEAR: &str = "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA";
    let echo = Echo::start("a").await;
    let routes = ingress("own", "p.test", &[("/", "a")]).replace(
        "namespace: default }",
        "namespace: default, annotations: { tidegate.io/auth-type: basic, tidegate.io/auth-secret: users } }",
    ) + &service("a", &[echo.address]);
    let users = secret(&format!("{}eve:{DEAR}\n", list("one"))).replace("namespace: web", "namespace: default");
    let conf = |rounds: u32| format!("defaults: {{ maxHashCost: {{ rounds: {rounds} }} }}\n");
    let proxy = Proxy::start(&conf(9_999), &[("a.yaml", routes), ("users.yaml", users)]).await;
    assert_eq!(ask(&proxy, "/", &basic("ann:one")).await.status, 200);
    assert_eq!(ask(&proxy, "/", &basic("eve:Hello world!")).await.status, 401);
    let told: Vec<_> = proxy.running.diagnostics();
    let told: Vec<_> = told.iter().filter(|told| told.code.as_str() == "PluginConfigDoubtful").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message.contains("line 2: ") && !told[0].message.contains("salt"), "{told:?}");
    let file = proxy.folder.path().join("tidegate.yaml");
    let raised = std::fs::read_to_string(&file).unwrap().replace(&conf(9_999), &conf(10_000));
    std::fs::write(&file, raised).unwrap();
    proxy.running.reload();
    until(&proxy, &basic("eve:Hello world!"), 200).await;
    assert!(proxy.running.diagnostics().iter().all(|told| told.code.as_str() != "PluginConfigDoubtful"));
}
