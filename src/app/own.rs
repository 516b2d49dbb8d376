//! Where this process listens: what clusters and names may not lead to.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use crate::address::OwnSockets;
use crate::resources::{Batch, Event, Object};
use crate::settings::Process;

/// The kernel's table of IPv4 routes, in which the addresses of this machine stand (proc_pid_net(5)).
const ROUTES_V4: &str = "/proc/self/net/fib_trie";
/// Its IPv6 addresses.
const ADDRESSES_V6: &str = "/proc/self/net/if_inet6";

/// The sockets of this process: of its servers, and of listeners, which come and go.
pub(super) struct Own {
    servers: Vec<SocketAddr>,
    listeners: watch::Receiver<Vec<SocketAddr>>,
}

// === impl Own ===

impl Own {
    pub(super) fn new(servers: impl Iterator<Item = SocketAddr>, listeners: watch::Receiver<Vec<SocketAddr>>) -> Self {
        Self { servers: servers.collect(), listeners }
    }

    /// All of them now.
    pub(super) fn sockets(&mut self) -> Vec<SocketAddr> {
        self.servers.iter().chain(&*self.listeners.borrow_and_update()).copied().collect()
    }

    /// Resolves when there are others than were asked for last; never, when none come any more.
    pub(super) async fn changed(&mut self) {
        if self.listeners.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The sockets of servers that settings ask for; those whose port the system chooses are not known before it has.
pub(super) fn wanted(process: &Process) -> Vec<SocketAddr> {
    let (telemetry, admin) = (process.telemetry.on(), process.admin.on());
    let servers = telemetry.map(|it| it.address).into_iter().chain(admin.map(|it| it.address));
    let webhook = process.admission.iter().map(|webhook| webhook.address);
    servers.chain(webhook).filter(|address| address.port() > 0).collect()
}

/// Tells the conf of a batch where the process listens, which is at least where it says itself, and which addresses the
/// machine has now.
pub(super) fn tell(mut batch: Batch, sockets: &[SocketAddr]) -> Batch {
    for event in &mut batch.events {
        let Event::Apply(Object::Conf(sourced)) = event else { continue };
        let conf = Arc::make_mut(&mut sourced.object);
        let named = conf.listeners.iter().map(|listener| listener.address).filter(|address| address.port() > 0);
        let sockets: BTreeSet<SocketAddr> = named.chain(sockets.iter().copied()).collect();
        conf.own_sockets = OwnSockets { sockets: sockets.into_iter().collect(), local: local() };
    }
    batch
}

/// Addresses of this machine; none where the kernel does not say.
fn local() -> BTreeSet<IpAddr> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let v4 = local_v4(&read(ROUTES_V4)).into_iter();
    v4.chain(local_v6(&read(ADDRESSES_V6))).collect()
}

/// An address stands on the line before what is said of it.
fn local_v4(routes: &str) -> Vec<IpAddr> {
    let mut last: Option<IpAddr> = None;
    let mut found = Vec::new();
    for line in routes.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// The first field of each line is the address, in 32 hexadecimal digits.
fn local_v6(addresses: &str) -> Vec<IpAddr> {
    let digits = addresses.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let bits = digits.filter(|digits| digits.len() == 32).filter_map(|digits| u128::from_str_radix(digits, 16).ok());
    bits.map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_name_the_machines_addresses() {
        let routes = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/24 2 0 2\n        |-- 10.0.0.0\n           /24 link UNICAST\n        |-- 10.0.0.7\n           /32 host LOCAL\n        |-- 10.0.0.255\n           /32 link BROADCAST\n";
        assert_eq!(local_v4(routes), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        let addresses = "fd000000000000000000000000000007 04 40 00 82     eth0\nnonsense\n";
        assert_eq!(local_v6(addresses), ["fd00::7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn this_machine_has_its_loopback_addresses() {
        // Only where there is such a table at all.
        if fs::exists(ROUTES_V4).unwrap_or_default() {
            assert!(local().contains(&IpAddr::from([127, 0, 0, 1])), "{:?}", local());
        }
    }

    #[test]
    fn sockets_without_a_port_yet_are_not_named() {
        let admission = serde_json::from_value(serde_json::json!({ "address": "127.0.0.1:0" })).unwrap();
        let process = Process { admission: Some(admission), ..Process::default() };
        let sockets: Vec<String> = wanted(&process).iter().map(ToString::to_string).collect();
        assert_eq!(sockets, ["0.0.0.0:10254", "127.0.0.1:10255"]);
    }
}
