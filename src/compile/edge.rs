//! Edge settings of the model, ready for use.

use std::sync::Arc;

use http::HeaderValue;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model;
use crate::origin::Origin;
use crate::snapshot::edge::Edge;
use crate::snapshot::edge::claims::Claims;

/// Compiles the edge settings; what is not usable falls back to its default.
pub(super) fn compile(edge: &model::Edge) -> (Edge, Vec<Diagnostic>) {
    let (server_header, diagnostics) = server_header(edge);
    let compiled = Edge {
        trusted_proxies: edge.trusted_proxies.clone(),
        server_header,
        x_forwarded: edge.forwarded.x_forwarded,
        forwarded_rfc7239: edge.forwarded.rfc7239,
        request_id: edge.forwarded.request_id,
        max_header_bytes: edge.max_header_bytes,
        max_header_count: edge.max_header_count,
        max_uri_bytes: edge.max_uri_bytes,
        header_timeout: edge.header_timeout,
        body_timeout: edge.body_timeout,
        keep_alive_timeout: edge.keep_alive_timeout,
        send_timeout: edge.send_timeout,
        keep_alive_requests: edge.keep_alive_requests,
        max_connections: edge.max_connections,
        max_requests: edge.max_requests,
        reserve: edge.reserve,
        max_source_connections: edge.max_source_connections,
        memory: edge.memory,
        h2_stalled: edge.h2_stalled,
        h2_max_streams: edge.h2_max_streams,
        h2_window: edge.h2_window,
        preserve_header_case: edge.preserve_header_case,
        claims: claims(&edge.identity_headers),
        // The translator has seen to it that it can stand in a field.
        loop_id: HeaderValue::from_str(&edge.loop_id).unwrap_or(HeaderValue::from_static("tidegate")),
        max_hops: edge.max_hops,
    };
    (compiled, diagnostics)
}

/// What is to be said where fewer connections can be kept than the conf asks for. The default asks for nothing.
pub(super) fn unkept(edge: &model::Edge, kept: usize) -> Option<Diagnostic> {
    let wanted = edge.max_connections;
    if wanted <= kept || wanted == model::Edge::default().max_connections {
        return None;
    }
    let origin = Origin::new("Conf", "", "", None).at("defaults.limits.connections");
    let message =
        format!("{wanted} client connections cannot be kept with the descriptors of this process: {kept} can");
    Some(
        Diagnostic::warning(Code::ConnectionsNotKept, &origin, message)
            .hint("raise the hard limit of descriptors (ulimit -Hn)"),
    )
}

fn claims(names: &model::IdentityHeaders) -> Arc<Claims> {
    match names.add.is_empty() && names.pass.is_empty() {
        true => Claims::known(),
        false => Arc::new(Claims::new(&names.add, &names.pass)),
    }
}

fn server_header(edge: &model::Edge) -> (Option<HeaderValue>, Vec<Diagnostic>) {
    let Some(text) = &edge.server_header else { return (None, Vec::new()) };
    match HeaderValue::from_str(text) {
        Ok(value) => (Some(value), Vec::new()),
        Err(_) => {
            let origin = Origin::new("Conf", "", "", None).at("serverHeader");
            let message = "the server header has a character that header values may not have";
            let diagnostic =
                Diagnostic::error(Code::InvalidHeaderValue, &origin, message).hint("`tidegate` is sent instead");
            (Some(HeaderValue::from_static("tidegate")), vec![diagnostic])
        }
    }
}
