//! Turns the DNS names of upstreams into their endpoints, beside the requests.
//!
//! Answers hold for their TTL within bounds. When a resolution fails, the endpoints that are there stay, and it is
//! tried again soon, then less soon. IPv4 and IPv6 are asked for apart: when one of them fails for a while, its
//! addresses stay, whatever the other answers. Answers that lead to this machine are no endpoints ([`AddressRules`]).
//! Few resolutions are under way at once; the namespaces, and each upstream of the conf, have fair turns, so that the
//! slow names of one do not keep the others waiting.
//! It must not know who uses the endpoints.

mod lookup;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use super::shared::Shared;
use super::table::Table;
use super::{Address, Upstream};
use crate::address::{AddressRules, Refused};
use crate::turns::{Turn, Turns};
use crate::upstream::ExternalName;
pub(crate) use lookup::Lookup;
use lookup::Resolved;

/// Most lookups under way at once.
const MAX_LOOKUPS: usize = 32;
/// A resolution that begins so long after it was due is counted as late.
const LATE: Duration = Duration::from_secs(1);

/// How names are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The server to ask; `None`: those of the system (`/etc/resolv.conf`), with its hosts file and search list.
    pub nameserver: Option<SocketAddr>,
    /// Shortest time that an answer holds.
    pub min_ttl: Duration,
    /// Longest time that an answer holds.
    pub max_ttl: Duration,
    /// Time until a failed resolution is tried again; doubled with each failure in a row.
    pub min_retry: Duration,
    /// Longest time until a failed resolution is tried again.
    pub max_retry: Duration,
    /// How long one resolution may take.
    pub timeout: Duration,
}

/// Resolves the names of all upstreams of a table until `shutdown` turns true or its sender is gone.
pub(crate) async fn run(table: Arc<Table>, config: Config, mut shutdown: watch::Receiver<bool>) {
    let mut resolver = Resolver::new(table, config);
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = resolver.run() => {}
    }
}

/// Decides which name is resolved when.
struct Resolver {
    table: Arc<Table>,
    config: Config,
    lookup: Arc<Lookup>,
    names: HashMap<Arc<str>, Name>,
    /// When upstreams are due. One whose name is another one by now, or due at another time, is passed over.
    turns: Turns<Arc<str>>,
    /// Those by which the answers in place were taken.
    rules: Arc<AddressRules>,
    running: JoinSet<Result<Resolved, String>>,
    /// Whose name each running task resolves.
    asked: HashMap<task::Id, RunningLookup>,
}

/// The name of one upstream.
struct Name {
    upstream: Weak<Upstream>,
    external: ExternalName,
    /// `None`: not before something changes (an address needs no second resolution), or one is under way.
    due: Option<Instant>,
    failures: u32,
    /// What was put in place last; `None`: never resolved.
    current: Option<Resolved>,
}

struct RunningLookup {
    id: Arc<str>,
    group: Arc<str>,
    external: ExternalName,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            nameserver: None,
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(300),
            min_retry: Duration::from_secs(5),
            max_retry: Duration::from_secs(60),
            timeout: Duration::from_secs(15),
        }
    }
}

// === impl Resolver ===

impl Resolver {
    fn new(table: Arc<Table>, config: Config) -> Self {
        let lookup = Arc::new(Lookup::new(config.nameserver));
        let (names, asked) = (HashMap::new(), HashMap::new());
        let rules = table.shared().address_rules.load_full();
        Self { table, config, lookup, names, turns: Turns::new(MAX_LOOKUPS), rules, running: JoinSet::new(), asked }
    }

    async fn run(&mut self) {
        self.read_table();
        let shared = Arc::clone(self.table.shared());
        loop {
            self.start_due();
            tokio::select! {
                () = shared.resolver_wake.notified() => self.read_table(),
                () = sleep_until(self.turns.next_due()) => {}
                Some(ended) = self.running.join_next_with_id() => self.finish(ended, &shared),
            }
        }
    }

    /// Takes in which upstreams have which names now.
    fn read_table(&mut self) {
        let mut names = HashMap::new();
        for upstream in self.table.iter() {
            let Some(external) = upstream.config().external.clone() else { continue };
            let known = self.names.remove(upstream.id());
            let same = known.filter(|name| name.external == external && name.is_of(&upstream));
            let name = same.unwrap_or_else(|| {
                let name = Name::new(&upstream, external);
                name.queue(&mut self.turns);
                name
            });
            names.insert(Arc::clone(upstream.id()), name);
        }
        self.names = names;
        self.read_rules();
    }

