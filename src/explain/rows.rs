//! Routes, upstreams and certificates as rows: what tables and the admin API show.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_plugin::RouteFacts;

use super::{Candidate, PluginView, RouteView, SettingView, UpstreamView};
use crate::endpoint::Upstream;
use crate::host::HostPattern;
use crate::snapshot::pipeline::Description;
use crate::snapshot::route::{Action, Route};
use crate::snapshot::router::{Considered, HostRoutes, Verdict};
use crate::snapshot::{Served, Snapshot};

/// A route as metrics and log name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RouteName {
    /// Kind of the object: `Ingress`, or `Conf`.
    pub kind: String,
    /// Namespace of the object; empty for conf routes.
    pub namespace: String,
    /// Name of the object, or of the conf route.
    pub name: String,
}

/// One row of the routing table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RouteRow {
    /// Host pattern; `*`: every host; `-`: whatever nothing else wants.
    pub host: String,
    /// Path, pattern or prefix.
    pub path: String,
    /// `exact`, `regex`, `prefix` or `fallback`.
    pub kind: String,
    /// Conditions besides the path.
    pub conditions: String,
    /// Which route.
    pub route: RouteName,
    /// Backends with their weights, or what is answered.
    pub target: String,
    /// Ready endpoints and all endpoints of its backends; `None`: it has no backends.
    pub ready: Option<(usize, usize)>,
    /// Names of its plugins in the order in which they run.
    pub plugins: Vec<String>,
    /// Object, field and file.
    pub origin: String,
}

/// An upstream and its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpstreamRow {
    /// Id.
    pub id: String,
    /// Protocol of its endpoints.
    pub protocol: String,
    /// How an endpoint is picked.
    pub balance: String,
    /// Whether endpoints are probed.
    pub is_checked: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// Addresses of its DNS name that may not be endpoints, and why.
    pub refused: Vec<String>,
}

/// An endpoint as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EndpointRow {
    /// Address and port.
    pub address: String,
    /// Share.
    pub weight: u16,
    /// Whether it is healthy or not checked.
    pub healthy: bool,
    /// Tries under way.
    pub in_flight: u32,
    /// Why its last probe failed.
    pub error: Option<String>,
}

/// A certificate and the hosts that it is shown for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CertificateRow {
    /// Host pattern; `-`: whoever names no known host.
    pub host: String,
    /// Secret or file.
    pub name: String,
    /// DNS names that it is valid for.
    pub dns_names: Vec<String>,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// Object and file.
    pub origin: String,
    /// The `tls` entry that names it; empty: nobody's.
    pub owner: String,
}

// === impl RouteName ===

impl RouteName {
    fn of(facts: &RouteFacts) -> Self {
        let RouteFacts { kind, namespace, name, .. } = facts;
        Self { kind: (*kind).to_owned(), namespace: namespace.to_string(), name: name.to_string() }
    }
}

impl fmt::Display for RouteName {
    /// `namespace/name`, or the conf route's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// The routing table: hosts in order of precedence, each with its routes in order of precedence.
pub(crate) fn routes(snapshot: &Snapshot) -> Vec<RouteRow> {
    let mut rows = Vec::new();
    for (pattern, routes) in snapshot.common.router.hosts() {
        let host = pattern.to_string();
        rows.extend(host_rows(&host, routes));
    }
    rows.extend(snapshot.common.default.as_ref().map(|route| row("-", "fallback", "/", String::new(), route)));
    rows
}

fn host_rows<'r>(host: &'r str, routes: &'r HostRoutes) -> impl Iterator<Item = RouteRow> + 'r {
    let entries = routes.entries().iter();
    let rows = entries.map(move |entry| row(host, entry.kind(), entry.path(), entry.conditions(), entry.route()));
    rows.chain(routes.fallback().map(|route| row(host, "fallback", "/", String::new(), route)))
}

fn row(host: &str, kind: &str, path: &str, conditions: String, route: &Route) -> RouteRow {
    RouteRow {
        host: host.to_owned(),
        path: path.to_owned(),
        kind: kind.to_owned(),
        conditions,
        route: RouteName::of(&route.facts),
        target: target(&route.action),
        ready: ready(&route.action),
        plugins: plugins(route).into_iter().map(|plugin| plugin.name).collect(),
        origin: route.origin.to_string(),
    }
}

fn target(action: &Action) -> String {
    match action {
        Action::Refuse(reason) => format!("{} {reason}", reason.status()),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status.as_u16()),
        Action::Respond(respond) => format!("respond {}", respond.status.as_u16()),
        Action::Forward(forward) => {
            let shares: Vec<(&Arc<Upstream>, u32)> = forward.shares().collect();
            match &*shares {
                [] => "503 no_endpoints".to_owned(),
                [(only, _)] => only.id().to_string(),
                many => many
                    .iter()
                    .map(|(upstream, weight)| format!("{}*{weight}", upstream.id()))
                    .collect::<Vec<_>>()
                    .join(" "),
            }
        }
    }
}

fn ready(action: &Action) -> Option<(usize, usize)> {
    let Action::Forward(forward) = action else { return None };
    let counts = forward.shares().map(|(upstream, _)| upstream.counts());
    Some(counts.fold((0, 0), |(healthy, total), counts| (healthy + counts.healthy, total + counts.total)))
}

