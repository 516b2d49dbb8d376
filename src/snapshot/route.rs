//! A compiled route: what happens to a request that was matched.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tidegate_plugin::{BackendFacts, Backends, RouteFacts};

use super::pipeline::Pipeline;
use crate::endpoint::Upstream;
use crate::host::HostSet;
use crate::origin::Origin;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::telemetry::metrics::RouteMetrics;

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Names for plugins, logs and metrics, as long as no backend was chosen among several.
    pub facts: Arc<RouteFacts>,
    /// Object and field.
    pub origin: Origin,
    /// The action.
    pub action: Action,
    /// Which plain requests are answered 308 to https.
    pub https_redirect: HttpsRedirect,
    /// The plugins.
    pub pipeline: Arc<Pipeline>,
    /// What plugins may choose among; `None`: none of them does.
    pub choices: Option<Box<Choices>>,
    /// Timeouts, attempts and limits: the model's, shared.
    pub policy: Arc<Policy>,
    /// Its counters, as long as no backend was chosen among several.
    pub metrics: Arc<RouteMetrics>,
}

/// Names and counters of the requests of a route that go to one of its several backends.
#[derive(Debug)]
pub struct Named {
    /// Names for plugins, logs and metrics.
    pub facts: RouteFacts,
    /// Counters.
    pub metrics: Arc<RouteMetrics>,
}

/// What the plugins of a route may choose among.
#[derive(Debug, Default)]
pub struct Choices {
    /// The route's backends, in the order of the configuration.
    pub backends: Box<[Chosen]>,
    /// Upstreams of the conf that its plugins may name.
    pub upstreams: Box<[Chosen]>,
}

/// An upstream that a plugin may choose.
#[derive(Debug)]
pub struct Chosen {
    /// What plugins call it.
    pub name: Arc<str>,
    /// Its share where nobody chooses.
    pub weight: u32,
    /// Where requests go.
    pub upstream: Arc<Upstream>,
    /// What they are told under.
    pub named: Named,
}

/// One of the backends of a route.
#[derive(Debug)]
pub struct Share {
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// Its share of the sum of weights; 0: none.
    pub weight: u32,
    /// What its requests are told under; `None`: what those of the route are.
    pub named: Option<Box<Named>>,
}

/// Which plain requests of a route are sent to https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpsRedirect {
    /// None.
    Never,
    /// All.
    Always,
    /// Those of these hosts.
    Hosts(Arc<HostSet>),
}

/// Action of a route.
#[derive(Debug)]
pub enum Action {
    /// Goes to an upstream.
    Forward(Forward),
    /// Is redirected.
    Redirect(Box<Redirect>),
    /// Gets a fixed answer.
    Respond(Box<Respond>),
    /// Is refused with 503.
    Refuse(Reason),
}

/// Upstreams by weight.
#[derive(Debug)]
pub struct Forward {
    choices: Box<[Choice]>,
    total: u32,
}

/// One upstream and the end of its share of the total.
#[derive(Debug)]
struct Choice {
    upstream: Arc<Upstream>,
    until: u32,
    named: Option<Box<Named>>,
}

/// A redirect; parts that are `None` stay as the client sent them.
#[derive(Debug)]
pub struct Redirect {
    pub status: StatusCode,
    pub scheme: Option<Arc<str>>,
    pub host: Option<Arc<str>>,
    pub port: Option<u16>,
    pub path: Option<RedirectPath>,
}

/// How the path is changed.
#[derive(Debug)]
pub enum RedirectPath {
    /// Replaces all of it.
    Full(Arc<str>),
    /// Replaces the matched prefix, whose length is given.
    Prefix {
        /// What stands in its place.
        replacement: Arc<str>,
        /// Bytes of the path that are replaced.
        matched: usize,
    },
}

/// A fixed response.
#[derive(Debug)]
pub struct Respond {
    /// Status.
    pub status: StatusCode,
    /// Body.
    pub body: bytes::Bytes,
    /// Its media type.
    pub content_type: HeaderValue,
}

// === impl Route ===

impl Route {
    /// Names of a request that goes to the backend at this place, or to none yet.
    pub fn facts_of(&self, backend: Option<usize>) -> &RouteFacts {
        self.named(backend).map_or(&self.facts, |named| &named.facts)
    }

