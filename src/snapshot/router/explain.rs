//! Why a request takes its route: the search itself, watched.
//!
//! The winner and the verdicts on what was looked at come from the code that serves requests; only routes that
//! the search never had to look at are judged here, by their path alone.

use std::fmt;
use std::sync::Arc;

use tidegate_plugin::RouteFacts;

use super::{Entry, Found, HostRoutes, Miss, RequestView};
use crate::host::HostPattern;
use crate::snapshot::host_map::HostMap;

/// Sees each route that the search looks at.
pub(super) trait Observer<'s> {
    /// The route's path fits; this is what became of it.
    fn candidate(&mut self, entry: &'s Entry, verdict: Verdict<'s>);
}

/// Serves requests: sees nothing and costs nothing.
pub(super) struct Silent;

/// Verdict on a candidate route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'s> {
    /// Takes the request.
    Won,
    /// Does not.
    Lost(Loss<'s>),
}

/// Why a route does not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss<'s> {
    /// Its path does not fit.
    PathDiffers,
    /// A condition does not hold.
    Condition(Miss<'s>),
    /// Another route comes before it: its name, and its path.
    Outranked {
        /// Name of the winner.
        by: &'s RouteFacts,
        /// Path of the winner; empty for the fallback.
        path: &'s str,
    },
    /// It is the fallback, and a route fits.
    NotNeeded,
}

/// A route of the host and its verdict.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'s> {
    /// The route with what it asks for.
    pub entry: &'s Entry,
    /// Won, or why not.
    pub verdict: Verdict<'s>,
}

/// All that decides about a request's route.
#[derive(Debug)]
pub struct Explanation<'s> {
    /// The virtual host that was picked.
    pub host: Option<HostPattern>,
    /// What was looked up, in order, as people write patterns, and whether it was there.
    pub hosts_tried: Vec<(String, bool)>,
    /// Every route of the host, in order of precedence.
    pub candidates: Vec<Considered<'s>>,
    /// The host's fallback, when it has one, and its verdict.
    pub fallback: Option<Verdict<'s>>,
    /// What takes the request; `None`: the snapshot's default, else 404.
    pub found: Option<Found<'s>>,
}

#[derive(Default)]
struct SeenRoutes<'s>(Vec<(&'s Entry, Verdict<'s>)>);

/// Explains a request.
pub(super) fn explain<'s>(hosts: &'s HostMap<Arc<HostRoutes>>, request: &RequestView<'_>) -> Explanation<'s> {
    let mut hosts_tried = Vec::new();
    let host = hosts.find_entry(request.host, |tried, found| hosts_tried.push((tried.to_string(), found)));
    let Some((pattern, routes)) = host else {
        return Explanation { host: None, hosts_tried, candidates: Vec::new(), fallback: None, found: None };
    };
    let mut seen = SeenRoutes::default();
    let found = routes.search(request, &mut seen);
    let candidates =
        routes.entries.iter().map(|entry| Considered { entry, verdict: seen.verdict(entry, request.path) });
    let won_by_fallback = found.is_some_and(|found| found.via == super::Via::Fallback);
    let fallback = routes.fallback.as_ref().map(|_| match won_by_fallback {
        true => Verdict::Won,
        false => Verdict::Lost(Loss::NotNeeded),
    });
    Explanation { host: Some(pattern.clone()), candidates: candidates.collect(), hosts_tried, fallback, found }
}

// === impl Silent, SeenRoutes ===

impl<'s> Observer<'s> for Silent {
    #[inline(always)]
    fn candidate(&mut self, _entry: &'s Entry, _verdict: Verdict<'s>) {}
}

impl<'s> Observer<'s> for SeenRoutes<'s> {
    fn candidate(&mut self, entry: &'s Entry, verdict: Verdict<'s>) {
        self.0.push((entry, verdict));
    }
}

impl<'s> SeenRoutes<'s> {
    fn verdict(&self, entry: &'s Entry, path: &str) -> Verdict<'s> {
        if let Some((_, verdict)) = self.0.iter().find(|(seen, _)| std::ptr::eq(*seen, entry)) {
            return *verdict;
        }
        let winner = self.0.iter().find(|(_, verdict)| *verdict == Verdict::Won);
        match winner.filter(|_| entry.path.fits(path)) {
            Some((winner, _)) => Verdict::Lost(Loss::Outranked { by: &winner.route.facts, path: winner.path() }),
            None => Verdict::Lost(Loss::PathDiffers),
        }
    }
}

// === impl Verdict, Loss ===

impl<'s> From<Miss<'s>> for Loss<'s> {
    fn from(miss: Miss<'s>) -> Self {
        Self::Condition(miss)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Won => f.write_str("won"),
            Self::Lost(loss) => loss.fmt(f),
        }
    }
}

impl fmt::Display for Loss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathDiffers => f.write_str("the path does not fit"),
            Self::Condition(Miss::Method) => f.write_str("the method does not fit"),
            Self::Condition(Miss::HeaderMissing(name)) => write!(f, "header `{name}` is missing"),
            Self::Condition(Miss::HeaderDiffers(name)) => write!(f, "header `{name}` has another value"),
            Self::Condition(Miss::QueryMissing(name)) => write!(f, "query parameter `{name}` is missing"),
            Self::Condition(Miss::QueryDiffers(name)) => write!(f, "query parameter `{name}` has another value"),
            Self::Outranked { by, path } => write!(f, "`{by}` with path `{path}` comes before it"),
            Self::NotNeeded => f.write_str("a route fits"),
        }
    }
}
