//! What a pick reads: settings, endpoints and schedule of an upstream, replaced as a whole when one of them changes.
//!
//! A pick takes no lock and allocates nothing.
//! It must not know where endpoints come from or how their health is found out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::balance::Schedule;
use super::health::{Health, Spec};
use super::pick::EndpointState;
use super::shared::Shared;
use super::waiting::Waiting;
use super::{Address, NoPick, Pick, Tried};
use crate::upstream::{Balance, UpstreamConfig};

/// How often a member is drawn by chance before all are looked at in turn.
const DRAWS: usize = 4;

/// Settings and endpoints of an upstream at one moment, replaced as a whole.
#[derive(Debug)]
pub(crate) struct UpstreamState {
    core: Arc<Core>,
    config: Arc<UpstreamConfig>,
    spec: Option<Arc<Spec>>,
    members: Box<[Member]>,
    /// Counts the sets of endpoints, from 1.
    set: u64,
    schedule: Schedule,
}

/// State of an upstream that outlives changes of settings and endpoints.
#[derive(Debug)]
pub(super) struct Core {
    /// Counts turns of round robin.
    turn: AtomicUsize,
    pub(super) waiting: Waiting,
    shared: Arc<Shared>,
}

/// One endpoint in the set.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<EndpointState>,
    /// `None`: not checked, taken as healthy.
    pub(super) health: Option<Arc<Health>>,
    pub(super) weight: u16,
}

// === impl UpstreamState ===

impl UpstreamState {
    pub(super) fn empty(shared: Arc<Shared>) -> Self {
        Self {
            core: Arc::new(Core { turn: AtomicUsize::new(0), waiting: Waiting::default(), shared }),
            config: UpstreamConfig::default().shared(),
            spec: None,
            members: Box::default(),
            set: 1,
            schedule: Schedule::new(&[]),
        }
    }

    /// The same endpoints under other settings; their probes have the turns of a group.
    pub(super) fn with_config(&self, config: Arc<UpstreamConfig>, group: &Arc<str>) -> Self {
        let spec = Spec::new(&config).map(Arc::new);
        let member = |old: &Member| Member {
            endpoint: Arc::clone(&old.endpoint),
            health: self.core.health(group, old.endpoint.address(), spec.as_ref(), old.health.as_deref()),
            weight: old.weight,
        };
        let members: Box<[Member]> = self.members.iter().map(member).collect();
        Self { core: Arc::clone(&self.core), config, schedule: schedule(&members), members, set: self.set, spec }
    }

    /// The same settings with other endpoints, which are sorted by address and each there once.
    /// `None` when they are the same.
    pub(super) fn with_addresses(&self, addresses: &[Address], group: &Arc<str>) -> Option<Self> {
        if self.addresses().eq(addresses.iter().cloned()) {
            return None;
        }
        let members: Box<[Member]> = addresses.iter().map(|address| self.member(address, group)).collect();
        Some(Self {
            core: Arc::clone(&self.core),
            config: Arc::clone(&self.config),
            spec: self.spec.clone(),
            schedule: schedule(&members),
            members,
            set: self.set + 1,
        })
    }

    /// Its settings.
    pub(crate) fn config(&self) -> &Arc<UpstreamConfig> {
        &self.config
    }

    /// Picks an endpoint for one try and marks it as tried.
    ///
    /// Endpoints that are healthy and not tried come first, then those not tried. So when all are unhealthy,
    /// all are tried as if they were healthy ("panic mode"): the checks may be what is broken, and a refused
    /// request is no better than a failed one.
    ///
    /// # Errors
    /// [`NoPick::Empty`] without endpoints, [`NoPick::Exhausted`] when all were tried.
    pub(crate) fn pick(&self, tried: &mut Tried) -> Result<Pick, NoPick> {
        if self.members.is_empty() {
            return Err(NoPick::Empty);
        }
        // Only the first try of a request takes a turn: with two endpoints and one down, taking a turn for the
        // retry too would send every first try to the broken one.
        let turn = tried.is_empty().then(|| self.core.turn.fetch_add(1, Ordering::Relaxed));
        let member = self
            .choose(turn, |member| member.is_healthy() && !tried.contains(&member.endpoint))
            .or_else(|| self.choose_unhealthy(turn, tried))
            .ok_or(NoPick::Exhausted)?;
        tried.set = self.set;
        tried.insert(&member.endpoint);
        Ok(Pick::new(Arc::clone(&member.endpoint)))
    }

