//! The side of clients: what holds for every request, whichever route it takes.
//!
//! A leaf module. The conf writes [`Limits`] and [`IdentityHeaders`], the model has all of it, and the snapshot has it
//! with the parts compiled that a request would have to read otherwise.

mod limits;

use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use limits::Limits;

/// Settings of the edge: trust, limits and headers of tidegate's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Value of `Server` when the upstream sends none; `None`: none is added.
    pub server_header: Option<Arc<str>>,
    /// Which headers are written, and how.
    pub headers: Headers,
    /// Which fields claim something about the client, besides and without the known ones.
    pub identity_headers: IdentityHeaders,
    /// The name in `CDN-Loop` (RFC 8586), a token or a host with or without a port.
    pub loop_id: Arc<str>,
    /// Limits on clients.
    pub limits: Limits,
}

/// A value that may not be: the field, as it stands under `defaults`, and why.
type Fault = (String, String);

/// Request headers about the client for upstreams, and the spelling of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `X-Real-IP`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `X-Request-ID`.
    pub request_id: bool,
    /// Whether HTTP/1 peers get names as the other side spelled them, not in lower case.
    pub preserve_case: bool,
}

/// Request headers by which clients could claim who or where they are. From clients that are not in `trustedProxies`
/// they are removed: those that widely used servers and applications believe (see SECURITY.md), and these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct IdentityHeaders {
    /// Header names besides the known ones: `X-Corp-User`, or `X-Corp-*` for a prefix.
    pub add: Vec<Arc<str>>,
    /// Header names that any client may send although they are known ones, written in the same way.
    pub pass: Vec<Arc<str>>,
}

// === impl Edge ===

impl Default for Edge {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            server_header: Some("tidegate".into()),
            headers: Headers::default(),
            identity_headers: IdentityHeaders::default(),
            loop_id: "tidegate".into(),
            limits: Limits::default(),
        }
    }
}

impl Edge {
    /// Puts the default in place of every value that may not be, and says which and why.
    pub fn mend(&mut self) -> Vec<Fault> {
        let default = Self::default();
        let limits = self.limits.mend().into_iter();
        let mut faults: Vec<Fault> = limits.map(|(field, why)| (format!("limits.{field}"), why)).collect();
        if let Some(text) = self.server_header.as_deref().filter(|text| !is_printable(text)) {
            faults.push(("serverHeader".to_owned(), format!("`{}` cannot stand in a header", text.escape_default())));
            self.server_header = default.server_header;
        }
        if !is_loop_id(&self.loop_id) {
            let id = self.loop_id.escape_default();
            faults.push(("loopId".to_owned(), format!("`{id}` is neither a token nor a host with or without a port")));
            self.loop_id = default.loop_id;
        }
        faults
    }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

/// Whether it can stand in `CDN-Loop` (RFC 8586 section 2): a token, or a host with or without a port.
fn is_loop_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_allowed)
}

// === impl Headers ===

impl Default for Headers {
    fn default() -> Self {
        Self { x_forwarded: true, forwarded: false, request_id: true, preserve_case: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_is_the_default_again_and_told() {
        assert_eq!(Edge::default().mend(), Vec::new(), "what holds by default may be");
        let limits = Limits { hops: 0, ..Limits::default() };
        let text = |text: &str| -> Arc<str> { text.into() };
        let mut edge = Edge { server_header: Some(text("a\nb")), loop_id: text("a b"), limits, ..Edge::default() };
        let faults = edge.mend();
        assert_eq!(faults.iter().map(|it| &*it.0).collect::<Vec<_>>(), ["limits.hops", "serverHeader", "loopId"]);
        assert_eq!(edge, Edge::default());
        assert_eq!(Edge { server_header: None, ..Edge::default() }.mend(), Vec::new(), "none may be added");
    }
}
