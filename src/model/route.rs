//! Virtual hosts and routes: which requests, and what happens to them.

use std::sync::{Arc, LazyLock};

use serde::Serialize;

use super::{BackendId, PluginUse};
use crate::host::{HostPattern, HostSet};
use crate::origin::Origin;
use crate::policy::{Policy, Redirect, Respond};

/// All routes of one host pattern.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualHost {
    /// Which hosts.
    pub pattern: HostPattern,
    /// Its routes, in any order: the compiler sorts them by precedence.
    pub routes: Vec<Arc<Route>>,
    /// What takes requests that none of the routes wants: the default backend of an Ingress with rules for this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Arc<Route>>,
}

/// A route: one match, and the action for requests that match.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Name of the object, or of the conf route; kind and namespace stand in the origin.
    pub name: Arc<str>,
    /// Object and field of the path or rule.
    pub origin: Origin,
    /// Which requests.
    #[serde(rename = "match")]
    pub matcher: Match,
    /// Who wins between equal matches.
    pub rank: Rank,
    /// What happens.
    pub action: Action,
    /// Whether plain HTTP is sent to HTTPS.
    pub https_redirect: HttpsRedirect,
    /// Plugins in the order they were written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginUse>,
    /// Timeouts, attempts and limits.
    pub policy: Arc<Policy>,
}

/// Which requests a route fits: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The canonical path.
    pub path: PathMatch,
    /// Methods in upper case; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Header conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameter conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
}

/// How the path is compared. Always case-sensitive, on the canonical path, without the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// Equal, byte by byte.
    Exact(Arc<str>),
    /// Equal, or followed by `/`: whole elements. Kept without closing slash; `/` is everything.
    Prefix(Arc<str>),
    /// A regular expression, anchored at the start.
    Regex(Arc<str>),
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// Name, lower case.
    pub name: Arc<str>,
    /// Its value; several fields of the name are joined by `,`.
    pub value: TextMatch,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueryMatch {
    /// Name, case-sensitive, as decoded.
    pub name: Arc<str>,
    /// Its first value, decoded.
    pub value: TextMatch,
}

/// How a header or parameter is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TextMatch {
    /// There, with any value.
    Present,
    /// Equal.
    Exact(Arc<str>),
    /// A regular expression that fits the whole value.
    Regex(Arc<str>),
}

/// Precedence between matches that are otherwise equal: the smallest wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rank {
    /// Seconds since 1970 at which the object was created; conf routes have none and come first.
    pub created: Option<i64>,
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Position inside the object.
    pub index: u32,
}

/// Action of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Goes to one of these backends, by weight.
    Forward(Box<[WeightedBackend]>),
    /// Is answered with a redirect.
    Redirect(Box<Redirect>),
    /// Is answered with a fixed response.
    Respond(Box<Respond>),
    /// Cannot be served; the reason was given in a diagnostic. Always answered 503, never passed on.
    Refuse {
        /// Which reason code the client's answer is logged under.
        reason: crate::reason::Reason,
    },
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightedBackend {
    /// Which backend.
    pub backend: BackendId,
    /// Its share of the sum of weights; 0: none.
    pub weight: u32,
}

/// Whether plain HTTP requests are redirected to https with 308.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpsRedirect {
    /// Never.
    #[default]
    Off,
    /// Whatever the host.
    On,
    /// Those of some of the hosts that the route's pattern matches.
    Hosts(Arc<HostSet>),
}

// === impl VirtualHost ===

impl VirtualHost {
    /// All routes, the fallback last.
    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().chain(&self.fallback)
    }

    /// The route that was there first. Its namespace may take what the paths of the host leave.
    pub fn oldest(&self) -> Option<&Arc<Route>> {
        self.all_routes().min_by(|a, b| a.rank.cmp(&b.rank))
    }
}

// === impl PathMatch ===

impl Default for PathMatch {
    fn default() -> Self {
        static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "/".into());
        Self::Prefix(Arc::clone(&ROOT))
    }
}

impl PathMatch {
    /// The path, prefix or pattern.
    pub fn as_str(&self) -> &str {
        self.text()
    }

    /// The path, prefix or pattern, to be shared.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Regex(text) => text,
        }
    }

    /// `exact`, `prefix` or `regex`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Prefix(_) => "prefix",
            Self::Regex(_) => "regex",
        }
    }
}
