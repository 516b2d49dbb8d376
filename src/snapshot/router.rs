//! From request to route.
//!
//! The host picks the virtual host and no other one is asked after it. Inside, an exact path wins over regular
//! expressions (longer pattern first), these over prefixes (longest first). Routes of one path stand in the
//! order of what they ask beside it: a method, more headers, more parameters, then their rank.
//! It takes a canonical request and must not know where routes come from.
//! Source: Ingress v1 path types; Gateway API HTTPRoute matching order.

mod conditions;
mod explain;
mod path_index;

use std::ops::Range;
use std::sync::Arc;

use regex::Regex;

pub(crate) use conditions::{Conditions, Miss, TextTest};
pub(crate) use explain::{Considered, Explanation, Verdict};

use self::explain::{Observer, Silent};
use self::path_index::{Bucket, PathIndex, is_prefix};
use super::host_map::HostMap;
use super::route::Route;
use crate::host::HostPattern;
use crate::origin::Origin;

/// From request to route.
#[derive(Debug, Default, Clone)]
pub struct Router {
    hosts: HostMap<Arc<HostRoutes>>,
}

/// Routes of one host.
#[derive(Debug, Default)]
pub struct HostRoutes {
    entries: Box<[Entry]>,
    exact: PathIndex,
    regexes: Range<usize>,
    prefixes: PathIndex,
    fallback: Option<Arc<Route>>,
    /// Which of the routes was there first.
    oldest: u32,
}

/// A route with its conditions on requests.
#[derive(Debug)]
pub struct Entry {
    path: PathTest,
    conditions: Option<Box<Conditions>>,
    route: Arc<Route>,
}

/// Condition of a route on the path.
#[derive(Debug)]
pub enum PathTest {
    /// Equal.
    Exact(Arc<str>),
    /// A regular expression, anchored at the start.
    Regex(Box<PathRegex>),
    /// Equal or followed by a slash; without closing slash, the root is empty.
    Prefix(Arc<str>),
}

/// A regular expression on paths.
#[derive(Debug)]
pub struct PathRegex {
    pattern: Arc<str>,
    literal: Box<str>,
    regex: Regex,
}

/// A request as routing sees it: canonical, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Host, lower case, without port and trailing dot.
    pub host: &'a str,
    /// Canonical path.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a http::Method,
    /// Fields.
    pub headers: &'a http::HeaderMap,
}

/// How a route was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// The route.
    pub route: &'s Arc<Route>,
    /// By what.
    pub via: Via,
}

/// Kind of match that a route was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// An exact path.
    Exact,
    /// A regular expression.
    Regex,
    /// A prefix.
    Prefix,
    /// Nothing of the host wanted the request.
    Fallback,
}

// === impl Router ===

impl Router {
    /// Finds the route of a request; `None`: the snapshot's default, else 404.
    pub fn find<'s>(&'s self, request: &RequestView<'_>) -> Option<Found<'s>> {
        self.hosts.find(request.host)?.search(request, &mut Silent)
    }

    /// Finds as [`Router::find`] does, and says of every route of the host why it won or lost.
    pub fn explain<'s>(&'s self, request: &RequestView<'_>) -> Explanation<'s> {
        explain::explain(&self.hosts, request)
    }

    /// All hosts in order of precedence, with their routes. Sorts: for display.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostPattern, &Arc<HostRoutes>)> {
        self.hosts.iter()
    }

    /// The routes of exactly this pattern.
    pub fn host(&self, pattern: &HostPattern) -> Option<&Arc<HostRoutes>> {
        self.hosts.get(pattern)
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// A copy with changed hosts (`None` removes); the others are shared.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = (HostPattern, Option<Arc<HostRoutes>>)>) -> Self {
        Self { hosts: self.hosts.with(changes) }
    }
}

// === impl HostRoutes ===

