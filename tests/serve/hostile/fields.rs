//! Fields by which a client could pass for somebody else.

use super::*;

/// Names that only a trusted proxy may use, and what tells of certificates and rewrites.
const CLAIMS: &[&str] = &[
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-By",
    "X-Forwarded",
    "X-Real-IP",
    "Forwarded",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-Method",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Redirect",
    "X-Auth-Request-Access-Token",
    "X-Client-IP",
    "X-Client-Cert",
    "X-Client-Verify",
    "X-Client-DN",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "Client-IP",
    "CF-Connecting-IP",
    "Proxy",
    "SSL-Client-Cert",
    "SSL-Client-Verify",
    "SSL-Client-Subject-DN",
    "SSL-Client-Issuer-DN",
    "SSL-Client-I-DN",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "X-SSL-Client-DN",
    "X-SSL-Client-Subject-DN",
    "X-SSL-Cert",
    "X-Scheme",
    "X-Url-Scheme",
    "Front-End-Https",
    "X-Request-ID",
    "X-Envoy-External-Address",
    "X-ProxyUser-Ip",
    "X-Remote-User",
    "Remote-User",
    "X-Remote-Addr",
    "X-Host",
    "X-Originating-IP",
    "Fastly-Client-IP",
    "X-HTTP-Host-Override",
    "X-Remote-IP",
    "X-Azure-ClientIP",
    "CF-Connecting-IPv6",
    "WL-Proxy-Client-IP",
    "WL-Proxy-SSL",
    "Proxy-Client-IP",
    "X-True-Client-IP",
    "Fly-Client-IP",
    "Fly-Forwarded-Proto",
    "X-Appengine-User-IP",
    "X-Appengine-Cron",
    "X-ARR-ClientCert",
    "X-TLS-Client-Cert",
    "X-WEBAUTH-USER",
    "X-WEBAUTH-ROLE",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Addr",
    "X-Envoy-Original-Path",
    "X-Envoy-Original-Dst-Host",
    "X-Envoy-Peer-Metadata",
    "X-Real-Port",
    "X-Authenticated-Userid",
    "X-Authenticated-Groups",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "CF-Visitor",
    "CloudFront-Viewer-Address",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Mtls-Clientcert",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Azure-SocketIP",
    "MS-ASPNETCORE-CLIENTCERT",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Authentik-Username",
    "X-Pomerium-Claim-Email",
    "X-Vouch-User",
    "X-User",
    "X-Proxy-User",
    "Tailscale-User-Login",
    "Kubeflow-Userid",
    "Iv-User",
    "Oidc-Claim-Sub",
    "Shib-Session-ID",
    "Sm-User",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Client-Certificate",
    "L5d-Client-Id",
    "X-Vercel-Forwarded-For",
    "Do-Connecting-IP",
    "Incap-Client-IP",
    "Cluster-Client-IP",
    "Forwarded-For",
    "X-Accel-Mapping",
    "X-Middleware-Subrequest",
    "Script-Name",
    "$WSRU",
];

