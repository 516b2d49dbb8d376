//! What trusted proxies say, in every form, and what becomes of it where they contradict one another.

use super::*;

/// What an upstream saw, and what a route gave that redirects plain HTTP.
async fn told(proxy: &Proxy, recorder: &Recorder, fields: &str) -> (Seen, u16) {
    let before = recorder.seen().len();
    let ask = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n");
    assert_eq!(request(proxy.http(), &ask("a.test")).await.status, 200, "{fields}");
    let redirected = request(proxy.http(), &ask("red.test")).await.status;
    (recorder.whole_since(before).remove(0), redirected)
}

async fn start_trusting() -> (Proxy, Recorder) {
    let recorder = Recorder::start().await;
    let conf = format!(
        "trustedProxies: [127.0.0.0/8, 10.0.0.0/8]\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes:\n  - {{ backends: [ {{ upstream: a }} ] }}\n  - {{ hosts: [red.test], httpsRedirect: true, backends: [ {{ upstream: a }} ] }}\n",
        recorder.address
    );
    (Proxy::start(&conf, &[]).await, recorder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheme_is_believed_when_nothing_contradicts_it() {
    let (proxy, recorder) = start_trusting().await;
    let lines =
        |values: &[&str]| values.iter().map(|value| format!("X-Forwarded-Proto: {value}\r\n")).collect::<String>();
    for good in [&["https"][..], &["HTTPS"], &["https, https"], &["https", "Https"], &["https ,\thttps, "], &["wss"]] {
        let (seen, status) = told(&proxy, &recorder, &lines(good)).await;
        assert_eq!((seen.values("x-forwarded-proto"), status), (vec!["https"], 200), "{good:?}");
        assert_eq!(seen.values("x-forwarded-port"), ["443"], "{good:?}");
    }
    for bad in [
        &["https, http"][..],
        &["http, https"],
        &["https", "http"],
        &["http", "https"],
        &["https", "https, http"],
        &["https, x"],
        &["https;"],
        &["ftp"],
        &["https http"],
        &[""],
        &["http"],
        &[],
    ] {
        let (seen, status) = told(&proxy, &recorder, &lines(bad)).await;
        assert_eq!((seen.values("x-forwarded-proto"), status), (vec!["http"], 308), "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_ports_and_ids_that_contradict_one_another_are_not_believed() {
    let (proxy, recorder) = start_trusting().await;
    let (seen, _) = told(
        &proxy,
        &recorder,
        "X-Forwarded-Host: Front.test\r\nX-Forwarded-Host: front.test, FRONT.test.\r\nX-Forwarded-Port: 8443, 8443\r\nX-Request-ID: a\r\nX-Request-ID: a\r\n",
    )
    .await;
    assert_eq!(seen.values("x-forwarded-host"), ["Front.test"]);
    assert_eq!((seen.values("x-forwarded-port"), seen.values("x-request-id")), (vec!["8443"], vec!["a"]));
    let (seen, _) = told(
        &proxy,
        &recorder,
        "X-Forwarded-Host: front.test\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 443, 80\r\nX-Request-ID: a\r\nX-Request-ID: b\r\nForwarded: for=1.1.1.1;host=\"a\r\n",
    )
    .await;
    assert_eq!((seen.values("x-forwarded-host"), seen.values("x-forwarded-port")), (vec!["a.test"], vec!["80"]));
    assert_eq!(seen.values("x-request-id")[0].len(), 32, "a new one");
    assert!(seen.values("forwarded").is_empty(), "what cannot be read is not passed on");
    let (seen, _) = told(&proxy, &recorder, "Forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n").await;
    assert_eq!(seen.values("forwarded"), ["for=\"[2001:db8::1]:80\";proto=https"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_is_found_from_the_right() {
    let (proxy, recorder) = start_trusting().await;
    for (values, expected) in [
        (&["6.6.6.6, 2.2.2.2, 10.0.0.1"][..], "2.2.2.2"),
        (&["6.6.6.6", "2.2.2.2:4711 ,10.0.0.1"], "2.2.2.2"),
        (&["6.6.6.6, \"[2001:db8::1]:80\"", "10.0.0.1,"], "2001:db8::1"),
        (&["6.6.6.6, [2001:db8::1]\t"], "2001:db8::1"),
        (&["2.2.2.2,,10.0.0.2,,10.0.0.1"], "2.2.2.2"),
        (&["6.6.6.6, unknown, 10.0.0.1"], "10.0.0.1"),
        (&["6.6.6.6, _secret"], "127.0.0.1"),
        (&["6.6.6.6, for=2.2.2.2"], "127.0.0.1"),
        (&["6.6.6.6, 300.1.1.1, 10.0.0.1"], "10.0.0.1"),
        (&["6.6.6.6", "\u{e9}", "10.0.0.1"], "10.0.0.1"),
    ] {
        let fields: String = values.iter().map(|value| format!("X-Forwarded-For: {value}\r\n")).collect();
        let (seen, _) = told(&proxy, &recorder, &fields).await;
        assert_eq!(seen.values("x-real-ip"), [expected], "{values:?}");
    }
}
