use proptest::prelude::*;

use super::*;

const ALL: Which = Which { x_forwarded: true, rfc7239: true, request_id: true };

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn client_of(list: &'static str) -> String {
    let trusts = |address: IpAddr| address.to_string().starts_with("10.");
    client(&map(&[("x-forwarded-for", list)]), [10, 0, 0, 9].into(), trusts).to_string()
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    assert_eq!(client_of("1.1.1.1, 2.2.2.2, 10.0.0.1"), "2.2.2.2");
    assert_eq!(client_of("2.2.2.2:5555"), "2.2.2.2");
    assert_eq!(client_of("[2001:db8::1]:80, 10.0.0.1"), "2001:db8::1");
    assert_eq!(client_of("10.0.0.2, 10.0.0.1"), "10.0.0.2");
    assert_eq!(client_of("1.1.1.1, unknown, 10.0.0.1"), "10.0.0.1");
    assert_eq!(client_of(""), "10.0.0.9");
    assert_eq!(client_of("2.2.2.2 ,\t10.0.0.1,, "), "2.2.2.2");
    assert_eq!(client_of("\"[2001:db8::1]:80\", \"10.0.0.1\""), "2001:db8::1");
    assert_eq!(client_of("[2001:db8::1]"), "2001:db8::1");
    assert_eq!(client_of("::ffff:2.2.2.2, ::ffff:10.0.0.1"), "2.2.2.2");
    for garbage in ["_hidden", "for=1.1.1.1", "1.1.1", "1.1.1.1:", "1.1.1.1 2.2.2.2", "fe80::1%eth0", "\"1.1.1.1", "?"]
    {
        let list: &'static str = format!("6.6.6.6, {garbage}, 10.0.0.1").leak();
        assert_eq!(client_of(list), "10.0.0.1", "{garbage}");
    }
}

fn written(given: &[(&'static str, &'static str)], told: &Told<'_>, which: Which) -> HeaderMap {
    let mut headers = map(given);
    write(&mut headers, told, which);
    headers
}

#[test]
fn an_upstream_is_told_who_asks_and_for_what() {
    let authority = HeaderValue::from_static("a.example:8080");
    let told = Told {
        peer: [1, 2, 3, 4].into(),
        client: [1, 2, 3, 4].into(),
        is_trusted: false,
        peer_field: HeaderValue::from_static("1.2.3.4"),
        scheme: "http",
        authority: Some(&authority),
        port: Some(8080),
        request_id: "id",
    };
    let expected = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example:8080"),
        ("x-forwarded-port", "8080"),
        ("x-request-id", "id"),
        ("forwarded", "for=1.2.3.4;host=\"a.example:8080\";proto=http"),
    ];
    assert_eq!(written(&[], &told, ALL), map(&expected));
}

#[test]
fn the_word_of_a_trusted_proxy_is_kept_and_its_lists_grow() {
    let given = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-host", "front.example"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=1.1.1.1"),
    ];
    let authority = HeaderValue::from_static("a.example");
    let told = Told {
        peer: "2001:db8::9".parse().unwrap(),
        client: [1, 1, 1, 1].into(),
        is_trusted: true,
        peer_field: HeaderValue::from_static("2001:db8::9"),
        scheme: "https",
        authority: Some(&authority),
        port: None,
        request_id: "id",
    };
    let expected = [
        ("x-forwarded-for", "1.1.1.1, 2001:db8::9"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "front.example"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=1.1.1.1, for=\"[2001:db8::9]\";host=\"a.example\";proto=https"),
    ];
    assert_eq!(written(&given, &told, Which { request_id: false, ..ALL }), map(&expected));
}

#[test]
fn the_port_is_what_the_client_named_or_that_of_the_scheme() {
    let ports = [(None, "http"), (None, "https"), (Some(80), "https"), (Some(443), "http"), (Some(8443), "https")];
    assert_eq!(ports.map(|(port, scheme)| port_field(port, scheme)), ["80", "443", "80", "443", "8443"]);
}

#[test]
fn only_sane_ids_are_kept() {
    assert_eq!(request_id(&map(&[("x-request-id", "abc-1")])), Some("abc-1"));
    assert_eq!(request_id(&map(&[("x-request-id", "a b")])), None);
    assert_eq!(request_id(&map(&[("x-request-id", "")])), None);
    assert_eq!(request_id(&HeaderMap::new()), None);
}

fn lines(name: &'static str, lines: &[&'static str]) -> HeaderMap {
    map(&lines.iter().map(|line| (name, *line)).collect::<Vec<_>>())
}

#[test]
fn lines_of_addresses_are_one_list() {
    let headers = lines("x-forwarded-for", &["1.1.1.1, 2.2.2.2", "10.0.0.2", "10.0.0.1"]);
    let trusts = |address: IpAddr| address.to_string().starts_with("10.");
    assert_eq!(client(&headers, [10, 0, 0, 9].into(), trusts).to_string(), "2.2.2.2");
}

#[test]
fn a_scheme_is_believed_when_nothing_contradicts_it() {
    for (given, is_tls, expected) in [
        (&["https"][..], false, "https"),
        (&["HTTPS"], false, "https"),
        (&[" https ,\thttps,"], false, "https"),
        (&["https", "Https, HTTPS"], false, "https"),
        (&["\"https\""], false, "https"),
        (&["wss"], false, "https"),
        (&["ws"], true, "http"),
        (&["http"], true, "http"),
        (&["https, http"], false, "http"),
        (&["http, https"], false, "http"),
        (&["https", "http"], true, "https"),
        (&["http", "https"], true, "https"),
        (&["https, https", "http"], false, "http"),
        (&["https, ftp"], false, "http"),
        (&["https http"], false, "http"),
        (&["https;q=1"], false, "http"),
        (&[""], true, "https"),
        (&[",,"], false, "http"),
        (&[], true, "https"),
    ] {
        assert_eq!(scheme(&lines("x-forwarded-proto", given), is_tls), expected, "{given:?}");
    }
    let mut headers = HeaderMap::new();
    headers.append(PROTO, HeaderValue::from_static("https"));
    headers.append(PROTO, HeaderValue::from_bytes(b"https\xff").unwrap());
    assert_eq!(scheme(&headers, false), "http");
}