fn spellings(name: &str) -> Vec<String> {
    let mixed = name
        .chars()
        .enumerate()
        .map(|(at, c)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
    vec![
        name.to_owned(),
        name.to_ascii_lowercase(),
        name.to_ascii_uppercase(),
        mixed.collect(),
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        name.to_ascii_lowercase().replace('-', "_"),
        name.replace('-', "."),
        name.replacen('-', ".", 1),
        name.replace('-', "+"),
        name.to_ascii_uppercase().replace('-', "~"),
    ]
}

/// Sends the field twice, among others; gives what the upstream saw.
async fn seen_with(proxy: &Proxy, recorder: &Recorder, spelling: &str) -> Seen {
    let before = recorder.seen().len();
    let head = format!(
        "GET /x HTTP/1.1\r\nHost: a.test\r\n{spelling}: evil\r\nAccept: */*\r\n{spelling}: evil, evil2\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(request(proxy.http(), &head).await.status, 200, "{spelling}");
    recorder.whole_since(before).remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_untrusted_clients_reach_no_upstream_in_any_spelling() {
    let (proxy, recorder) = start(OPEN).await;
    let mut faults = Vec::new();
    for name in CLAIMS {
        for spelling in spellings(name) {
            let seen = seen_with(&proxy, &recorder, &spelling).await;
            if seen.head.contains("evil") || seen.names().iter().any(|name| name.contains('_')) {
                faults.push(spelling);
            }
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
    let seen = seen_with(&proxy, &recorder, "X-Other").await;
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-forwarded-host"), ["a.test"]);
    assert_eq!(seen.values("x-request-id").len(), 1);
    assert_eq!(seen.values("x-other"), ["evil", "evil, evil2"], "fields that claim nothing pass");
}

/// What a client sends for its own sake, and a name that only resembles a claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_claim_nothing_pass() {
    let (proxy, recorder) = start(OPEN).await;
    for name in [
        "X-Client-Version",
        "X-Requested-With",
        "From",
        "X-Api-Key",
        "Via",
        "Client-Hints",
        "X-Forward",
        "SSL-Other",
        "X-User-Id",
        "X-Auth-Token",
        "X-User-Agent",
        "X-HTTP-Method-Override",
        "X.Other",
        "a.b",
    ] {
        assert_eq!(seen_with(&proxy, &recorder, name).await.values(name), ["evil", "evil, evil2"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conf_adds_names_and_lets_names_pass_live() {
    let recorder = Recorder::start().await;
    let conf = format!(
        "defaults: {{ identityHeaders: {{ add: [X-Corp-User, \"X-Team-*\", Referer], pass: [X-User, \"x-sso-*\"] }} }}\nupstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n",
        recorder.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    for name in ["X-Corp-User", "x-team-lead", "X.Corp.User", "Referer", "X-SSL-Cert", "X_User"] {
        let seen = seen_with(&proxy, &recorder, name).await;
        assert!(!seen.head.contains("evil"), "{name}: {}", seen.head);
    }
    for name in ["X-User", "X-SSO-Id", "X-Teams"] {
        assert_eq!(seen_with(&proxy, &recorder, name).await.values(name), ["evil", "evil, evil2"], "{name}");
    }
    let nominated = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Corp-User\r\n\r\n";
    assert_eq!(request(proxy.http(), nominated).await.status, 400);
    let change = |text: &str| text.replace("X-Corp-User, ", "").replace("pass: [X-User, ", "pass: [");
    reconfigure(&proxy, change, nominated, 200).await;
    assert_eq!(seen_with(&proxy, &recorder, "X-Corp-User").await.values("x-corp-user").len(), 2);
    assert!(seen_with(&proxy, &recorder, "X-User").await.values("x-user").is_empty());
}

/// RFC 9110 section 6.5: what is in a trailer section must not be merged into the head; it ends here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_in_trailers_and_on_http2_reach_no_upstream() {
    let (proxy, recorder) = start(OPEN).await;
    let chunked = "POST /t HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Real-IP\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX-Real-IP: evil\r\nRemote-User: evil\r\nCDN-Loop: evil\r\n\r\n";
    assert_eq!(request(proxy.http(), chunked).await.status, 200);
    let stream = tls(proxy.https(), "a.test", &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut ask = http::Request::post("https://a.test/h2");
    for name in CLAIMS {
        for name in [name.to_ascii_lowercase(), name.to_ascii_lowercase().replace('-', "."), name.replace('-', "_")] {
            // Each head must fit into the limits.
            ask = if ask.headers_ref().map_or(0, http::HeaderMap::len) < 40 { ask.header(name, "evil") } else { ask };
        }
    }
    let (answer, mut body) = client.send_request(ask.body(()).unwrap(), false).unwrap();
    body.send_data("hi".into(), false).unwrap();
    let trailers =
        ["x-real-ip", "remote-user", "x.real.ip"].map(|name| (name.parse().unwrap(), "evil".parse().unwrap()));
    body.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 200);
    let seen = recorder.seen();
    assert_eq!(seen.iter().filter(|seen| seen.is_whole && seen.body == b"hi").count(), 2, "{seen:?}");
    assert!(seen.iter().all(|seen| !seen.head.contains("evil") && !latin1(&seen.body).contains("evil")), "{seen:?}");
}
