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
    let (name, port) = match raw.bytes().position(|byte| byte == b':').map(|at| raw.split_at(at)) {
        Some((name, port)) => (name, Some(parse_port(port.get(1..)?)?)),
        None => (raw, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = match dns_name(name)? {
        Case::Mixed => Cow::Owned(name.to_ascii_lowercase()),
        Case::Lower => Cow::Borrowed(name),
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

/// How a name is spelled, if it is one: labels of 1 to 63 bytes that neither begin nor end with `-`. One look a byte.
fn dns_name(name: &str) -> Option<Case> {
    let mut case = Case::Lower;
    let (mut label, mut last) = (0_usize, b'.');
    for byte in name.bytes() {
        match byte {
            b'.' if label == 0 || last == b'-' => return None,
            b'.' => label = 0,
            b'-' if label == 0 => return None,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                case = Case::Mixed;
                label += 1;
            }
            _ => return None,
        }
        if label > 63 {
            return None;
        }
        last = byte;
    }
    (label > 0 && last != b'-' && name.len() <= 253).then_some(case)
}

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Mixed,
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
