//! One canonical form of the host that a request is for.
//!
//! Source: RFC 9110 section 7.2, RFC 3986 section 3.2.2, RFC 1123 section 2.1.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host as requests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// Lower case, without closing dot; addresses of IPv6 in brackets.
    pub(super) name: Cow<'a, str>,
    /// The port, when one is written.
    pub(super) port: Option<u16>,
}

/// Reads the value of `Host` or `:authority`; `None`: it is no host.
pub(super) fn parse(raw: &str) -> Option<Host<'_>> {
    if raw.starts_with('[') {
        return parse_ipv6(raw);
    }
    let (name, port) = match raw.split_once(':') {
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (raw, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_dns_name(name) {
        return None;
    }
    let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    Some(Host { name, port })
}

fn parse_ipv6(raw: &str) -> Option<Host<'_>> {
    let (address, rest) = raw.strip_prefix('[')?.split_once(']')?;
    let port = match rest {
        "" => None,
        rest => Some(parse_port(rest.strip_prefix(':')?)?),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let canonical = format!("[{address}]");
    let name = match raw.get(..canonical.len()) {
        Some(start) if start == canonical => Cow::Borrowed(start),
        _ => Cow::Owned(canonical),
    };
    Some(Host { name, port })
}

fn parse_port(text: &str) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port > 0)
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(raw: &str) -> Option<(String, Option<u16>)> {
        parse(raw).map(|host| (host.name.into_owned(), host.port))
    }

    #[test]
    fn case_port_and_closing_dot_do_not_matter() {
        assert_eq!(canonical("a.Example."), Some(("a.example".into(), None)));
        assert_eq!(canonical("A.example.:8080"), Some(("a.example".into(), Some(8080))));
        assert_eq!(canonical("10.0.0.1:80"), Some(("10.0.0.1".into(), Some(80))));
        assert_eq!(canonical("a_b.example"), Some(("a_b.example".into(), None)));
    }

    #[test]
    fn addresses_of_ipv6_have_one_form() {
        assert_eq!(canonical("[::1]"), Some(("[::1]".into(), None)));
        assert_eq!(canonical("[0:0::1]:443"), Some(("[::1]".into(), Some(443))));
        assert_eq!(canonical("[2001:DB8::A]"), Some(("[2001:db8::a]".into(), None)));
    }

    #[test]
    fn refuses_what_is_no_host() {
        let long = "a".repeat(64);
        let bad = [
            "",
            ".",
            "a..b",
            "a,b",
            "a b",
            "a/b",
            "a@b",
            "[::1",
            "[::1]x",
            "::1",
            "a:b",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:80:80",
            "-a",
            "a-",
            "é",
            "a%2e",
            "[fe80::1%25eth0]",
            "*",
            "a..",
            &long,
        ];
        for raw in bad {
            assert_eq!(canonical(raw), None, "{raw}");
        }
    }
}