    /// Counters of a request that goes to the backend at this place, or to none.
    pub fn metrics_of(&self, backend: Option<usize>) -> &RouteMetrics {
        self.named(backend).map_or(&self.metrics, |named| &named.metrics)
    }

    fn named(&self, backend: Option<usize>) -> Option<&Named> {
        let Action::Forward(forward) = &self.action else { return None };
        let backend = backend?;
        match &self.choices {
            None => forward.named(backend),
            Some(choices) => choices.all().nth(backend).map(|it| &it.named),
        }
    }

    /// Place of the backend that has this share of the requests, for [`Route::facts_of`].
    pub fn place_of(&self, share: usize) -> Option<usize> {
        let Some(choices) = &self.choices else { return Some(share) };
        let with_share = choices.backends.iter().enumerate().filter(|(_, it)| it.weight > 0);
        with_share.map(|(place, _)| place).nth(share)
    }

    /// Every upstream that its requests may go to, each at least once.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let forward = match &self.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        };
        let shares = forward.into_iter().flat_map(Forward::shares).map(|(upstream, _)| upstream);
        shares.chain(self.choices.iter().flat_map(|choices| choices.all()).map(|it| &it.upstream))
    }
}

// === impl Choices ===

impl Choices {
    /// All of them, in the order of their places: the route's backends, then upstreams of the conf.
    pub fn all(&self) -> impl Iterator<Item = &Chosen> {
        self.backends.iter().chain(&self.upstreams)
    }

    /// The route's backend at that position, with its place.
    pub fn at(&self, position: usize) -> Option<(usize, &Arc<Upstream>)> {
        self.backends.get(position).map(|it| (position, &it.upstream))
    }

    /// The upstream of the conf of that name, if a plugin may choose it, with its place.
    pub fn upstream(&self, name: &str) -> Option<(usize, &Arc<Upstream>)> {
        let index = self.upstreams.iter().position(|it| *it.name == *name)?;
        self.upstreams.get(index).map(|it| (self.backends.len() + index, &it.upstream))
    }
}

impl Backends for Choices {
    fn count(&self) -> usize {
        self.backends.len()
    }

    fn backend(&self, position: usize) -> Option<BackendFacts<'_>> {
        self.backends.get(position).map(|it| BackendFacts::new(&it.name, it.weight))
    }
}

// === impl HttpsRedirect ===

impl HttpsRedirect {
    /// Whether a plain request of a canonical host is sent to https.
    pub fn is_due(&self, host: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Hosts(hosts) => hosts.contains(host),
        }
    }
}

// === impl Forward ===

impl Forward {
    /// Makes the choice among upstreams with their weights. Weights of 0 get nothing; all 0: nobody gets anything.
    pub fn new(shares: impl IntoIterator<Item = Share>) -> Self {
        let mut total = 0u32;
        let choices = shares
            .into_iter()
            .filter(|share| share.weight > 0)
            .map(|Share { upstream, weight, named }| {
                total = total.saturating_add(weight);
                Choice { upstream, until: total, named }
            })
            .collect();
        Self { choices, total }
    }

    /// Picks one upstream by weight, and gives its place among those that get a share.
    pub fn pick(&self) -> Option<(usize, &Arc<Upstream>)> {
        let place = match &*self.choices {
            [] | [_] => 0,
            choices => {
                let point = fastrand::u32(0..self.total);
                choices.iter().position(|choice| point < choice.until)?
            }
        };
        self.choices.get(place).map(|choice| (place, &choice.upstream))
    }

    fn named(&self, place: usize) -> Option<&Named> {
        // Of one there is nothing to be told apart.
        let [_, _, ..] = &*self.choices else { return None };
        self.choices.get(place)?.named.as_deref()
    }

    /// All upstreams that get a share, each with its own, in the order of their places.
    pub fn shares(&self) -> impl Iterator<Item = (&Arc<Upstream>, u32)> {
        let starts = std::iter::once(0).chain(self.choices.iter().map(|choice| choice.until));
        self.choices.iter().zip(starts).map(|(choice, start)| (&choice.upstream, choice.until - start))
    }
}
