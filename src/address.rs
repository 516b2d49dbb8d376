//! Which addresses may be endpoints, where somebody else than the operator names them.
//!
//! A cluster's objects and answers of DNS are written by whoever may write them: an address that leads to this machine,
//! to its link or to the process's own sockets would let them reach what nobody else can. Kubernetes refuses most of
//! these in EndpointSlices itself (`ValidateNonSpecialIP`), but not for Endpoints of all versions, nor in names.
//! A leaf module: it knows nothing of sources, models or requests.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

/// Decides which addresses may be endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressRules {
    /// Networks whose addresses may be endpoints whatever they are.
    pub allowed: Vec<IpNet>,
    /// Where the process itself listens.
    #[serde(skip)]
    pub own: OwnSockets,
}

/// Where the process itself listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSockets {
    /// Addresses and ports; an unspecified address means every local one.
    pub sockets: Vec<SocketAddr>,
    /// Addresses of this machine (of the Pod, in a cluster), as far as they are known.
    pub local: BTreeSet<IpAddr>,
}

/// Why an address is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// `0.0.0.0/8`, `::`: the system takes them as its own.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`: metadata of clouds among others.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// A socket of this process.
    Own,
}

/// An address that is refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refused {
    /// Address and port.
    pub address: SocketAddr,
    /// Why.
    pub why: Refusal,
}

/// The address that a name stands for without DNS: an address as text, and `localhost` with all names below it
/// (RFC 6761, 6.3), which is IPv4's, since servers that listen on one of the two choose that.
pub(crate) fn literal(name: &str) -> Option<IpAddr> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let last = bare.rsplit('.').next().unwrap_or(bare);
    if last.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    as_address(bare)
}

/// The address that a text is.
pub(crate) fn as_address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

// === impl AddressRules ===

impl AddressRules {
    /// Why an address is no endpoint, unless it may be one.
    pub fn refusal(&self, address: SocketAddr) -> Option<Refused> {
        let refused = |why| Some(Refused { address, why });
        if self.own.has(address) && !self.allowed.iter().any(|net| is_host(net) && covers(net, address.ip())) {
            return refused(Refusal::Own);
        }
        self.kind_refusal(address.ip()).and_then(refused)
    }

    /// The same, whoever listens there.
    pub fn kind_refusal(&self, ip: IpAddr) -> Option<Refusal> {
        kind(ip).filter(|_| !self.allowed.iter().any(|net| covers(net, ip)))
    }
}

/// Whether it names one address. A whole network that is let in does not let the process's own sockets in.
fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn covers(net: &IpNet, ip: IpAddr) -> bool {
    net.contains(&ip) || net.contains(&ip.to_canonical())
}