    /// Looks at the answers in place again when other addresses may be endpoints.
    fn read_rules(&mut self) {
        let rules = self.table.shared().address_rules.load_full();
        if *rules != *self.rules {
            self.names.values().for_each(|name| name.put_again(&rules));
        }
        self.rules = rules;
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(Turn { group, due, work: id }) = self.turns.next(now) {
            let Some(name) = self.names.get_mut(&id).filter(|name| name.due == Some(due)) else {
                self.turns.done(&group);
                continue;
            };
            if now.saturating_duration_since(due) > LATE {
                self.table.stats().late_resolutions_total.fetch_add(1, Ordering::Relaxed);
            }
            name.due = None;
            let lookup = Arc::clone(&self.lookup);
            let (timeout, host) = (self.config.timeout, Arc::clone(&name.external.name));
            let task = self.running.spawn(async move {
                let answer = tokio::time::timeout(timeout, lookup.resolve(&host)).await;
                answer.unwrap_or_else(|_| Err(format!("no response within {timeout:?}")))
            });
            self.asked.insert(task.id(), RunningLookup { id, group, external: name.external.clone() });
        }
    }

    fn finish(&mut self, ended: Result<(task::Id, Result<Resolved, String>), JoinError>, shared: &Shared) {
        let (id, answer) = match ended {
            Ok((id, answer)) => (id, answer),
            Err(error) => (error.id(), Err("the resolution panicked".to_owned())),
        };
        shared.stats.resolutions_total.fetch_add(1, Ordering::Relaxed);
        if answer.as_ref().map_or(true, Resolved::is_partial) {
            shared.stats.resolution_failures_total.fetch_add(1, Ordering::Relaxed);
        }
        let Some(asked) = self.asked.remove(&id) else { return };
        self.turns.done(&asked.group);
        // Otherwise the name is another one by now, whose own resolution is due or under way.
        if let Some(name) = self.names.get_mut(&asked.id).filter(|name| name.external == asked.external) {
            name.take(answer, &self.config, &self.rules);
            name.queue(&mut self.turns);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

// === impl Name ===

impl Name {
    fn new(upstream: &Arc<Upstream>, external: ExternalName) -> Self {
        let due = Some(Instant::now());
        Self { upstream: Arc::downgrade(upstream), external, due, failures: 0, current: None }
    }

    /// Has it resolved when it is due.
    fn queue(&self, turns: &mut Turns<Arc<str>>) {
        if let (Some(due), Some(upstream)) = (self.due, self.upstream.upgrade()) {
            turns.push(upstream.group(), due, Arc::clone(upstream.id()));
        }
    }

    fn is_of(&self, upstream: &Arc<Upstream>) -> bool {
        std::ptr::eq(self.upstream.as_ptr(), Arc::as_ptr(upstream))
    }

    /// Puts an answer in place, and decides when the next one is asked for.
    fn take(&mut self, answer: Result<Resolved, String>, config: &Config, rules: &AddressRules) {
        let Some(upstream) = self.upstream.upgrade() else { return };
        match answer {
            Ok(answer) => {
                let answer = match &self.current {
                    Some(current) => answer.filled_from(current),
                    None => answer,
                };
                self.failures = if answer.is_partial() { self.failures.saturating_add(1) } else { 0 };
                let hold = answer.ttl().map(|ttl| ttl.clamp(config.min_ttl, config.max_ttl));
                let retry = answer.is_partial().then(|| self.retry(config));
                self.due = hold.into_iter().chain(retry).min().map(|wait| Instant::now() + wait);
                self.put(&upstream, &answer, rules);
                self.current = Some(answer);
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    warn!(backend = %upstream.id(), name = %self.external.name, error, "DNS name not resolved");
                }
                self.due = Some(Instant::now() + self.retry(config));
                // What is there from before belongs to another name.
                if self.current.is_none() {
                    upstream.set_resolved(&self.external, &[], &[]);
                }
            }
        }
    }

    fn put(&self, upstream: &Upstream, answer: &Resolved, rules: &AddressRules) {
        let all = answer.addresses().map(|ip| SocketAddr::new(ip, self.external.port));
        let (mut addresses, mut refused) = (Vec::new(), Vec::<Refused>::new());
        for address in all {
            match rules.refusal(address) {
                Some(reason) => refused.push(reason),
                None => addresses.push(Address { address, weight: 1 }),
            }
        }
        if upstream.set_resolved(&self.external, &addresses, &refused) {
            let (backend, name) = (upstream.id(), &self.external.name);
            info!(%backend, %name, endpoints = addresses.len(), "DNS name resolved");
            if let Some(first) = refused.first() {
                let refused = refused.len();
                warn!(%backend, %name, refused, error = %first, "DNS name resolves to addresses that are not allowed as endpoints");
            }
        }
    }

    /// Puts the last answer in place again, under other rules.
    fn put_again(&self, rules: &AddressRules) {
        if let (Some(upstream), Some(current)) = (self.upstream.upgrade(), &self.current) {
            self.put(&upstream, current, rules);
        }
    }

    /// The wait after a failure.
    fn retry(&self, config: &Config) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        config.min_retry.saturating_mul(1 << doublings).min(config.max_retry)
    }
}

#[cfg(test)]
mod tests;
