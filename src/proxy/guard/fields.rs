//! Header fields: how many, which are dropped, and what says where the body ends.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::super::length::{self, Told};
use super::{Head, Rules};
use crate::reason::Reason;
use crate::snapshot::edge::claims::{Claims, Class};

/// What a client may not take away from upstreams by naming it in `Connection`.
const PROTECTED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::ORIGIN,
    header::RANGE,
    header::TRANSFER_ENCODING,
];

/// `Connection` may nominate this many fields; the engine refuses more.
const MAX_NOMINATIONS: usize = 9;

/// What a head measures, and what one look at each of its fields found; most have nothing that needs a closer one.
#[derive(Default)]
pub(super) struct Present {
    pub(super) bytes: usize,
    /// Fields that nobody behind may see.
    pub(super) drop: Vec<HeaderName>,
    pub(super) has_loop: bool,
    connection: bool,
    upgrade: bool,
    framing: bool,
}

/// Looks at each field once.
///
/// # Errors
/// The head is too large.
pub(super) fn scan(head: &Head<'_>, rules: &Rules<'_>) -> Result<Present, Reason> {
    let mut present = Present::default();
    for (name, value) in head.headers {
        // Each field has `: ` and a line end besides its name and value.
        present.bytes += name.as_str().len() + value.len() + 4;
        match *name {
            header::CONNECTION => present.connection = true,
            header::UPGRADE => present.upgrade = true,
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT => present.framing = true,
            _ => match rules.claims.class(name) {
                Class::Plain => {}
                Class::Loop => present.has_loop = true,
                Class::Claim if head.is_trusted => {}
                // Fields of one name come one after another.
                Class::Claim | Class::Never if present.drop.last() == Some(name) => {}
                Class::Claim | Class::Never => present.drop.push(name.clone()),
            },
        }
    }
    match present.bytes > rules.limits.header_bytes || head.headers.len() > rules.limits.header_count {
        true => Err(Reason::HeadersTooLarge),
        false => Ok(present),
    }
}

/// Checks what says where the body ends, and when it comes; gives the length that takes the place of several.
pub(super) fn check_framing(head: &Head<'_>, present: &mut Present) -> Result<Option<HeaderValue>, Reason> {
    if head.has_both_lengths {
        return Err(Reason::BadRequest);
    }
    if !present.framing {
        return Ok(None);
    }
    let headers = head.headers;
    one(headers, &header::TRANSFER_ENCODING, |value| value.as_bytes().eq_ignore_ascii_case(b"chunked"))?;
    if head.version != Version::HTTP_10 {
        one(headers, &header::EXPECT, |value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))?;
    } else if headers.contains_key(header::EXPECT) {
        // Nobody who speaks HTTP/1.0 waits for 100 (RFC 9110 section 10.1.1).
        present.drop.push(header::EXPECT);
    }
    match length::told(headers) {
        Told::Never | Told::Once(_) => Ok(None),
        Told::Again(length) => Ok(Some(length)),
        Told::Badly => Err(Reason::BadRequest),
    }
}

/// At most one field of the name, and a good one.
fn one(headers: &HeaderMap, name: &HeaderName, is_good: impl Fn(&HeaderValue) -> bool) -> Result<(), Reason> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if is_good(value) => Ok(()),
        _ => Err(Reason::BadRequest),
    }
}

/// Checks what `Connection` nominates, and drops `Upgrade` where nothing is upgraded.
pub(super) fn check_upgrade(head: &Head<'_>, present: &mut Present, claims: &Claims) -> Result<(), Reason> {
    let is_upgrade = present.connection && is_upgrade(head, claims)?;
    if present.upgrade && !is_upgrade {
        present.drop.push(header::UPGRADE);
    }
    Ok(())
}

/// Whether the request asks for a WebSocket as RFC 6455 section 4.1 has it; checks what `Connection` nominates.
fn is_upgrade(head: &Head<'_>, claims: &Claims) -> Result<bool, Reason> {
    let mut asks = false;
    let mut count = 0;
    let values = head.headers.get_all(header::CONNECTION).iter();
    for token in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        count += usize::from(!token.is_empty());
        asks |= token.eq_ignore_ascii_case(b"upgrade");
        if count > MAX_NOMINATIONS || is_protected(token, claims) {
            return Err(Reason::BadRequest);
        }
    }
    let mut upgrades = head.headers.get_all(header::UPGRADE).iter();
    let is_websocket = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    Ok(asks && is_websocket && head.version == Version::HTTP_11 && upgrades.next().is_none())
}

fn is_protected(token: &[u8], claims: &Claims) -> bool {
    HeaderName::from_bytes(token)
        .is_ok_and(|name| PROTECTED.contains(&name) || matches!(claims.class(&name), Class::Claim | Class::Loop))
}