fn kind(ip: IpAddr) -> Option<Refusal> {
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Option<Refusal> {
    match ip {
        // RFC 1122, 3.2.1.3: "this host on this network".
        _ if ip.octets().first() == Some(&0) => Some(Refusal::Unspecified),
        _ if ip.is_loopback() => Some(Refusal::Loopback),
        _ if ip.is_link_local() => Some(Refusal::LinkLocal),
        _ if ip.is_multicast() => Some(Refusal::Multicast),
        _ if ip.is_broadcast() => Some(Refusal::Broadcast),
        _ => None,
    }
}

fn kind_v6(ip: Ipv6Addr) -> Option<Refusal> {
    match ip {
        _ if ip.is_unspecified() => Some(Refusal::Unspecified),
        _ if ip.is_loopback() => Some(Refusal::Loopback),
        _ if ip.is_unicast_link_local() => Some(Refusal::LinkLocal),
        _ if ip.is_multicast() => Some(Refusal::Multicast),
        _ => embedded(ip).and_then(kind_v4),
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped and compatible (RFC 4291, 2.5.5), translated (RFC 2765, 2.1,
/// and RFC 6052, 2.1), and that of a 6to4 relay (RFC 3056, 2).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

// === impl OwnSockets ===

impl OwnSockets {
    /// Whether a connection to that address is one to this process.
    fn has(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let mut sockets = self.sockets.iter().filter(|socket| socket.port() == address.port());
        sockets.any(|socket| {
            let bound = socket.ip().to_canonical();
            // A connection to the unspecified address is one to loopback, whoever listens there.
            bound == ip || ip.is_unspecified() || (bound.is_unspecified() && self.is_local(ip))
        })
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.local.contains(&ip)
    }
}

// === impl Refusal, Refused ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Own => "a socket of tidegate itself",
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.why)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allowed: &[&str], own: &[&str], local: &[&str]) -> AddressRules {
        AddressRules {
            allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
            own: OwnSockets {
                sockets: own.iter().map(|socket| socket.parse().unwrap()).collect(),
                local: local.iter().map(|ip| ip.parse().unwrap()).collect(),
            },
        }
    }

    fn why(rules: &AddressRules, address: &str) -> Option<Refusal> {
        rules.refusal(address.parse().unwrap()).map(|refused| refused.why)
    }

    #[test]
    fn addresses_that_are_nobodys_are_refused_in_every_spelling() {
        let cases = [
            (Refusal::Unspecified, &["0.0.0.0:1", "0.1.2.3:1", "[::]:1", "[::ffff:0.0.0.0]:1"][..]),
            (Refusal::Loopback, &["127.0.0.1:1", "127.255.255.254:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]),
            (Refusal::Loopback, &["[::127.0.0.1]:1", "[::ffff:0:127.0.0.1]:1", "[64:ff9b::127.0.0.1]:1"]),
            (Refusal::Loopback, &["[2002:7f00:1::1]:1"]),
            (Refusal::LinkLocal, &["169.254.169.254:80", "169.254.0.1:1", "[fe80::1]:1", "[febf::1]:1"]),
            (Refusal::LinkLocal, &["[::ffff:169.254.169.254]:1", "[64:ff9b::a9fe:a9fe]:1"]),
            (Refusal::Multicast, &["224.0.0.1:1", "239.255.255.255:1", "[ff02::1]:1", "[::ffff:224.0.0.1]:1"]),
            (Refusal::Broadcast, &["255.255.255.255:1", "[::ffff:255.255.255.255]:1"]),
        ];
        for (expected, addresses) in cases {
            for address in addresses {
                assert_eq!(why(&AddressRules::default(), address), Some(expected), "{address}");
            }
        }
    }

    #[test]
    fn addresses_of_pods_and_the_world_pass() {
        let pass = ["10.0.0.1:1", "192.168.0.1:1", "100.64.0.1:1", "1.1.1.1:1", "[fd00::1]:1", "[2001:db8::1]:1"];
        let borders = ["126.255.255.255:1", "128.0.0.1:1", "169.253.0.1:1", "169.255.0.1:1", "223.255.255.255:1"];
        let six = ["[::ffff:10.0.0.1]:1", "[fec0::1]:1", "[64:ff9b::a00:1]:1", "[2002:a00:1::1]:1", "[::2:0:0:1]:1"];
        for address in pass.iter().chain(&borders).chain(&six) {
            assert_eq!(why(&AddressRules::default(), address), None, "{address}");
        }
    }

    #[test]
    fn networks_let_addresses_in() {
        let rules = rules(&["127.0.0.0/8", "fe80::/64"], &[], &[]);
        for address in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1", "[fe80::1]:1"] {
            assert_eq!(why(&rules, address), None, "{address}");
        }
        assert_eq!(why(&rules, "[::1]:1"), Some(Refusal::Loopback));
        assert_eq!(why(&rules, "[fe80:0:0:1::1]:1"), Some(Refusal::LinkLocal));
        assert_eq!(why(&rules, "169.254.0.1:1"), Some(Refusal::LinkLocal));
    }

    #[test]
    fn the_own_sockets_are_refused_by_every_address_that_leads_to_them() {
        let rules = rules(&["127.0.0.0/8"], &["0.0.0.0:8080", "127.0.0.1:10255"], &["10.0.0.7", "fd00::7"]);
        let own = ["10.0.0.7:8080", "[fd00::7]:8080", "[::ffff:10.0.0.7]:8080", "127.0.0.1:8080", "127.0.0.1:10255"];
        for address in own {
            assert_eq!(why(&rules, address), Some(Refusal::Own), "{address}");
        }
        for address in ["10.0.0.7:8081", "10.0.0.8:8080", "127.0.0.1:9000", "127.0.0.2:10255"] {
            assert_eq!(why(&rules, address), None, "{address}");
        }
    }

    #[test]
    fn an_own_socket_is_let_in_by_its_very_address_only() {
        let own = &["10.0.0.7:8080"];
        assert_eq!(why(&rules(&["10.0.0.0/8"], own, &[]), "10.0.0.7:8080"), Some(Refusal::Own));
        assert_eq!(why(&rules(&["10.0.0.7/32"], own, &[]), "10.0.0.7:8080"), None);
        assert_eq!(why(&rules(&["0.0.0.0/0"], &["127.0.0.1:1"], &[]), "0.0.0.0:1"), Some(Refusal::Own));
    }

    #[test]
    fn literals_are_addresses_and_localhost() {
        for (name, expected) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("LocalHost.", Some("127.0.0.1")),
            ("a.localhost", Some("127.0.0.1")),
            ("localhost.example", None),
            ("127.1", None),
            ("", None),
        ] {
            assert_eq!(literal(name), expected.map(|ip| ip.parse().unwrap()), "{name}");
        }
    }

    proptest! {
        /// An IPv6 form of an IPv4 address is refused where that is, and for the same reason.
        #[test]
        fn a_mapped_address_is_what_it_maps(bits: u32, port: u16) {
            let v4 = Ipv4Addr::from(bits);
            let rules = rules(&["127.0.0.0/9"], &["10.0.0.7:80", "0.0.0.0:81"], &["10.0.0.7"]);
            let refusal = |ip: IpAddr| rules.refusal(SocketAddr::new(ip, port)).map(|refused| refused.why);
            prop_assert_eq!(refusal(v4.into()), refusal(v4.to_ipv6_mapped().into()));
        }
    }
}