impl HostRoutes {
    /// Makes the table of a host. Entries must come in order of rank: between equals, the first wins.
    /// `is_rest_older`: whether the fallback was there before all of them.
    pub fn new(mut entries: Vec<Entry>, fallback: Option<Arc<Route>>, is_rest_older: bool) -> Self {
        let first = entries.first().filter(|_| !is_rest_older).map(|first| Arc::clone(&first.route));
        entries.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        let end_of = |kind: u8| entries.partition_point(|entry| entry.path.kind_order() <= kind);
        let (exact, regexes) = (0..end_of(0), end_of(0)..end_of(1));
        let prefixes = regexes.end..entries.len();
        let oldest =
            entries.iter().position(|entry| first.as_ref().is_some_and(|first| Arc::ptr_eq(first, &entry.route)));
        let oldest = u32::try_from(oldest.unwrap_or(entries.len())).unwrap_or(u32::MAX);
        Self {
            exact: PathIndex::new(buckets(&entries, exact)),
            prefixes: PathIndex::new(buckets(&entries, prefixes)),
            regexes,
            entries: entries.into(),
            fallback,
            oldest,
        }
    }

    /// All routes in order of precedence, without the fallback.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Routes that ask for the same path in the same way, in order of precedence; of regular expressions, none.
    pub fn same_path(&self, path: &PathTest) -> &[Entry] {
        let bucket = match path {
            PathTest::Exact(text) => self.exact.exact(text),
            PathTest::Prefix(text) => self.prefixes.exact(text),
            PathTest::Regex(_) => None,
        };
        bucket.and_then(|bucket| self.entries.get(bucket.routes.clone())).unwrap_or_default()
    }

    /// What takes requests that none of the routes wants.
    pub fn fallback(&self) -> Option<&Arc<Route>> {
        self.fallback.as_ref()
    }

    /// The route that was there first: the rest of the host is its namespace's.
    pub fn oldest(&self) -> Option<&Origin> {
        self.routes().nth(self.oldest as usize).map(|route| &route.origin)
    }

    /// All routes, the fallback last.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route).chain(&self.fallback)
    }

    /// The one matcher: serves requests and explains them.
    fn search<'s>(&'s self, request: &RequestView<'_>, observer: &mut impl Observer<'s>) -> Option<Found<'s>> {
        self.search_exact(request, observer)
            .or_else(|| self.search_regexes(request, observer))
            .or_else(|| self.search_prefixes(request, observer))
            .or_else(|| Some(Found { route: self.fallback.as_ref()?, via: Via::Fallback }))
    }

    fn search_exact<'s>(&'s self, request: &RequestView<'_>, observer: &mut impl Observer<'s>) -> Option<Found<'s>> {
        let bucket = self.exact.exact(request.path)?;
        let route = self.first_fit(bucket, request, observer)?;
        Some(Found { route, via: Via::Exact })
    }

    fn search_regexes<'s>(&'s self, request: &RequestView<'_>, observer: &mut impl Observer<'s>) -> Option<Found<'s>> {
        for entry in self.entries.get(self.regexes.clone())? {
            let PathTest::Regex(path) = &entry.path else { continue };
            if path.fits(request.path) && entry.fits(request, observer) {
                return Some(Found { route: &entry.route, via: Via::Regex });
            }
        }
        None
    }

    fn search_prefixes<'s>(&'s self, request: &RequestView<'_>, observer: &mut impl Observer<'s>) -> Option<Found<'s>> {
        let mut next = self.prefixes.longest(request.path);
        while let Some(bucket) = next {
            if let Some(route) = self.first_fit(bucket, request, observer) {
                return Some(Found { route, via: Via::Prefix });
            }
            next = self.prefixes.shorter(bucket);
        }
        None
    }

    fn first_fit<'s>(
        &'s self,
        bucket: &Bucket,
        request: &RequestView<'_>,
        observer: &mut impl Observer<'s>,
    ) -> Option<&'s Arc<Route>> {
        let entries = self.entries.get(bucket.routes.clone())?;
        entries.iter().find(|entry| entry.fits(request, observer)).map(|entry| &entry.route)
    }
}

// === impl Entry ===

impl Entry {
    /// Puts a route together with what it asks for.
    pub fn new(path: PathTest, conditions: Conditions, route: Arc<Route>) -> Self {
        let conditions = (!conditions.is_empty()).then(|| Box::new(conditions));
        Self { path, conditions, route }
    }

