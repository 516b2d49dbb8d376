use super::*;

const LIMITS: Limits = Limits { header_bytes: 1000, header_count: 20, uri_bytes: 200 };

fn head_of(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    change: impl Fn(&mut Head<'_>),
) -> Result<Changes, Reason> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let (method, uri) = (method.parse().unwrap(), target.parse().unwrap());
    let mut head = Head {
        method: &method,
        uri: &uri,
        target: target.as_bytes(),
        headers: &headers,
        version: http::Version::HTTP_11,
        has_both_lengths: false,
        is_trusted: false,
    };
    change(&mut head);
    check(&head, &Rules { limits: LIMITS, claims: &Claims::known(), loop_id: b"tidegate", max_hops: 2 })
}

fn get(target: &str, fields: &[(&str, &str)]) -> Result<Changes, Reason> {
    let fields = [&[("host", "a.example")], fields].concat();
    head_of("GET", target, &fields, |_| {})
}

fn host(value: &str) -> Result<Changes, Reason> {
    head_of("GET", "/", &[("host", value)], |_| {})
}

#[test]
fn a_canonical_head_needs_no_change() {
    let changes = get("/a/b?c=%2F&d", &[("accept", "*/*"), ("content-length", "5")]).unwrap();
    assert_eq!(changes, Changes { host_len: 9, head_bytes: changes.head_bytes, ..Changes::default() });
}

#[test]
fn the_host_is_made_canonical_and_keeps_its_port() {
    let changes = host("A.Example.:8080").unwrap();
    assert_eq!(changes.host.unwrap(), "a.example:8080");
    assert_eq!((changes.host_len, changes.port), (9, Some(8080)));
}

#[test]
fn missing_bad_and_repeated_hosts_are_refused() {
    assert_eq!(head_of("GET", "/", &[], |_| {}), Err(Reason::BadHost));
    assert_eq!(head_of("GET", "/", &[("host", "a"), ("host", "a")], |_| {}), Err(Reason::BadHost));
    for value in ["", "a b", "a,b", "a/b", "a:0", "a:70000", "u@a", "[::1"] {
        assert_eq!(host(value), Err(Reason::BadHost), "{value}");
    }
}

/// RFC 9112 section 3.2.
#[test]
fn only_http10_may_leave_the_host_out() {
    let asked = |version, fields: &[(&str, &str)]| head_of("GET", "/", fields, |head| head.version = version);
    let changes = asked(Version::HTTP_10, &[]).unwrap();
    assert_eq!((changes.host_len, changes.host), (0, None));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(asked(version, &[]), Err(Reason::BadHost), "{version:?}");
    }
    assert_eq!(asked(Version::HTTP_10, &[("host", "")]), Err(Reason::BadHost));
    assert_eq!(asked(Version::HTTP_10, &[("host", "A.b")]).unwrap().host_len, 3);
}

/// RFC 9110 section 10.1.1.
#[test]
fn http10_expects_nothing() {
    let fields = [("host", "a"), ("expect", "100-continue")];
    let drop = |version| head_of("POST", "/", &fields, |head| head.version = version).unwrap().drop;
    assert_eq!(drop(Version::HTTP_10), [header::EXPECT]);
    assert_eq!(drop(Version::HTTP_11), Vec::<HeaderName>::new());
}

/// RFC 9110 section 8.6.
#[test]
fn a_length_told_twice_becomes_one() {
    let length = |value| get("/", &[("content-length", value)]).map(|changes| changes.length);
    assert_eq!(length("5"), Ok(None));
    assert_eq!(length("5, 5"), Ok(Some(HeaderValue::from_static("5"))));
    let twice = get("/", &[("content-length", "5"), ("content-length", "5")]).unwrap();
    assert_eq!(twice.length.unwrap(), "5");
    assert_eq!(length("5, 6"), Err(Reason::BadRequest));
    assert_eq!(get("/", &[("content-length", "5"), ("content-length", "6")]), Err(Reason::BadRequest));
}

/// RFC 9112 section 3.2.2: the authority of an absolute target counts, and must be the host's.
#[test]
fn an_absolute_target_must_name_the_same_host() {
    let changes = get("http://a.example/x//y?q", &[]).unwrap();
    assert_eq!(changes.target.unwrap(), "/x/y?q");
    assert_eq!(get("http://b.example/", &[]), Err(Reason::BadHost));
    assert_eq!(get("http://a.example:81/", &[]), Err(Reason::BadHost));
}

#[test]
fn an_absolute_target_is_read_where_the_uri_has_only_its_path() {
    let absolute = |target: &'static [u8]| head_of("GET", "/x", &[("host", "a")], |head| head.target = target);
    assert_eq!(absolute(b"http://a/x").unwrap().target.unwrap(), "/x");
    assert_eq!(absolute(b"http://b/x"), Err(Reason::BadHost));
    assert_eq!(absolute(b"http://u@a/x"), Err(Reason::BadHost));
    assert_eq!(absolute(b"ftp://a/x"), Err(Reason::BadPath));
    assert_eq!(absolute(b"x"), Err(Reason::BadPath));
}

#[test]
fn an_authority_alone_becomes_the_host() {
    let changes = head_of("GET", "https://a.example/x", &[], |head| head.target = b"/x").unwrap();
    assert_eq!(changes.host.unwrap(), "a.example");
    assert_eq!(changes.target.unwrap(), "/x");
}