#[test]
fn a_host_and_a_port_are_believed_when_nothing_contradicts_them() {
    for (given, expected) in [
        (&["front.example"][..], Some("front.example")),
        (&["Front.Example:8443, front.example.:8443"], Some("Front.Example:8443")),
        (&["front.example", "FRONT.example"], Some("front.example")),
        (&["\"front.example\""], Some("front.example")),
        (&["[2001:db8::1]:80"], Some("[2001:db8::1]:80")),
        (&["front.example, other.example"], None),
        (&["front.example", "front.example:80"], None),
        (&["front example"], None),
        (&["front.example/x"], None),
        (&["u@front.example"], None),
        (&["a:0"], None),
        (&[""], None),
    ] {
        let found = believed::host(&lines("x-forwarded-host", given));
        assert_eq!(found.as_ref().and_then(|host| host.to_str().ok()), expected, "{given:?}");
    }
    for (given, expected) in [
        (&["443"][..], Some(443)),
        (&["443 , 443", "443"], Some(443)),
        (&["443, 80"], None),
        (&["443", "80"], None),
        (&["+443"], None),
        (&["0"], None),
        (&["65536"], None),
        (&["443x"], None),
    ] {
        assert_eq!(believed::port(&lines("x-forwarded-port", given)), expected, "{given:?}");
    }
}

#[test]
fn an_upstream_gets_one_value_of_what_is_believed() {
    let authority = HeaderValue::from_static("a.example");
    let told = Told {
        peer: [10, 0, 0, 9].into(),
        client: [1, 1, 1, 1].into(),
        is_trusted: true,
        peer_field: HeaderValue::from_static("10.0.0.9"),
        scheme: "https",
        authority: Some(&authority),
        port: None,
        request_id: "id",
    };
    let which = Which { rfc7239: false, request_id: false, ..ALL };
    let given = [
        ("x-forwarded-proto", "http, https"),
        ("x-forwarded-host", "b.example"),
        ("x-forwarded-host", "c.example"),
        ("x-forwarded-port", "8443, 8443"),
        ("forwarded", "for=1.1.1.1;proto=\"https"),
    ];
    let expected = [
        ("x-forwarded-for", "10.0.0.9"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-port", "8443"),
    ];
    assert_eq!(written(&given, &told, which), map(&expected));
}

/// RFC 7239 section 4.
#[test]
fn elements_of_forwarded_are_read_or_not() {
    for good in [
        "",
        "for=1.1.1.1",
        "For=\"[2001:db8::1]:4711\"",
        "for=unknown;proto=https;by=_hidden , for=2.2.2.2",
        "for=1.1.1.1; proto=http ;host=\"a, b; c\\\"\"",
        "for=a,,for=b;",
        "secret=x;secret=y",
    ] {
        assert!(believed::is_forwarded(&map(&[("forwarded", good)])), "{good}");
    }
    for bad in [
        "for",
        "for=",
        "=x",
        "for=\"a",
        "for=[::1]",
        "for=a;for=b",
        "for=a b",
        "for =a",
        "for=\"a\"b",
        "for=a;PROTO=x;proto=y",
    ] {
        assert!(!believed::is_forwarded(&map(&[("forwarded", "for=a"), ("forwarded", bad)])), "{bad}");
    }
}

#[test]
fn ids_that_contradict_one_another_are_not_kept() {
    assert_eq!(request_id(&lines("x-request-id", &["a", "a"])), Some("a"));
    assert_eq!(request_id(&lines("x-request-id", &["a", "b"])), None);
}

#[test]
fn a_request_tells_who_has_seen_it() {
    let id = HeaderValue::from_static("tidegate");
    let seen = |given: &[(&'static str, &'static str)], left: &[(&'static str, &'static str)]| {
        let mut fields = map(left);
        write_loop(&mut fields, &map(given), &id);
        fields.get_all(CDN_LOOP).iter().map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen(&[], &[]), ["tidegate"]);
    assert_eq!(seen(&[], &[("cdn-loop", "of a plugin")]), ["tidegate"]);
    let given = [("cdn-loop", "a;v=\"1, 2\""), ("cdn-loop", "b")];
    assert_eq!(seen(&given, &given), ["a;v=\"1, 2\", b, tidegate"]);
    assert_eq!(seen(&given, &[]), ["a;v=\"1, 2\", b, tidegate"], "no plugin can remove it");
}

/// What a list says, member by member.
fn naive(lines: &[String]) -> Option<&'static str> {
    let text = lines.join(",").to_lowercase();
    let said: Vec<&str> = text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    let all = |known: [&str; 2]| !said.is_empty() && said.iter().all(|member| known.contains(member));
    if all(["https", "wss"]) { Some("https") } else { all(["http", "ws"]).then_some("http") }
}

proptest! {
    #[test]
    fn schemes_agree_with_the_naive_reader(
        lines in prop::collection::vec("(https|HTTP|wss|ws|x|,|, | |\t){0,5}", 0..4), is_tls: bool
    ) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(PROTO, HeaderValue::from_str(line).unwrap());
        }
        let seen = if is_tls { "https" } else { "http" };
        prop_assert_eq!(scheme(&headers, is_tls), naive(&lines).unwrap_or(seen));
    }
}