fn plugins(route: &Route) -> Vec<PluginView> {
    let described = route.pipeline.describe();
    let view = |it: &Description| PluginView {
        name: it.name.to_string(),
        kind: it.kind.to_string(),
        stage: it.stage.to_owned(),
        mode: it.mode.as_str().to_owned(),
        config: it.config.clone(),
        origin: it.origin.to_string(),
    };
    described.iter().map(view).collect()
}

/// All upstreams with their endpoints.
pub(crate) fn upstreams(all: impl Iterator<Item = Arc<Upstream>>) -> Vec<UpstreamRow> {
    all.map(|upstream| {
        let config = upstream.config();
        UpstreamRow {
            id: upstream.id().to_string(),
            protocol: config.protocol.as_str().to_owned(),
            balance: config.balance.as_str().to_owned(),
            is_checked: config.health_check.is_some(),
            endpoints: upstream.endpoints().into_iter().map(endpoint_row).collect(),
            refused: refused(&upstream),
        }
    })
    .collect()
}

fn refused(upstream: &Upstream) -> Vec<String> {
    upstream.refused().iter().map(ToString::to_string).collect()
}

fn endpoint_row(view: crate::endpoint::EndpointView) -> EndpointRow {
    EndpointRow {
        address: view.address.to_string(),
        weight: view.weight,
        healthy: view.healthy,
        in_flight: view.in_flight,
        error: view.last_probe_error,
    }
}

/// All certificates by host, the default last.
pub(crate) fn certificates(snapshot: &Snapshot) -> Vec<CertificateRow> {
    let certificates = &snapshot.common.certificates;
    let hosts = certificates.iter().map(|(pattern, it)| (pattern.to_string(), &it.served, it.owner.to_string()));
    hosts
        .chain([("-".to_owned(), &certificates.default, String::new())])
        .map(|(host, served, owner)| CertificateRow {
            host,
            name: served.name.to_string(),
            dns_names: served.dns_names.texts().to_vec(),
            not_after: served.not_after,
            origin: served.origin.to_string(),
            owner,
        })
        .collect()
}

/// A route that the search considered.
pub(super) fn candidate(considered: &Considered<'_>) -> Candidate {
    let route = considered.entry.route();
    Candidate {
        route: RouteName::of(&route.facts),
        kind: considered.entry.kind().to_owned(),
        path: considered.entry.path().to_owned(),
        conditions: considered.entry.conditions(),
        won: considered.verdict == Verdict::Won,
        verdict: considered.verdict.to_string(),
        origin: route.origin.to_string(),
    }
}

/// The fallback of a host, as the last of its candidates.
pub(super) fn fallback(served: &Served, host: Option<&HostPattern>, verdict: Option<Verdict<'_>>) -> Option<Candidate> {
    let verdict = verdict?;
    let (_, routes) = served.router.hosts().find(|(pattern, _)| Some(*pattern) == host)?;
    Some(last_resort(routes.fallback()?, verdict == Verdict::Won, verdict.to_string()))
}

/// The default backend of everything, after the candidates of the host.
pub(super) fn global(route: &Route, is_taken: bool) -> Candidate {
    let verdict = if is_taken { "a route of the host fits" } else { "won" };
    last_resort(route, !is_taken, verdict.to_owned())
}

fn last_resort(route: &Route, won: bool, verdict: String) -> Candidate {
    Candidate {
        route: RouteName::of(&route.facts),
        kind: "fallback".to_owned(),
        path: "/".to_owned(),
        conditions: String::new(),
        won,
        verdict,
        origin: route.origin.to_string(),
    }
}

/// The route that takes a request.
pub(super) fn route_view(route: &Route) -> RouteView {
    let settings = route.policy.settings.iter().map(|setting| SettingView {
        name: setting.name.to_string(),
        value: setting.value.to_string(),
        origin: setting.origin.to_string(),
    });
    RouteView {
        route: RouteName::of(&route.facts),
        origin: route.origin.to_string(),
        settings: settings.collect(),
        plugins: plugins(route),
    }
}

/// An upstream that a request can go to, with the endpoint that is next.
pub(super) fn upstream_view(route: &Route, place: Option<usize>, share: (&Arc<Upstream>, u32)) -> UpstreamView {
    let (upstream, weight) = share;
    let config = upstream.config();
    let endpoint = |view: crate::endpoint::EndpointView| {
        let state = if view.healthy { "ready" } else { "unhealthy" };
        let error = view.last_probe_error.map(|error| format!(": {error}")).unwrap_or_default();
        format!("{} weight {} {state}{error}", view.address, view.weight)
    };
    UpstreamView {
        id: upstream.id().to_string(),
        service: route.facts_of(place).service.to_string(),
        weight,
        protocol: config.protocol.as_str().to_owned(),
        balance: config.balance.as_str().to_owned(),
        endpoints: upstream.endpoints().into_iter().map(endpoint).collect(),
        refused: refused(upstream),
        next: upstream.explain_pick().filter(|_| !config.is_invalid).map(|address| address.to_string()),
    }
}
