//! What the conf says about the side of clients: trusted proxies, limits, headers of tidegate's own.

use std::sync::Arc;

use super::invalid::invalid_value;
use crate::diagnostic::Diagnostic;
use crate::edge::{Edge, Headers};
use crate::origin::Origin;
use crate::resources::conf::{Conf, Defaults};

/// Reads them; a value that is not taken is told, and the default stays.
pub(crate) fn edge(conf: &Conf, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Edge {
    let (defaults, default) = (&conf.defaults, Edge::default());
    let mut limits = defaults.limits;
    let mut tell = |field: &str, message: String| {
        diagnostics.push(invalid_value(&origin.at(format!("defaults.{field}")), message))
    };
    limits.mend().into_iter().for_each(|(field, message)| tell(&format!("limits.{field}"), message));
    let server_header = match defaults.server_header.as_deref() {
        None => default.server_header,
        Some("off") => None,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) => Some(text.into()),
        Some(text) => {
            tell("serverHeader", format!("`{}` cannot stand in a header", text.escape_default()));
            default.server_header
        }
    };
    let loop_id = match defaults.loop_id.as_deref() {
        None => default.loop_id,
        Some(id) if is_loop_id(id) => Arc::from(id),
        Some(id) => {
            let id = id.escape_default();
            tell("loopId", format!("`{id}` is neither a token nor a host with or without a port"));
            default.loop_id
        }
    };
    Edge {
        trusted_proxies: conf.trusted_proxies.clone(),
        server_header,
        headers: headers(defaults),
        identity_headers: defaults.identity_headers.clone(),
        loop_id,
        limits,
    }
}

fn headers(defaults: &Defaults) -> Headers {
    let default = Headers::default();
    Headers {
        x_forwarded: defaults.x_forwarded_headers.unwrap_or(default.x_forwarded),
        forwarded: defaults.forwarded_header.unwrap_or(default.forwarded),
        request_id: defaults.request_id_header.unwrap_or(default.request_id),
        preserve_case: defaults.preserve_header_case.unwrap_or(default.preserve_case),
    }
}

/// Whether it can stand in `CDN-Loop` (RFC 8586 section 2): a token, or a host with or without a port.
fn is_loop_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_allowed)
}
