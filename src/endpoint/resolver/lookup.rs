//! One resolution: a name in, its addresses out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::sync::OnceCell;

use crate::address::literal;

/// Resolves names.
pub(crate) struct Lookup {
    nameserver: Option<SocketAddr>,
    resolver: OnceCell<TokioResolver>,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    v4: Family,
    v6: Family,
}

/// The addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    addresses: Vec<IpAddr>,
    /// `None`: for ever, or there are no addresses.
    ttl: Option<Duration>,
    /// Whether the addresses could not be found out.
    is_failed: bool,
}

// === impl Lookup ===

impl Lookup {
    pub(crate) fn new(nameserver: Option<SocketAddr>) -> Self {
        Self { nameserver, resolver: OnceCell::new() }
    }

    /// Resolves a name. Addresses and `localhost` need no DNS.
    ///
    /// # Errors
    /// No server answered, or the name has no address.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Resolved, String> {
        if let Some(ip) = literal(name) {
            return Ok(Resolved::of(ip));
        }
        let resolver = self.resolver.get_or_try_init(|| self.build()).await.map_err(|error| error.to_string())?;
        let (v4, v6) = tokio::join!(family(resolver, name, RecordType::A), family(resolver, name, RecordType::AAAA));
        let error = v4.as_ref().err().or(v6.as_ref().err()).map(ToString::to_string);
        let answer =
            Resolved { v4: v4.unwrap_or_else(|_| Family::failed()), v6: v6.unwrap_or_else(|_| Family::failed()) };
        if answer.addresses().next().is_some() {
            return Ok(answer);
        }
        Err(error.unwrap_or_else(|| "the name has no address".to_owned()))
    }

    async fn build(&self) -> Result<TokioResolver, NetError> {
        self.builder()?.build()
    }

    fn builder(&self) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
        let Some(nameserver) = self.nameserver else { return TokioResolver::builder_tokio() };
        let connection = |mut connection: ConnectionConfig| {
            connection.port = nameserver.port();
            connection
        };
        let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
        let server = NameServerConfig::new(nameserver.ip(), true, connections);
        let config = ResolverConfig::from_name_servers(vec![server]);
        Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }
}

async fn family(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Family, NetError> {
    // The time to ask again is decided by the caller. A remembered "no such name" would outlast its retries.
    resolver.clear_lookup_cache(name, kind);
    match resolver.lookup(name, kind).await {
        Ok(lookup) => Ok(Family {
            addresses: lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect(),
            ttl: lookup.answers().iter().map(|record| Duration::from_secs(record.ttl.into())).min(),
            is_failed: false,
        }),
        Err(error) if error.is_no_records_found() => Ok(Family::default()),
        Err(error) => Err(error),
    }
}

// === impl Resolved ===

impl Resolved {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self { v4: Family { addresses: vec![ip], ..Family::default() }, v6: Family::default() }
    }

    #[cfg(test)]
    pub(super) fn with_ttl(mut self, ttl: Duration) -> Self {
        self.v4.ttl = Some(ttl);
        self
    }

    /// Whether one family could not be found out.
    pub(super) fn is_partial(&self) -> bool {
        self.v4.is_failed || self.v6.is_failed
    }

    /// All addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.addresses.iter().chain(&self.v6.addresses).copied()
    }

    /// How long it holds; `None`: for ever.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.v4.ttl.into_iter().chain(self.v6.ttl).min()
    }

    /// The same with the addresses of a family that could not be found out taken from an earlier answer.
    /// It stays partial.
    pub(super) fn filled_from(self, old: &Self) -> Self {
        Self { v4: self.v4.filled_from(&old.v4), v6: self.v6.filled_from(&old.v6) }
    }
}

// === impl Family ===

impl Family {
    fn failed() -> Self {
        Self { is_failed: true, ..Self::default() }
    }

    fn filled_from(self, old: &Self) -> Self {
        if self.is_failed { Self { addresses: old.addresses.clone(), ..self } } else { self }
    }
}
