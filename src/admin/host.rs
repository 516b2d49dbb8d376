//! Which Host a request to the admin API may have.

use std::net::IpAddr;

use http::Request;
use http::header::HOST;
use http::uri::Authority;

/// Whether the request was made for a loopback address, `localhost`, or the address that is bound.
///
/// When every address is bound, each literal address is one of them: rebinding needs a name.
pub(super) fn is_allowed(request: &Request<()>, bound: IpAddr) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    is_own(&host, bound) && request.uri().authority().is_none_or(|target| is_own(target, bound))
}

fn is_own(authority: &Authority, bound: IpAddr) -> bool {
    let host = authority.host();
    // User information is never part of a Host.
    if authority.as_str().contains('@') {
        return false;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == bound || bound.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(target: &str, hosts: &[&str], bound: &str) -> bool {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        is_allowed(&request.body(()).unwrap(), bound.parse().unwrap())
    }

    #[test]
    fn own_addresses_and_localhost_pass() {
        for host in ["localhost", "LOCALHOST:10255", "127.0.0.1:10255", "127.9.9.9", "[::1]:10255", "10.0.0.7:1"] {
            assert!(allowed("/", &[host], "10.0.0.7"), "{host}");
        }
        assert!(allowed("/", &["192.0.2.1"], "0.0.0.0"), "an address when all are bound");
    }

    #[test]
    fn names_and_foreign_addresses_are_refused() {
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "a@localhost"]
        {
            assert!(!allowed("/", &[host], "127.0.0.1"), "{host}");
        }
        assert!(!allowed("/", &["evil.example"], "0.0.0.0"), "a name when all are bound");
        assert!(!allowed("/", &[], "127.0.0.1"), "no Host");
        assert!(!allowed("/", &["localhost", "evil.example"], "127.0.0.1"), "two Hosts");
        assert!(!allowed("http://evil.example/", &["localhost"], "127.0.0.1"), "absolute form");
    }
}