    /// Where the next request would go, without sending it there. By least request it is the least busy of all,
    /// since which two would be compared is left to chance. When the one whose turn it is is unhealthy, the healthy
    /// one that stands in for it is left to chance too; the first is told.
    pub(crate) fn explain_pick(&self) -> Option<SocketAddr> {
        let is_panic = !self.members.iter().any(Member::is_healthy);
        let accepted = |member: &&Member| is_panic || member.is_healthy();
        let chosen = match self.config.balance {
            Balance::RoundRobin => {
                let turn = self.core.turn.load(Ordering::Relaxed);
                let in_turn = self.members.get(self.schedule.at(turn)).filter(accepted);
                in_turn.or_else(|| self.members.iter().find(accepted))
            }
            Balance::LeastRequest => {
                let ready = self.members.iter().filter(accepted);
                ready.reduce(|best, next| if next.is_less_busy_than(best) { next } else { best })
            }
        };
        chosen.map(|member| member.endpoint.address())
    }

    pub(super) fn set(&self) -> u64 {
        self.set
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.members.iter().map(|member| Address { address: member.endpoint.address(), weight: member.weight })
    }

    /// The member for an address: with what is known of it when it was there before.
    fn member(&self, address: &Address, group: &Arc<str>) -> Member {
        let old = self.members.binary_search_by_key(&address.address, |member| member.endpoint.address());
        let old = old.ok().and_then(|index| self.members.get(index));
        Member {
            endpoint: old
                .map_or_else(|| Arc::new(EndpointState::new(address.address)), |old| Arc::clone(&old.endpoint)),
            health: match old {
                Some(old) => old.health.clone(),
                None => self.core.health(group, address.address, self.spec.as_ref(), None),
            },
            weight: address.weight,
        }
    }

    fn choose_unhealthy(&self, turn: Option<usize>, tried: &Tried) -> Option<&Member> {
        let member = self.choose(turn, |member| !tried.contains(&member.endpoint))?;
        if !self.members.iter().any(Member::is_healthy) {
            self.core.shared.stats.panic_picks_total.fetch_add(1, Ordering::Relaxed);
        }
        Some(member)
    }

    fn choose(&self, turn: Option<usize>, accepts: impl Fn(&Member) -> bool) -> Option<&Member> {
        match self.config.balance {
            Balance::RoundRobin => self.in_turn(turn, accepts),
            Balance::LeastRequest => self.less_busy_of_two(accepts),
        }
    }

    /// The one whose turn it is; when it is not accepted, one by chance. The next one in turn would get the share
    /// of its broken neighbour on top of its own.
    fn in_turn(&self, turn: Option<usize>, accepts: impl Fn(&Member) -> bool) -> Option<&Member> {
        let in_turn = turn.and_then(|turn| self.members.get(self.schedule.at(turn)));
        in_turn.filter(|member| accepts(member)).or_else(|| self.draw(|| self.schedule.any(), accepts))
    }

    fn less_busy_of_two(&self, accepts: impl Fn(&Member) -> bool) -> Option<&Member> {
        let uniform = || fastrand::usize(0..self.members.len().max(1));
        let first = self.draw(uniform, &accepts)?;
        let second = self.draw(uniform, |member| !std::ptr::eq(member, first) && accepts(member));
        Some(second.filter(|second| second.is_less_busy_than(first)).unwrap_or(first))
    }

    /// A member by chance; when chance does not hit an accepted one soon, the next accepted one.
    fn draw(&self, index: impl Fn() -> usize, accepts: impl Fn(&Member) -> bool) -> Option<&Member> {
        for _ in 0..DRAWS {
            if let Some(member) = self.members.get(index()).filter(|member| accepts(member)) {
                return Some(member);
            }
        }
        let (before, after) = self.members.split_at_checked(index())?;
        after.iter().chain(before).find(|member| accepts(member))
    }
}

fn schedule(members: &[Member]) -> Schedule {
    let weights: Vec<u16> = members.iter().map(|member| member.weight).collect();
    Schedule::new(&weights)
}

// === impl Core ===

impl Core {
    fn health(
        &self,
        group: &Arc<str>,
        address: SocketAddr,
        spec: Option<&Arc<Spec>>,
        old: Option<&Health>,
    ) -> Option<Arc<Health>> {
        spec.map(|spec| self.shared.health.watch(group, address, spec, old))
    }
}

// === impl Member ===

impl Member {
    pub(super) fn is_healthy(&self) -> bool {
        self.health.as_ref().is_none_or(|health| health.is_healthy())
    }

    /// Compares (requests in flight + 1) / weight.
    fn is_less_busy_than(&self, other: &Self) -> bool {
        let load = |member: &Self| u64::from(member.endpoint.in_flight()) + 1;
        load(self) * u64::from(other.weight) < load(other) * u64::from(self.weight)
    }
}
