//! Any fields of a trusted proxy: what is believed is what a naive reading of all members says.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tidegate::bench::proxy::believed::{client, request_id, scheme};

const NAMES: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-request-id", "forwarded"];
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let [name, value @ ..] = line else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    for is_tls in [false, true] {
        let seen = if is_tls { "https" } else { "http" };
        assert_eq!(scheme(&headers, is_tls), naive_scheme(&headers).unwrap_or(seen), "{headers:?}");
    }
    // Nobody trusted: the last member counts or, when it is no address, the peer. Whoever is before it says nothing.
    let alone = client(&headers, PEER, |_| false);
    let mut longer = HeaderMap::new();
    longer.append(NAMES[0], HeaderValue::from_static("6.6.6.6"));
    for value in headers.get_all(NAMES[0]) {
        longer.append(NAMES[0], value.clone());
    }
    let is_empty = naive_members(&headers, NAMES[0]).is_empty();
    assert!(is_empty || client(&longer, PEER, |_| false) == alone, "{headers:?}");
    assert!(!is_empty || alone == PEER, "{headers:?}");
    let _ = client(&headers, PEER, |address| address.is_ipv4());
    assert!(request_id(&headers).is_none_or(|id| (1..=128).contains(&id.len()) && id.is_ascii()));
});

/// Members of all lines: without the blanks and quotes around them, and without those of which nothing is left.
fn naive_members(headers: &HeaderMap, name: &str) -> Vec<String> {
    let mut members = Vec::new();
    for line in headers.get_all(name) {
        for member in line.to_str().unwrap_or("?").split(',') {
            let member = member.trim_matches([' ', '\t']);
            let is_quoted = member.len() >= 2 && member.starts_with('"') && member.ends_with('"');
            let inner = if is_quoted { &member[1..member.len() - 1] } else { member };
            members.push(if inner.contains(['"', '\\']) { member } else { inner }.to_owned());
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn naive_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let mut read = naive_members(headers, NAMES[1]).into_iter().map(|member| match &*member.to_ascii_lowercase() {
        "https" | "wss" => Some("https"),
        "http" | "ws" => Some("http"),
        _ => None,
    });
    let first = read.next()??;
    read.all(|it| it == Some(first)).then_some(first)
}
