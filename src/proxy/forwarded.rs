//! Who the client is, and what upstreams are told about it.
//!
//! Pure. Fields of untrusted peers never get here: the guard drops them.
//! Source: RFC 7239, and the `X-Forwarded-*` fields as nginx and Envoy write them.

#[doc(hidden)]
pub mod believed;

use std::fmt::Write;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tidegate_plugin::Headers;

use self::believed::{client, scheme};
pub(super) use self::believed::{quoted_len, request_id};
use crate::connection::address_field;
use crate::snapshot::edge::Edge;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Who has passed a request on already (RFC 8586).
pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
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
    /// The value of `Host`, with port; `None`: the client named no host.
    pub(super) authority: Option<&'a HeaderValue>,
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
        let headers = edge.headers;
        Self { x_forwarded: headers.x_forwarded, rfc7239: headers.forwarded, request_id: headers.request_id }
    }
}

/// Scheme and client of a request, as the fields of a trusted proxy tell them, if it came from one; else the
/// connection's.
pub(super) fn seen(believed: Option<&HeaderMap>, peer: IpAddr, is_tls: bool, edge: &Edge) -> (&'static str, IpAddr) {
    match believed {
        Some(headers) => (scheme(headers, is_tls), client(headers, peer, |address| edge.trusts(address))),
        None if is_tls => ("https", peer),
        None => ("http", peer),
    }
}

/// Writes the fields. What is there already came from a trusted proxy: lists grow, the rest is kept where it can be
/// believed.
pub(super) fn write(headers: &mut dyn Headers, told: &Told<'_>, which: Which) {
    // What cannot be read would swallow what is appended to it.
    if told.is_trusted && !believed::is_forwarded(headers.map()) {
        headers.remove(&header::FORWARDED);
    }
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
    match told.is_trusted && headers.map().contains_key(FOR) {
        false => headers.set(FOR, told.peer_field.clone()),
        true => append_to_list(headers, FOR, told.peer_field.as_bytes()),
    }
    let client = if told.client == told.peer { told.peer_field.clone() } else { address_field(told.client) };
    headers.set(REAL_IP, client);
    headers.set(PROTO, HeaderValue::from_static(told.scheme));
    let host = told.is_trusted.then(|| believed::host(headers.map())).flatten();
    if let Some(host) = host.or_else(|| told.authority.cloned()) {
        headers.set(HOST, host);
    }
    let port = told.is_trusted.then(|| believed::port(headers.map())).flatten();
    headers.set(PORT, port.map_or_else(|| port_field(told.port, told.scheme), HeaderValue::from));
}

/// Says that the request has been here, after what the client sent says who else has seen it.
///
/// It comes after plugins, so that none of them can take it away.
pub(super) fn write_loop(headers: &mut dyn Headers, request: &HeaderMap, id: &HeaderValue) {
    let value = match request.contains_key(CDN_LOOP) {
        true => joined(request, &CDN_LOOP, id.as_bytes()),
        false => None,
    };
    headers.set(CDN_LOOP, value.unwrap_or_else(|| id.clone()));
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
    if let Some(host) = told.authority.and_then(|authority| authority.to_str().ok()) {
        let _ = write!(element, ";host=\"{host}\"");
    }
    let _ = write!(element, ";proto={}", told.scheme);
    append_to_list(headers, header::FORWARDED, element.as_bytes());
}

/// Adds an element to a list field, all of its lines joined into one.
fn append_to_list(headers: &mut dyn Headers, name: HeaderName, element: &[u8]) {
    if let Some(value) = joined(headers.map(), &name, element) {
        headers.set(name, value);
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> Option<HeaderValue> {
    let mut list = Vec::with_capacity(128);
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    HeaderValue::from_maybe_shared(Bytes::from(list)).ok()
}

#[cfg(test)]
mod tests;
