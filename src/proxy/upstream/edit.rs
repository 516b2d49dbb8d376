//! What an endpoint is sent of a client's request.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use tidegate_plugin::{Headers, Hooks, Target, UpstreamRequest};

use crate::connection::address_field;
use crate::proxy::context::Context;
use crate::proxy::forwarded::{self, Told, Which};
use crate::proxy::head::RequestHead;
use crate::proxy::length::content_length;
use crate::reason::Reason;

/// Makes of a client's head what the endpoint gets: what it is told about the client, then what plugins make of it.
///
/// # Errors
/// A plugin failed, so nothing is sent; the reason is in the context too.
pub(crate) fn edit(client: &Parts, head: &mut dyn RequestHead, cx: &mut Context) -> Result<(), Reason> {
    let is_h2 = cx.upstream.is_h2;
    if client.version == Version::HTTP_2 && !is_h2 {
        join_cookies(head);
    }
    if cx.known.host_len == 0 {
        name_host(head, cx);
    }
    forwarded::write(head, &told(client.headers.get(header::HOST), cx), Which::of(&cx.snapshot.edge));
    let target = ask_plugins(client, head, cx);
    forwarded::write_loop(head, &client.headers, &cx.snapshot.edge.loop_id);
    if cx.route_with(Hooks::REQUEST_BODY).is_some() && content_length(&client.headers) > 0 {
        leave_length_open(head, is_h2);
    }
    let target = if cx.shared.has_failed() { Err(Reason::Internal) } else { Ok(target) };
    let target = target.and_then(|target| set_target(client, head, target)).inspect_err(|reason| {
        cx.reason = Some(*reason);
    })?;
    let method = target.as_ref().and_then(|target| target.method.as_ref()).unwrap_or(&client.method);
    if !cx.known.has_body && !is_h2 && expects_body(method) {
        tell_empty(head);
    }
    cx.upstream.sent_as = target.map(Box::new);
    Ok(())
}

/// What plugins make of a head: what they want asked for is returned.
fn ask_plugins(client: &Parts, head: &mut dyn RequestHead, cx: &Context) -> Option<Target> {
    let route = cx.route_with(Hooks::UPSTREAM_REQUEST)?;
    let facts = cx.known.facts(client);
    let mut plugin_cx = UpstreamRequest::new(facts, route.facts_of(cx.upstream.backend), head);
    route.pipeline.on_upstream_request(&mut plugin_cx, &cx.shared, &cx.passage);
    plugin_cx.into_target().ok().filter(|target| *target != Target::default())
}

/// Asks for what plugins want asked for. They have checked it; what is no target all the same is our fault.
fn set_target(client: &Parts, head: &mut dyn RequestHead, target: Option<Target>) -> Result<Option<Target>, Reason> {
    let Some(target) = target else { return Ok(None) };
    // A target of HTTP/2 has the host that came, too.
    if target.path.is_some() || target.query.is_some() || target.host.is_some() {
        let path = target.path.as_deref().unwrap_or(client.uri.path());
        let query = target.query.as_ref().map_or(client.uri.query(), Option::as_deref);
        let uri = match query {
            Some(query) => format!("{path}?{query}").parse::<Uri>(),
            None => path.parse(),
        };
        head.set_target(uri.map_err(|_| Reason::Internal)?);
    }
    if let Some(method) = &target.method {
        head.set_method(method.clone());
    }
    if let Some(host) = &target.host {
        head.set(header::HOST, HeaderValue::from_str(host).map_err(|_| Reason::Internal)?);
    }
    Ok(Some(target))
}

/// Plugins may make a body longer or shorter than the client said. HTTP/2 frames it anyway.
fn leave_length_open(fields: &mut dyn Headers, is_h2: bool) {
    fields.remove(&header::CONTENT_LENGTH);
    if !is_h2 {
        fields.set(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn told<'a>(authority: Option<&'a HeaderValue>, cx: &'a Context) -> Told<'a> {
    let peer = cx.known.peer.ip().to_canonical();
    Told {
        peer,
        client: cx.known.client,
        is_trusted: cx.known.is_trusted,
        peer_field: match &cx.known.connection {
            Some(connection) => connection.peer_field.clone(),
            None => address_field(peer),
        },
        scheme: cx.known.scheme,
        authority,
        port: cx.known.port,
        request_id: cx.known.request_id.as_str(),
    }
}

/// A client of HTTP/1.0 may leave out whom it asks; endpoints that are asked in a newer version must be told something,
/// and hear their own address from probes too (RFC 9112 section 3.2).
fn name_host(fields: &mut dyn Headers, cx: &Context) {
    let Some(pick) = cx.upstream.pick.as_ref().filter(|_| !fields.map().contains_key(header::HOST)) else { return };
    // The text of an address has no byte that a value could not have.
    if let Ok(address) = HeaderValue::from_str(&pick.address().to_string()) {
        fields.set(header::HOST, address);
    }
}

/// Whether servers wait for a body of such requests, or refuse those that do not say that there is none.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Says that there is no body (RFC 9110 section 8.6).
fn tell_empty(fields: &mut dyn Headers) {
    let is_told = |headers: &HeaderMap| {
        headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
    };
    if !is_told(fields.map()) {
        fields.set(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// HTTP/2 may split cookies over several fields; HTTP/1 has one (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut dyn Headers) {
    let mut cookies = fields.map().get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let joined = [first, second].into_iter().chain(cookies).collect::<Vec<_>>().join(&b"; "[..]);
    // Of what were values one is made.
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        fields.set(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_cookies_are_joined() {
        let mut fields = HeaderMap::new();
        for cookie in ["a=1", "b=2", "c=3"] {
            fields.append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        join_cookies(&mut fields);
        let cookies: Vec<_> = fields.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
