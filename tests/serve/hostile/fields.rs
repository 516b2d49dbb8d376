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
    for name in
        ["X-Client-Version", "X-Requested-With", "From", "X-Api-Key", "Via", "Client-Hints", "X-Forward", "SSL-Other"]
    {
        assert_eq!(seen_with(&proxy, &recorder, name).await.values(name), ["evil", "evil, evil2"], "{name}");
    }
}
