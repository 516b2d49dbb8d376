//! Header fields: how many, which are dropped, and what says where the body ends.

use http::{HeaderMap, HeaderName, HeaderValue, header};

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

pub(super) fn check_framing(headers: &HeaderMap, present: &Present, has_both_lengths: bool) -> Result<(), Reason> {
    if has_both_lengths {
        return Err(Reason::BadRequest);
    }
    if !present.framing {
        return Ok(());
    }
    let is_length = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    one(headers, &header::CONTENT_LENGTH, is_length)?;
    one(headers, &header::TRANSFER_ENCODING, |value| value.as_bytes().eq_ignore_ascii_case(b"chunked"))?;
    one(headers, &header::EXPECT, |value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
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
    Ok(asks && is_websocket && head.can_upgrade && upgrades.next().is_none())
}

fn is_protected(token: &[u8], claims: &Claims) -> bool {
    HeaderName::from_bytes(token)
        .is_ok_and(|name| PROTECTED.contains(&name) || matches!(claims.class(&name), Class::Claim | Class::Loop))
}