    /// `exact`, `regex` or `prefix`.
    pub fn kind(&self) -> &'static str {
        match self.path {
            PathTest::Exact(_) => "exact",
            PathTest::Regex(_) => "regex",
            PathTest::Prefix(_) => "prefix",
        }
    }

    /// The path, pattern or prefix as people write it.
    pub fn path(&self) -> &str {
        match &self.path {
            PathTest::Prefix(prefix) if prefix.is_empty() => "/",
            path => path.text(),
        }
    }

    /// Whether it asks for nothing beside the path.
    pub fn is_path_only(&self) -> bool {
        self.conditions.is_none()
    }

    /// Conditions beside the path; empty when there are none.
    pub fn conditions(&self) -> String {
        self.conditions.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    fn fits<'s>(&'s self, request: &RequestView<'_>, observer: &mut impl Observer<'s>) -> bool {
        match self.conditions.as_ref().map_or(Ok(()), |conditions| conditions.check(request)) {
            Ok(()) => {
                observer.candidate(self, Verdict::Won);
                true
            }
            Err(miss) => {
                observer.candidate(self, Verdict::Lost(miss.into()));
                false
            }
        }
    }

    /// Sorts by kind, longer paths first, then by what is asked beside the path.
    ///
    /// Routes of one exact path or prefix stand together; regular expressions of one length are one list.
    fn precedence(&self) -> (u8, usize, &str, (bool, usize, usize)) {
        let text = self.path.text();
        let asked = self.conditions.as_ref().map_or((true, usize::MAX, usize::MAX), |c| c.precedence());
        let together = if matches!(self.path, PathTest::Regex(_)) { "" } else { text };
        (self.path.kind_order(), usize::MAX - text.len(), together, asked)
    }
}

// === impl PathTest ===

impl PathTest {
    /// A prefix; closing slashes are dropped.
    pub fn prefix(text: &Arc<str>) -> Self {
        match text.trim_end_matches('/') {
            "" => Self::Prefix(Arc::default()),
            trimmed if trimmed.len() == text.len() => Self::Prefix(Arc::clone(text)),
            trimmed => Self::Prefix(trimmed.into()),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Regex(path) => &path.pattern,
        }
    }

    fn kind_order(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Regex(_) => 1,
            Self::Prefix(_) => 2,
        }
    }

    /// Whether the path alone fits.
    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *path,
            Self::Prefix(prefix) => is_prefix(prefix, path),
            Self::Regex(regex) => regex.fits(path),
        }
    }
}

// === impl PathRegex ===

impl PathRegex {
    /// Takes the pattern as it was written, and the expression compiled from it, anchored at the start.
    pub fn new(pattern: Arc<str>, regex: Regex) -> Self {
        Self { literal: literal_prefix(&pattern).into(), pattern, regex }
    }

    fn fits(&self, path: &str) -> bool {
        path.starts_with(&*self.literal) && self.regex.is_match(path)
    }
}

/// What every matching path must begin with, as far as that is easily seen; it spares most runs of the regex.
fn literal_prefix(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    if pattern.contains('|') {
        return "";
    }
    let end = pattern.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_~%=,:;@!'".contains(c)));
    let Some(end) = end else { return pattern };
    let (literal, rest) = pattern.split_at(end);
    // A repetition makes the character before it optional.
    let is_repeated = rest.starts_with(['?', '*', '{']);
    let keep = if is_repeated { literal.len().saturating_sub(1) } else { literal.len() };
    literal.get(..keep).unwrap_or("")
}

/// Runs of entries with the same path.
fn buckets(entries: &[Entry], range: Range<usize>) -> Vec<(Arc<str>, Range<usize>)> {
    let mut buckets: Vec<(Arc<str>, Range<usize>)> = Vec::new();
    for (index, entry) in entries.iter().enumerate().take(range.end).skip(range.start) {
        let (PathTest::Exact(path) | PathTest::Prefix(path)) = &entry.path else { continue };
        match buckets.last_mut() {
            Some((last, routes)) if last == path => routes.end = index + 1,
            _ => buckets.push((Arc::clone(path), index..index + 1)),
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::literal_prefix;

    #[test]
    fn the_literal_prefix_is_what_every_match_begins_with() {
        let cases = [
            ("/api/v[0-9]+", "/api/v"),
            ("^/api/.*", "/api/"),
            ("/ab?c", "/a"),
            ("/ab*", "/a"),
            ("/ab+", "/ab"),
            ("/ab{0}", "/a"),
            ("/a|/b", ""),
            ("(?i)/a", ""),
            ("/a b", "/a"),
            ("/a\\.b", "/a"),
            ("/ä?x", "/"),
            ("/plain", "/plain"),
        ];
        for (pattern, want) in cases {
            assert_eq!(literal_prefix(pattern), want, "{pattern}");
        }
    }
}
