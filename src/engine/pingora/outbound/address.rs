//! From the host of a URL to an address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_plugin::CallError;

use crate::address::literal;
use crate::endpoint::Table;
use crate::endpoint::resolver::Lookup;

/// Names whose addresses are kept.
const MAX_NAMES: usize = 256;
/// How long they are, at least and at most.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Resolves names, and keeps what it has found for as long as it holds.
pub(super) struct Addresses {
    lookup: Lookup,
    table: Arc<Table>,
    known: Mutex<HashMap<Box<str>, Known>>,
}

struct Known {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

// === impl Addresses ===

impl Addresses {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self { lookup: Lookup::new(None), table, known: Mutex::default() }
    }

    /// An address of that host which an instance of that namespace may call.
    pub(super) async fn of(&self, host: &str, port: u16, namespace: &str) -> Result<SocketAddr, CallError> {
        if let Some(ip) = literal(host) {
            let address = SocketAddr::new(ip, port);
            // Whoever writes the conf may name this machine.
            let may = namespace.is_empty() || self.may(address);
            return may.then_some(address).ok_or(CallError::NoAddress);
        }
        let addresses = match self.kept(host) {
            Some(addresses) => addresses,
            None => self.resolve(host).await?,
        };
        let allowed: Vec<SocketAddr> =
            addresses.iter().map(|ip| SocketAddr::new(*ip, port)).filter(|address| self.may(*address)).collect();
        fastrand::choice(allowed).ok_or(CallError::NoAddress)
    }

    fn may(&self, address: SocketAddr) -> bool {
        self.table.address_rules().refusal(address).is_none()
    }

    fn kept(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(host).filter(|known| known.until > Instant::now()).map(|known| Arc::clone(&known.addresses))
    }

    async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, CallError> {
        let answer = self.lookup.resolve(host).await.map_err(|_| CallError::NoAddress)?;
        let addresses: Arc<[IpAddr]> = answer.addresses().collect();
        let now = Instant::now();
        let until = now + answer.ttl().unwrap_or(TTL.1).clamp(TTL.0, TTL.1);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NAMES {
            known.retain(|_, known| known.until > now);
        }
        if known.len() < MAX_NAMES {
            known.insert(host.into(), Known { addresses: Arc::clone(&addresses), until });
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_conf_may_name_this_machine() {
        let addresses = Addresses::new(Arc::default());
        for host in ["127.0.0.1", "localhost", "x.localhost", "[::1]", "169.254.169.254", "0.0.0.0"] {
            assert!(addresses.of(host, 80, "").await.is_ok(), "{host}");
            assert_eq!(addresses.of(host, 80, "web").await, Err(CallError::NoAddress), "{host}");
        }
        assert_eq!(addresses.of("192.0.2.1", 80, "web").await, Ok(([192, 0, 2, 1], 80).into()));
    }

    #[tokio::test]
    async fn an_answer_of_dns_that_leads_here_is_not_asked() {
        let addresses = Addresses::new(Arc::default());
        let known = Known { addresses: [IpAddr::from([127, 0, 0, 1])].into(), until: Instant::now() + TTL.1 };
        addresses.known.lock().unwrap().insert("rebinding.test".into(), known);
        assert_eq!(addresses.of("rebinding.test", 80, "").await, Err(CallError::NoAddress));
    }
}
