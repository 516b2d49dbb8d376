use super::*;

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

fn class(claims: &Claims, name: &str) -> Class {
    claims.class(&HeaderName::from_bytes(name.as_bytes()).unwrap())
}

#[test]
fn claims_are_known_by_name() {
    let claims = Claims::known();
    for name in [
        "Forwarded",
        "X-Forwarded-Prefix",
        "X-Original-URL",
        "SSL-Client-Cert",
        "True-Client-IP",
        "WL-Proxy-Client-IP",
        "Proxy-Client-IP",
        "X-True-Client-IP",
        "Fly-Client-IP",
        "X-Appengine-User-IP",
        "X-ARR-ClientCert",
        "X-TLS-Client-Cert",
        "X-WEBAUTH-USER",
        "Remote-User",
        "Remote-Groups",
        "X-Envoy-Original-Path",
        "$WSRA",
    ] {
        assert_eq!(class(&claims, name), Class::Claim, "{name}");
    }
    for name in
        ["X-Api-Key", "X-Client-Version", "From", "Accept", "X-Requested-With", "X-User-Agent", "X-User-Id", "Rem"]
    {
        assert_eq!(class(&claims, name), Class::Plain, "{name}");
    }
    assert_eq!(class(&claims, "CDN-Loop"), Class::Loop);
    assert_eq!(class(&claims, "Proxy"), Class::Never);
}

/// CGI (RFC 3875 section 4.1.18) and its followers turn signs into `_`; some read `_` as `-` again.
#[test]
fn other_spellings_of_a_claim_are_nobody_s() {
    let claims = Claims::known();
    for name in
        ["X.Real.IP", "X-Forwarded.For", "Remote.User", "x!real!ip", "X~Real+IP", "x|ssl|cert", "CDN.Loop", "a_b"]
    {
        assert_eq!(class(&claims, name), Class::Never, "{name}");
    }
    for name in ["X.Other", "a.b", "x-re.al-ip"] {
        assert_eq!(class(&claims, name), Class::Plain, "{name}");
    }
    let long = format!("x.real.{}", "a".repeat(300));
    assert_eq!(class(&claims, &long), Class::Never);
}

#[test]
fn the_conf_adds_names_and_lets_names_pass() {
    let claims =
        Claims::new(&names(&["X-Corp-User", "X-Team-*", "Cookie", "a"]), &names(&["X-Remote-Hand", "x-sso-*"]));
    for name in ["x-corp-user", "x-team-", "x-team-a", "cookie", "a", "x-remote-user"] {
        assert_eq!(class(&claims, name), Class::Claim, "{name}");
    }
    for name in ["x-corp-users", "x-teams", "x-remote-hand", "x.remote.hand", "x-sso-user", "accept"] {
        assert_eq!(class(&claims, name), Class::Plain, "{name}");
    }
    assert_eq!(class(&claims, "x.corp.user"), Class::Never);
}

/// One look-up a field, and few compares in it.
#[test]
fn usual_fields_meet_few_entries() {
    let claims = Claims::known();
    for name in [
        "authorization",
        "cache-control",
        "content-encoding",
        "if-none-match",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "sec-ch-ua",
        "sec-fetch-mode",
        "te",
        "traceparent",
        "upgrade-insecure-requests",
    ] {
        let slot = slot(name.as_bytes());
        let begin = slot.checked_sub(1).map_or(0, |before| claims.ends[before]);
        assert!(claims.ends[slot] - begin <= 3, "{name}: {}", claims.ends[slot] - begin);
    }
    let longest = (1..SLOTS).map(|slot| claims.ends[slot] - claims.ends[slot - 1]).max().unwrap();
    assert!(longest <= 32, "{longest}");
}

/// The table against a look at every entry.
#[test]
fn every_known_name_is_found() {
    let claims = Claims::known();
    for text in known::CLAIMS.split_ascii_whitespace() {
        assert!(text.trim_end_matches('*').len() >= 3, "{text}");
        let name = text.replace('*', "x");
        assert_eq!(class(&claims, &name), Class::Claim, "{name}");
    }
}
