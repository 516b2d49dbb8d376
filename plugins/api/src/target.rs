//! What an endpoint is asked for, where a plugin makes it something else than the client asked for.
//!
//! The checks are those that the proxy's guard makes of clients, so that a plugin that builds a path of what a client
//! sent cannot be made to say something that two readers take differently.

use http::Method;

/// Longest path, query or host that a plugin may set.
const MAX_BYTES: usize = 8 * 1024;

/// What plugins have set of a request's target; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Method.
    pub method: Option<Method>,
    /// Host, with a port where it has one.
    pub host: Option<Box<str>>,
    /// Path.
    pub path: Option<Box<str>>,
    /// Query without `?`; `Some(None)`: none.
    pub query: Option<Option<Box<str>>>,
}

/// Why a target cannot be set. The request then ends with 500, unless the plugin sets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Such a path is none, or readers could take it differently: it must begin with one `/` and have no dot segments,
    /// no encoded slash, backslash or NUL, nothing but URI characters, and at most 8 KiB.
    #[error("the path is none that every reader takes alike")]
    Path,
    /// A query has URI characters only, and at most 8 KiB.
    #[error("the query has bytes that no query has")]
    Query,
    /// A host is a name or an address, with a port or without.
    #[error("the host is none")]
    Host,
    /// HEAD cannot become another method, nor another one HEAD, because the answer's framing hangs on it; CONNECT and
    /// TRACE are never sent.
    #[error("the method cannot be changed to that one")]
    Method,
}

/// Whether readers agree on a path.
pub(crate) fn is_path(path: &str) -> bool {
    let is_absolute = path.starts_with('/') && !path.starts_with("//");
    is_absolute && path.len() <= MAX_BYTES && is_uri(path, b"/") && path.split('/').all(is_segment)
}

/// Whether a query has the characters of one.
pub(crate) fn is_query(query: &str) -> bool {
    query.len() <= MAX_BYTES && is_uri(query, b"/?")
}

/// Whether it is a host, with a port or without.
pub(crate) fn is_host(host: &str) -> bool {
    let is_short = !host.is_empty() && host.len() <= 255 + ":65535".len();
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let is_v6 = |inner: &str| inner.parse::<std::net::Ipv6Addr>().is_ok();
    let is_address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_v6);
    let port = host.strip_prefix(name);
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_short && (is_name && !name.is_empty() || is_address) && port.is_some_and(|port| port.is_empty() || is_port(port))
}

/// Whether one method may become another.
pub(crate) fn may_become(from: &Method, to: &Method) -> bool {
    let is_head = |method: &Method| *method == Method::HEAD;
    let is_sent = !matches!(*to, Method::CONNECT | Method::TRACE) && to.as_str().len() <= 32;
    is_sent && is_head(from) == is_head(to)
}

/// No dot segment, in any spelling, and nothing encoded that some readers decode before they split.
fn is_segment(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let name = lower.split(';').next().unwrap_or_default().replace("%2e", ".");
    let has_traps = ["%2f", "%5c", "%00"].iter().any(|trap| lower.contains(trap));
    // `%3B` is a `;` to those that decode first.
    let name = name.split("%3b").next().unwrap_or_default();
    !has_traps && !matches!(name, "." | "..")
}

/// Whether it is made of the characters of RFC 3986 (pchar), these besides, and whole triplets.
fn is_uri(text: &str, also: &[u8]) -> bool {
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (byte, after) if is_pchar(*byte) || also.contains(byte) => after,
            _ => return false,
        };
    }
    true
}

fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_readers_take_differently_are_refused() {
        for good in ["/", "/a/b", "/a//b", "/p%C3%A4th;v=1/@x:y", "/...", "/a.b/..c", "/%25"] {
            assert!(is_path(good), "{good}");
        }
        let bad = [
            "",
            "a",
            "//a",
            "/..",
            "/a/../b",
            "/a/.",
            "/%2e%2E/x",
            "/.%2e",
            "/..;x/y",
            "/..%3bx",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/a b",
            "/a?b",
            "/a#b",
            "/\u{e4}",
            "/a\r\nX: y",
            "/a\t",
            "/%",
            "/%4",
            "/%zz",
            "/a HTTP/1.1",
        ];
        for bad in bad {
            assert!(!is_path(bad), "{bad:?}");
        }
        assert!(!is_path(&format!("/{}", "a".repeat(MAX_BYTES))));
    }

    #[test]
    fn queries_have_their_characters_only() {
        assert!(is_query("") && is_query("a=b&c=/d?e%20f"));
        assert!(["a b", "a#b", "a\r\n", "%", "\u{e4}", "a\"b", "<"].into_iter().all(|bad| !is_query(bad)));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["a.test", "a.test:8080", "10.0.0.1", "[::1]", "[::1]:80", "a_b"] {
            assert!(is_host(good), "{good}");
        }
        let bad = ["", "a b", "u@a", "a/b", "a:b", "a:99999", "a:", ":80", "[::1", "[zz]", "::1", "a\r\nb", "a,b", "*"];
        for bad in bad {
            assert!(!is_host(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_framing_of_an_answer_stays() {
        assert!(may_become(&Method::GET, &Method::POST) && may_become(&Method::HEAD, &Method::HEAD));
        for (from, to) in [(Method::GET, Method::HEAD), (Method::HEAD, Method::GET), (Method::GET, Method::CONNECT)] {
            assert!(!may_become(&from, &to), "{from} {to}");
        }
    }
}
