//! Edge settings of the model, ready for use.

use std::sync::Arc;

use http::HeaderValue;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::edge;
use crate::origin::Origin;
use crate::snapshot::edge::Edge;
use crate::snapshot::edge::claims::Claims;

/// Compiles the edge settings; what is not usable falls back to its default.
pub(super) fn compile(edge: &edge::Edge) -> (Edge, Vec<Diagnostic>) {
    let (server_header, diagnostics) = server_header(edge);
    let compiled = Edge {
        settings: edge.clone(),
        server_header,
        claims: claims(&edge.identity_headers),
        // The translator has seen to it that it can stand in a field.
        loop_id: HeaderValue::from_str(&edge.loop_id).unwrap_or(HeaderValue::from_static("tidegate")),
    };
    (compiled, diagnostics)
}

/// What is to be said where fewer connections can be kept than the conf asks for. The default asks for nothing.
pub(super) fn unkept(edge: &edge::Edge, kept: usize) -> Option<Diagnostic> {
    let wanted = edge.limits.connections;
    if wanted <= kept || wanted == edge::Edge::default().limits.connections {
        return None;
    }
    let origin = Origin::new("Conf", "", "", None).at("defaults.limits.connections");
    let message =
        format!("{wanted} client connections are configured, but this process has file descriptors for {kept}");
    Some(
        Diagnostic::warning(Code::ConnectionsNotKept, &origin, message)
            .hint("raise the hard limit of file descriptors (ulimit -Hn)"),
    )
}

fn claims(names: &edge::IdentityHeaders) -> Arc<Claims> {
    match names.add.is_empty() && names.pass.is_empty() {
        true => Claims::known(),
        false => Arc::new(Claims::new(&names.add, &names.pass)),
    }
}

fn server_header(edge: &edge::Edge) -> (Option<HeaderValue>, Vec<Diagnostic>) {
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
