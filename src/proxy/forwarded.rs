//! Who the client is, and what upstreams are told about it.
//!
//! Pure. Fields of untrusted peers never get here: the guard drops them.
//! Source: RFC 7239, and the `X-Forwarded-*` fields as nginx and Envoy write them.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tidegate_plugin::Headers;

use crate::connection::address_field;
use crate::snapshot::edge::Edge;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an upstream is to be told.
pub(super) struct Told<'a> {
    pub(super) peer: IpAddr,
    pub(super) client: IpAddr,
    /// Whether the peer's word is believed; the guard has dropped what others claim.
    pub(super) is_trusted: bool,
    /// The peer's address as text, made once a connection.
    pub(super) peer_field: HeaderValue,
    pub(super) scheme: &'static str,
    /// The value of `Host`, with port.
    pub(super) authority: &'a HeaderValue,
    pub(super) port: Option<u16>,
    pub(super) request_id: &'a str,
}

/// Which of it.
#[derive(Clone, Copy)]
pub(super) struct Which {
    pub(super) x_forwarded: bool,
    pub(super) rfc7239: bool,
    pub(super) request_id: bool,
}

// === impl Which ===

impl Which {
    pub(super) fn of(edge: &Edge) -> Self {
        Self { x_forwarded: edge.x_forwarded, rfc7239: edge.forwarded_rfc7239, request_id: edge.request_id }
    }
}

/// Whether a field (lower case) claims something about the client that only a trusted proxy may.
pub(super) fn tells_about_client(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => is_x_claim(name),
        Some(b'f') => matches!(name, "forwarded" | "front-end-https" | "fastly-client-ip"),
        Some(b's') => name.starts_with("ssl-client-"),
        Some(b't') => name == "true-client-ip",
        Some(b'c') => name == "client-ip" || name.starts_with("cf-connecting-ip"),
        Some(b'r') => name == "remote-user",
        _ => false,
    }
}

fn is_x_claim(name: &str) -> bool {
    const PREFIXES: [&str; 7] =
        ["x-forwarded-", "x-original-", "x-auth-request-", "x-client-cert", "x-envoy-external-", "x-remote-", "x-ssl-"];
    const NAMES: [&str; 15] = [
        "x-azure-clientip",
        "x-host",
        "x-http-host-override",
        "x-originating-ip",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-request-id",
        "x-client-ip",
        "x-client-verify",
        "x-client-dn",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-rewrite-url",
        "x-scheme",
        "x-url-scheme",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The client: the rightmost address of `X-Forwarded-For` that is no trusted proxy; else the peer.
pub(super) fn client(headers: &HeaderMap, peer: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    for value in headers.get_all(FOR).iter().rev() {
        for element in value.to_str().unwrap_or_default().rsplit(',') {
            // What nobody can read ends the chain: what stands before it is nobody's word.
            let Some(address) = address(element.trim()) else { return client };
            client = address;
            if !trusts(address) {
                return client;
            }
        }
    }
    client
}

fn address(text: &str) -> Option<IpAddr> {
    let address: Option<IpAddr> = text.parse().ok();
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

/// The scheme that a trusted proxy saw; else that of the connection.
pub(super) fn scheme(headers: &HeaderMap, is_tls: bool) -> &'static str {
    match headers.get(PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if is_tls => "https",
        _ => "http",
    }
}

/// The id that a trusted proxy gave, when it is sane: 1 to 128 visible characters.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    ((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())).then_some(id)
}

/// Writes the fields. What is there already came from a trusted proxy: lists grow, the rest is kept.
pub(super) fn write(headers: &mut dyn Headers, told: &Told<'_>, which: Which) {
    if which.x_forwarded {
        write_x_forwarded(headers, told);
    }
    if which.rfc7239 {
        write_rfc7239(headers, told);
    }
    if which.request_id
        && let Ok(id) = HeaderValue::from_str(told.request_id)
    {
        headers.set(REQUEST_ID, id);
    }
}

fn write_x_forwarded(headers: &mut dyn Headers, told: &Told<'_>) {
    let is_kept = |headers: &dyn Headers, name| told.is_trusted && headers.map().contains_key(name);
    match is_kept(headers, FOR) {
        false => headers.set(FOR, told.peer_field.clone()),
        true => append_to_list(headers, FOR, told.peer_field.as_bytes()),
    }
    let client = if told.client == told.peer { told.peer_field.clone() } else { address_field(told.client) };
    headers.set(REAL_IP, client);
    headers.set(PROTO, HeaderValue::from_static(told.scheme));
    if !is_kept(headers, HOST) {
        headers.set(HOST, told.authority.clone());
    }
    if !is_kept(headers, PORT) {
        headers.set(PORT, port_field(told.port, told.scheme));
    }
}

fn port_field(port: Option<u16>, scheme: &str) -> HeaderValue {
    match (port, scheme) {
        (None, "https") | (Some(443), _) => HeaderValue::from_static("443"),
        (None, _) | (Some(80), _) => HeaderValue::from_static("80"),
        (Some(port), _) => HeaderValue::from(port),
    }
}

fn write_rfc7239(headers: &mut dyn Headers, told: &Told<'_>) {
    let mut element = String::with_capacity(128);
    // RFC 7239 section 6: addresses of IPv6 are bracketed and quoted. Writing to a string cannot fail.
    let _ = match told.peer {
        IpAddr::V4(peer) => write!(element, "for={peer}"),
        IpAddr::V6(peer) => write!(element, "for=\"[{peer}]\""),
    };
    let host = told.authority.to_str().unwrap_or_default();
    let _ = write!(element, ";host=\"{host}\";proto={}", told.scheme);
    append_to_list(headers, header::FORWARDED, element.as_bytes());
}

/// Adds an element to a list field, all of its fields joined into one.
fn append_to_list(headers: &mut dyn Headers, name: HeaderName, element: &[u8]) {
    let mut list = Vec::with_capacity(128);
    for value in headers.map().get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
        headers.set(name, value);
    }
}

#[cfg(test)]
mod tests {
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
            authority: &authority,
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
            authority: &authority,
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

    #[test]
    fn claims_are_known_by_name() {
        for name in ["forwarded", "x-forwarded-prefix", "x-original-url", "ssl-client-cert", "true-client-ip"] {
            assert!(tells_about_client(name), "{name}");
        }
        for name in ["x-api-key", "x-client-version", "from", "accept", "x-requested-with"] {
            assert!(!tells_about_client(name), "{name}");
        }
    }
}
