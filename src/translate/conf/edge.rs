//! What the conf says about the side of clients: trusted proxies, limits, headers of tidegate's own.

use super::invalid::invalid_value;
use crate::diagnostic::Diagnostic;
use crate::model::{Edge, IdentityHeaders};
use crate::origin::Origin;
use crate::quantity;
use crate::resources::conf::{Conf, IdentityHeadersSpec, LimitsSpec};

/// Windows of HTTP/2 streams that may be asked for: no smaller than a frame, and a connection's stays a window.
const WINDOWS: std::ops::RangeInclusive<u32> = 16 << 10..=16 << 20;
/// What the engine reads of an answer at once.
const LEAST_STALLED: u64 = 64 * 1024;
/// With more of it kept from everybody, hardly anybody could be served.
const MAX_RESERVE: usize = 90;

/// Reads them; a value that is not taken is told, and the default stays.
pub(crate) fn edge(conf: &Conf, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Edge {
    let mut edge = Edge { trusted_proxies: conf.trusted_proxies.clone(), ..Edge::default() };
    match conf.defaults.server_header.as_deref() {
        None => {}
        Some("off") => edge.server_header = None,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) => {
            edge.server_header = Some(text.into());
        }
        Some(text) => {
            let message = format!("`{}` cannot stand in a header", text.escape_default());
            diagnostics.push(invalid_value(&origin.at("defaults.serverHeader"), message));
        }
    }
    let (defaults, forwarded) = (&conf.defaults, &mut edge.forwarded);
    forwarded.rfc7239 = defaults.forwarded_header.unwrap_or(forwarded.rfc7239);
    forwarded.x_forwarded = defaults.x_forwarded_headers.unwrap_or(forwarded.x_forwarded);
    forwarded.request_id = defaults.request_id_header.unwrap_or(forwarded.request_id);
    edge.preserve_header_case = defaults.preserve_header_case.unwrap_or(edge.preserve_header_case);
    let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
    let IdentityHeadersSpec { add, pass } = &defaults.identity_headers;
    edge.identity_headers = IdentityHeaders { add: names(add), pass: names(pass) };
    match defaults.loop_id.as_deref() {
        None => {}
        Some(id) if is_loop_id(id) => edge.loop_id = id.into(),
        Some(id) => {
            let message = format!("`{}` is neither a token nor a host with or without a port", id.escape_default());
            diagnostics.push(invalid_value(&origin.at("defaults.loopId"), message));
        }
    }
    Limiter { origin, diagnostics }.apply(&conf.defaults.limits, &mut edge);
    edge
}

/// Whether it can stand in `CDN-Loop` (RFC 8586 section 2): a token, or a host with or without a port.
fn is_loop_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_allowed)
}

struct Limiter<'a> {
    origin: &'a Origin,
    diagnostics: &'a mut Vec<Diagnostic>,
}

// === impl Limiter ===

impl Limiter<'_> {
    fn apply(&mut self, spec: &LimitsSpec, edge: &mut Edge) {
        let bytes = |size: quantity::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        self.set("headers", spec.headers.map(bytes), 0, &mut edge.max_header_bytes);
        self.set("headerCount", spec.header_count, 0, &mut edge.max_header_count);
        self.set("uri", spec.uri.map(bytes), 0, &mut edge.max_uri_bytes);
        self.set("connections", spec.connections, 0, &mut edge.max_connections);
        edge.max_source_connections = match spec.connections_per_source {
            Some(connections) => (connections > 0).then_some(connections),
            None => edge.max_source_connections,
        };
        edge.memory = spec.memory.map(|size| size.0).or(edge.memory);
        self.stalled(spec.h2_stalled, edge);
        self.set("requests", spec.requests, 0, &mut edge.max_requests);
        self.reserve(spec.reserve, edge);
        self.set("h2Streams", spec.h2_streams, 0, &mut edge.h2_max_streams);
        self.set("hops", spec.hops, 0, &mut edge.max_hops);
        self.set_window(spec.h2_window, &mut edge.h2_window);
        let zero = std::time::Duration::ZERO;
        self.set("headerTimeout", spec.header_timeout.map(|it| it.0), zero, &mut edge.header_timeout);
        self.set("bodyTimeout", spec.body_timeout.map(|it| it.0), zero, &mut edge.body_timeout);
        self.set("keepAliveTimeout", spec.keep_alive_timeout.map(|it| it.0), zero, &mut edge.keep_alive_timeout);
        self.set("sendTimeout", spec.send_timeout.map(|it| it.0), zero, &mut edge.send_timeout);
        let mut requests = 0;
        self.set("keepAliveRequests", spec.keep_alive_requests, 0, &mut requests);
        edge.keep_alive_requests = (requests > 0).then_some(requests);
    }

    fn reserve(&mut self, percent: Option<usize>, edge: &mut Edge) {
        match percent {
            Some(percent) if percent > MAX_RESERVE => {
                let message = format!("a reserve is at most {MAX_RESERVE} percent");
                self.diagnostics.push(invalid_value(&self.origin.at("defaults.limits.reserve"), message));
            }
            Some(percent) => edge.reserve = percent,
            None => {}
        }
    }

    fn stalled(&mut self, value: Option<quantity::ByteSize>, edge: &mut Edge) {
        match value {
            Some(size) if size.0 < LEAST_STALLED => {
                let origin = self.origin.at("defaults.limits.h2Stalled");
                let message = format!("`{size}` is less than 64KiB, which one answer may take");
                self.diagnostics.push(invalid_value(&origin, message));
            }
            Some(size) => edge.h2_stalled = size.0,
            None => {}
        }
    }

    fn set_window(&mut self, value: Option<quantity::ByteSize>, slot: &mut u32) {
        let Some(size) = value else { return };
        match u32::try_from(size.0) {
            Ok(bytes) if WINDOWS.contains(&bytes) => *slot = bytes,
            _ => {
                let origin = self.origin.at("defaults.limits.h2Window");
                let message = format!("`{size}` is not a window from 16KiB to 16MiB");
                self.diagnostics.push(invalid_value(&origin, message));
            }
        }
    }

    /// A limit of nothing would refuse everybody.
    fn set<T: PartialEq>(&mut self, name: &str, value: Option<T>, zero: T, slot: &mut T) {
        match value {
            Some(value) if value == zero => {
                let origin = self.origin.at(format!("defaults.limits.{name}"));
                self.diagnostics.push(invalid_value(&origin, "a limit of 0 would refuse every request"));
            }
            Some(value) => *slot = value,
            None => {}
        }
    }
}
