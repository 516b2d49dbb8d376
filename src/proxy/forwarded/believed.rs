//! What trusted proxies say of the client.
//!
//! Every field is read as a list, all its lines together and in any spelling. Where its members contradict one another,
//! or one cannot be read, none is believed: whichever of them a client wrote, it gains nothing.
//! Source: RFC 9110 section 5.6, RFC 7239 section 4.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{FOR, HOST, PORT, PROTO, REQUEST_ID};
use crate::proxy::host;

/// What stands for a line that is no text.
const UNREADABLE: &str = "?";

/// The client: the rightmost address of `X-Forwarded-For` that is no trusted proxy; else the peer.
pub fn client(headers: &HeaderMap, peer: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    for member in members(headers, &FOR).rev() {
        // What nobody can read ends the chain: what stands before it is nobody's word.
        let Some(address) = address(member) else { return client };
        client = address;
        if !trusts(address) {
            return client;
        }
    }
    client
}

fn address(text: &str) -> Option<IpAddr> {
    let address: Option<IpAddr> = text.parse().ok();
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

/// The scheme that a trusted proxy saw; else that of the connection.
pub fn scheme(headers: &HeaderMap, is_tls: bool) -> &'static str {
    let read = |text: &str| match text {
        text if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => Some("https"),
        text if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => Some("http"),
        _ => None,
    };
    let seen = if is_tls { "https" } else { "http" };
    agreed(members(headers, &PROTO), read).map_or(seen, |(_, scheme)| scheme)
}

/// The host that the client named to a trusted proxy, as that one writes it.
pub(super) fn host(headers: &HeaderMap) -> Option<HeaderValue> {
    let (text, _) = agreed(members(headers, &HOST), host::parse)?;
    // The usual one line is taken as it is.
    let line = headers.get(&HOST).filter(|line| line.as_bytes() == text.as_bytes());
    line.cloned().or_else(|| HeaderValue::from_str(text).ok())
}

/// The port that the client came to at a trusted proxy.
pub(super) fn port(headers: &HeaderMap) -> Option<u16> {
    let read = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port: &u16| is_number && *port > 0)
    };
    agreed(members(headers, &PORT), read).map(|(_, port)| port)
}

/// The id that a trusted proxy gave, when it is sane: 1 to 128 visible characters.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(REQUEST_ID).iter();
    let first = lines.next()?;
    let id = first.to_str().ok()?;
    let is_sane = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    (is_sane && lines.all(|line| line == first)).then_some(id)
}

/// Whether `Forwarded` can be read, each line by itself.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.get_all(header::FORWARDED).iter().all(|line| line.to_str().is_ok_and(|text| is_elements(text.as_bytes())))
}

/// The members of a list field, without empty ones and without quotes around them.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    let all = lines.flat_map(|line| line.to_str().unwrap_or(UNREADABLE).split(','));
    all.map(|member| unquoted(member.trim_matches([' ', '\t']))).filter(|member| !member.is_empty())
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.filter(|inner| !inner.contains(['"', '\\'])).unwrap_or(text)
}

/// The first member and what it says, where all say the same.
fn agreed<'a, T: PartialEq>(
    mut members: impl Iterator<Item = &'a str>,
    read: impl Fn(&'a str) -> Option<T>,
) -> Option<(&'a str, T)> {
    let text = members.next()?;
    let value = read(text)?;
    members.all(|other| read(other).as_ref() == Some(&value)).then_some((text, value))
}

// === RFC 7239 section 4 ===

/// Whether this is a list of elements; whitespace around signs is let through.
fn is_elements(list: &[u8]) -> bool {
    let mut rest = list;
    // Names of the element's parameters so far: the registered ones, which no element has twice.
    let mut seen = [false; NAMES.len()];
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return true,
            [b',', after @ ..] => (rest, seen) = (after, [false; NAMES.len()]),
            [b';', after @ ..] => rest = after,
            pair => match after_pair(pair, &mut seen) {
                Some(after) => rest = after,
                None => return false,
            },
        }
    }
}

const NAMES: [&[u8]; 4] = [b"for", b"by", b"host", b"proto"];

/// What follows a parameter; `None`: it is none, or one that the element has already.
fn after_pair<'a>(text: &'a [u8], seen: &mut [bool; NAMES.len()]) -> Option<&'a [u8]> {
    let (name, rest) = token(text)?;
    if let Some(slot) = NAMES.iter().zip(seen).find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, slot)| slot)
        && std::mem::replace(slot, true)
    {
        return None;
    }
    let rest = rest.strip_prefix(b"=")?;
    let rest = match rest {
        [b'"', ..] => rest.split_at_checked(quoted_len(rest)?)?.1,
        _ => token(rest)?.1,
    };
    let rest = rest.trim_ascii_start();
    matches!(rest, [] | [b',' | b';', ..]).then_some(rest)
}

/// The token that begins here (RFC 9110 section 5.6.2), and what follows it.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let length = text.iter().take_while(|byte| is_sign(**byte)).count();
    text.split_at_checked(length).filter(|(token, _)| !token.is_empty())
}

/// Bytes of the quoted string that begins here, its quotes included; `None`: it does not end.
pub(in crate::proxy) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}
