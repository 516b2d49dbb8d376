//! What a request's head must be before anything else looks at it, and its canonical form.
//!
//! Pure: values in, values out. Attacks live where two parsers read differently, so there is one form of host,
//! path and fields, which routing, plugins and upstreams all get; what is doubtful is refused.
//! Source: RFC 9112 sections 3.2, 6.1 and 11.2, RFC 9110 sections 7.2, 7.6.1, 8.6 and 10.1.1, RFC 9113 section 8.3.1.

mod fields;
mod loops;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::host::{self, Host};
use crate::path::canonical_path;
use crate::reason::Reason;
use crate::snapshot::edge::Edge;
use crate::snapshot::edge::claims::Claims;

/// The longest registered method has 17 bytes (`UPDATEREDIRECTREF`).
const MAX_METHOD_BYTES: usize = 32;

/// A head as it arrived.
#[derive(Debug)]
pub struct Head<'a> {
    /// Method.
    pub method: &'a Method,
    /// Target as the engine read it.
    pub uri: &'a Uri,
    /// The request target's bytes.
    pub target: &'a [u8],
    /// Fields.
    pub headers: &'a HeaderMap,
    /// What is spoken: HTTP/1.1 only can be changed (`Upgrade`), HTTP/1.0 has neither `Expect` nor must it name a host.
    pub version: Version,
    /// Whether the head had both lengths, `Content-Length` and `Transfer-Encoding`.
    pub has_both_lengths: bool,
    /// Whether the peer's word about clients is believed.
    pub is_trusted: bool,
}

/// What heads are held to.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What they may measure.
    pub limits: Limits,
    /// Which fields claim something about the client.
    pub claims: &'a Claims,
    /// Our name in `CDN-Loop`.
    pub loop_id: &'a [u8],
    /// How often it may stand there.
    pub max_hops: u32,
}

/// What heads may measure.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all fields, with `: ` and line ends.
    pub header_bytes: usize,
    /// Fields.
    pub header_count: usize,
    /// Bytes of the target.
    pub uri_bytes: usize,
}

// === impl Rules ===

impl<'a> Rules<'a> {
    /// The rules of the edge.
    pub fn of(edge: &'a Edge) -> Self {
        Self {
            limits: Limits {
                header_bytes: edge.limits.headers.as_usize(),
                header_count: edge.limits.header_count,
                uri_bytes: edge.limits.uri.as_usize(),
            },
            claims: &edge.claims,
            loop_id: edge.loop_id.as_bytes(),
            max_hops: edge.limits.hops,
        }
    }
}

/// What must change for a head to be canonical.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Bytes of the host at the start of `Host`; 0: a client of HTTP/1.0 named none.
    pub host_len: usize,
    /// The port that the client named.
    pub port: Option<u16>,
    /// The new value of `Host`.
    pub host: Option<HeaderValue>,
    /// The new value of `Content-Length`.
    pub length: Option<HeaderValue>,
    /// The new target, in origin form.
    pub target: Option<Uri>,
    /// Fields to drop.
    pub drop: Vec<HeaderName>,
    /// Bytes of the head, its first line included.
    pub head_bytes: usize,
    /// Whether the target is `*`.
    pub is_asterisk: bool,
}

/// Checks a head and says what makes it canonical.
///
/// # Errors
/// The reason for which it is refused.
pub fn check(head: &Head<'_>, rules: &Rules<'_>) -> Result<Changes, Reason> {
    let mut present = fields::scan(head, rules)?;
    if head.target.len() > rules.limits.uri_bytes {
        return Err(Reason::UriTooLong);
    }
    let is_long = head.method.as_str().len() > MAX_METHOD_BYTES;
    if is_long || *head.method == Method::TRACE || *head.method == Method::CONNECT {
        return Err(Reason::BadMethod);
    }
    if present.has_loop && loops::hops(head.headers, rules.loop_id) >= rules.max_hops {
        return Err(Reason::LoopDetected);
    }
    fields::check_upgrade(head, &mut present, rules.claims)?;
    let length = fields::check_framing(head, &mut present)?;
    let head_bytes = present.bytes + head.target.len() + head.method.as_str().len();
    let mut changes = Changes { drop: present.drop, length, head_bytes, ..Changes::default() };
    check_host(head, &mut changes)?;
    check_target(head, &mut changes)?;
    Ok(changes)
}

fn check_host(head: &Head<'_>, changes: &mut Changes) -> Result<(), Reason> {
    let mut fields = head.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Reason::BadHost);
    }
    let authority = target_authority(head)?;
    let text = field.map(|value| value.to_str().map_err(|_| Reason::BadHost)).transpose()?;
    let Some(raw) = text.or(authority) else {
        // RFC 9112 section 3.2: only clients of HTTP/1.1 must name one.
        return if head.version == Version::HTTP_10 { Ok(()) } else { Err(Reason::BadHost) };
    };
    let host = host::parse(raw).ok_or(Reason::BadHost)?;
    if authority.is_some_and(|authority| host::parse(authority).as_ref() != Some(&host)) {
        return Err(Reason::BadHost);
    }
    changes.host_len = host.name.len();
    changes.port = host.port;
    let is_canonical =
        field.is_some() && raw.strip_prefix(&*host.name).is_some_and(|r| r.is_empty() || r.starts_with(':'));
    if !is_canonical {
        changes.host = Some(host_field(&host).ok_or(Reason::BadHost)?);
    }
    Ok(())
}

/// The authority of `:authority` or of a target in absolute form, which the engine leaves out of the URI.
fn target_authority<'a>(head: &Head<'a>) -> Result<Option<&'a str>, Reason> {
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    if matches!(head.target.first(), Some(b'/' | b'*')) {
        return Ok(None);
    }
    let target = std::str::from_utf8(head.target).map_err(|_| Reason::BadPath)?;
    let (scheme, rest) = target.split_once("://").ok_or(Reason::BadPath)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Reason::BadPath);
    }
    Ok(rest.split(['/', '?', '#']).next())
}

fn host_field(host: &Host<'_>) -> Option<HeaderValue> {
    match host.port {
        None => HeaderValue::from_str(&host.name).ok(),
        Some(port) => HeaderValue::from_str(&format!("{}:{port}", host.name)).ok(),
    }
}

fn check_target(head: &Head<'_>, changes: &mut Changes) -> Result<(), Reason> {
    if head.target == b"*" {
        changes.is_asterisk = *head.method == Method::OPTIONS;
        return if changes.is_asterisk { Ok(()) } else { Err(Reason::BadPath) };
    }
    // The parser keeps what is no UTF-8 apart from the URI; nobody can say what such a path means.
    if !head.target.is_ascii() && std::str::from_utf8(head.target).is_err() {
        return Err(Reason::BadPath);
    }
    let raw = match head.uri.path() {
        "" => "/",
        path => path,
    };
    let path = canonical_path(raw).map_err(|_| Reason::BadPath)?;
    if !is_target(head.target, &path, head.uri.query()) || head.uri.authority().is_some() {
        changes.target = Some(origin_form(&path, head.uri.query()).ok_or(Reason::BadPath)?);
    }
    Ok(())
}

fn is_target(target: &[u8], path: &str, query: Option<&str>) -> bool {
    match (target.strip_prefix(path.as_bytes()), query) {
        (Some(rest), None) => rest.is_empty(),
        (Some(rest), Some(query)) => rest.strip_prefix(b"?") == Some(query.as_bytes()),
        (None, _) => false,
    }
}

fn origin_form(path: &str, query: Option<&str>) -> Option<Uri> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).ok().map(Uri::from)
}

#[cfg(test)]
mod tests;