#[test]
fn the_path_is_made_canonical_or_refused() {
    assert_eq!(get("/a/../b/./c//d?x=/../", &[]).unwrap().target.unwrap(), "/b/c/d?x=/../");
    assert_eq!(get("/%61dmin", &[]).unwrap().target.unwrap(), "/admin");
    assert_eq!(get("/%e2%82%ac", &[]).unwrap().target.unwrap(), "/%E2%82%AC");
    for target in ["/a%2fb", "/a%5Cb", "/a%00", "/../a", "/%2e%2e/a", "/%zz", "/a%2"] {
        assert_eq!(get(target, &[]), Err(Reason::BadPath), "{target}");
    }
}

#[test]
fn an_asterisk_is_for_options_only() {
    let fields = [("host", "a")];
    assert!(head_of("OPTIONS", "*", &fields, |_| {}).unwrap().is_asterisk);
    assert_eq!(head_of("GET", "*", &fields, |_| {}), Err(Reason::BadPath));
}

#[test]
fn trace_is_refused() {
    assert_eq!(head_of("TRACE", "/", &[("host", "a")], |_| {}), Err(Reason::BadMethod));
}

#[test]
fn overlong_methods_are_refused() {
    assert_eq!(head_of(&"M".repeat(33), "/", &[("host", "a")], |_| {}), Err(Reason::BadMethod));
    assert!(head_of("UPDATEREDIRECTREF", "/", &[("host", "a")], |_| {}).is_ok());
}

#[test]
fn limits_hold() {
    assert_eq!(get(&format!("/{}", "a".repeat(200)), &[]), Err(Reason::UriTooLong));
    assert_eq!(get("/", &[("a", &"b".repeat(1000))]), Err(Reason::HeadersTooLarge));
    assert_eq!(get("/", &[("a", "b"); 20]), Err(Reason::HeadersTooLarge));
}

/// RFC 9112 section 6.3: what could end the body in two places is refused.
#[test]
fn doubtful_framing_is_refused() {
    for fields in [
        &[("content-length", "5"), ("content-length", "6")][..],
        &[("content-length", "5, 6")],
        &[("content-length", "+5")],
        &[("content-length", "")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("expect", "200-maybe")],
    ] {
        assert_eq!(get("/", fields), Err(Reason::BadRequest), "{fields:?}");
    }
    let both = head_of("POST", "/", &[("host", "a")], |head| head.has_both_lengths = true);
    assert_eq!(both, Err(Reason::BadRequest));
    assert!(get("/", &[("expect", "100-Continue"), ("transfer-encoding", "Chunked")]).is_ok());
}

#[test]
fn fields_that_others_could_misread_are_dropped() {
    let fields = [("x_forwarded_for", "1"), ("proxy", "x"), ("x-forwarded-for", "1"), ("x-real-ip", "1")];
    assert_eq!(get("/", &fields).unwrap().drop, ["x_forwarded_for", "proxy", "x-forwarded-for", "x-real-ip"]);
    let trusted = head_of("GET", "/", &[("host", "a"), ("x-forwarded-for", "1"), ("x_a", "1")], |head| {
        head.is_trusted = true;
    });
    assert_eq!(trusted.unwrap().drop, ["x_a"]);
}

#[test]
fn other_spellings_of_claims_are_dropped_whoever_sends_them() {
    let fields = [("x.real.ip", "1"), ("remote-user", "a"), ("remote-user", "b"), ("x.other", "1")];
    assert_eq!(get("/", &fields).unwrap().drop, ["x.real.ip", "remote-user"]);
    let fields = [&[("host", "a")], &fields[..]].concat();
    let trusted = head_of("GET", "/", &fields, |head| head.is_trusted = true);
    assert_eq!(trusted.unwrap().drop, ["x.real.ip"]);
}

/// RFC 8586 section 3: a request that comes round again is refused.
#[test]
fn a_request_comes_by_so_often() {
    let with = |lines: &[&'static str]| get("/", &lines.iter().map(|line| ("cdn-loop", *line)).collect::<Vec<_>>());
    assert!(with(&["tidegate"]).unwrap().drop.is_empty(), "the field itself passes");
    assert!(with(&["tidegate", "other, other, x;a=\"tidegate\""]).is_ok());
    assert_eq!(with(&["tidegate, TIDEGATE"]), Err(Reason::LoopDetected));
    assert_eq!(with(&["tidegate", "x, tidegate;v=1"]), Err(Reason::LoopDetected));
}

/// RFC 9110 section 7.8: `Upgrade` counts only when `Connection` names it.
#[test]
fn only_whole_websocket_upgrades_are_upgrades() {
    assert_eq!(get("/", &[("upgrade", "websocket")]).unwrap().drop, ["upgrade"]);
    assert_eq!(get("/", &[("upgrade", "h2c"), ("connection", "upgrade")]).unwrap().drop, ["upgrade"]);
    let whole = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
    assert!(get("/", &whole).unwrap().drop.is_empty());
}

/// RFC 9110 section 7.6.1 lets intermediaries remove nominated fields; a client must not use that on policy.
#[test]
fn protected_fields_cannot_be_nominated() {
    for name in
        ["Authorization", "close, cookie", "X-Forwarded-For", "CDN-Loop", "remote-x", "host", "a,b,c,d,e,f,g,h,i,j"]
    {
        assert_eq!(get("/", &[("connection", name)]), Err(Reason::BadRequest), "{name}");
    }
    assert!(get("/", &[("connection", "close, x-mine")]).is_ok());
}
