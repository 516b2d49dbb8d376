//! Says where a request would go and why, by asking the data plane's own parts.
//!
//! Guard, router, pipeline, certificates and endpoints are the ones that serve; there is no second matcher.
//! Takes a snapshot and a question, gives plain values; formats nothing for people.

mod listener;
mod question;
mod rows;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_plugin::{Hooks, RequestFacts, Shared, UpstreamRequest};

pub(crate) use question::{Question, QuestionError};
pub(crate) use rows::{CertificateRow, RouteName, RouteRow, UpstreamRow, certificates, routes, upstreams};

use crate::listener::Serves;
use crate::origin::Origin;
use crate::proxy::canonical::{Canonical, canonicalize};
use crate::proxy::redirect;
use crate::reason::Reason;
use crate::snapshot::listener::Listener;
use crate::snapshot::pipeline::Passage;
use crate::snapshot::route::{Action, Redirect, Route};
use crate::snapshot::router::RequestView;
use crate::snapshot::{Served, Snapshot};

/// Where a request would go, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Explanation {
    /// The request as it was asked about.
    pub request: String,
    /// Host and target as they are routed and forwarded; `None`: refused.
    pub canonical: Option<String>,
    /// The client, and whether its forwarded fields are believed.
    pub client: String,
    /// The listener that it would come in by; `None`: no listener speaks its protocol.
    pub listener: Option<String>,
    /// The certificate that it would be shown, for https.
    pub certificate: Option<String>,
    /// Host patterns that were looked up, most specific first; the last one may have been found.
    pub hosts_tried: Vec<String>,
    /// The virtual host that takes it.
    pub host: Option<String>,
    /// Whose route was first on that host: what its paths leave is for that one's namespace.
    pub owner: Option<String>,
    /// Every route of that host, with the reason why it won or lost.
    pub candidates: Vec<Candidate>,
    /// The route that takes it.
    pub route: Option<RouteView>,
    /// Plugins that may choose where it goes; without their word it goes by weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chosen_by: Vec<String>,
    /// Where it can go.
    pub upstreams: Vec<UpstreamView>,
    /// What the upstream is asked for, where plugins make it something else: method, host and target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// What the client gets, in words.
    pub response: String,
    /// The reason code under which the answer would be logged, as far as it is known without asking the upstream.
    pub reason: String,
    /// Whether the request reaches an upstream, a redirect or a fixed answer.
    pub is_served: bool,
}

/// A candidate: a route of the host, and why it won or lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Candidate {
    /// Which route.
    pub route: RouteName,
    /// `exact`, `prefix`, `regex` or `fallback`.
    pub kind: String,
    /// The rule's path.
    pub path: String,
    /// Its conditions besides the path.
    pub conditions: String,
    /// Whether it takes the request.
    pub won: bool,
    /// Why it won or lost.
    pub verdict: String,
    /// Object and field.
    pub origin: String,
}

/// The route that matches the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RouteView {
    /// Which route.
    #[serde(flatten)]
    pub route: RouteName,
    /// Object and field.
    pub origin: String,
    /// Effective values that somebody set, and who.
    pub settings: Vec<SettingView>,
    /// Plugins in the order in which they run.
    pub plugins: Vec<PluginView>,
}

/// A plugin of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PluginView {
    /// Name of the instance.
    pub name: String,
    /// Which plugin.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its stage.
    pub stage: String,
    /// `enforce` or `report`.
    pub mode: String,
    /// Its configuration as written.
    pub config: Value,
    /// Where the configuration stands.
    pub origin: String,
}

/// An effective value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SettingView {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// Who set it.
    pub origin: String,
}

/// An upstream that the request can go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpstreamView {
    /// Id.
    pub id: String,
    /// What metrics and log call it.
    pub service: String,
    /// Its share of the route's requests.
    pub weight: u32,
    /// What its endpoints speak: `http`, `https`, `h2c` or `h2`.
    pub protocol: String,
    /// How an endpoint is picked: `round-robin` or `least-request`.
    pub balance: String,
    /// Its endpoints with their state.
    pub endpoints: Vec<String>,
    /// Addresses of its DNS name that may not be endpoints, and why.
    pub refused: Vec<String>,
    /// The endpoint that the next request would get.
    pub next: Option<String>,
}

/// Explains a request that comes in by one of the listeners.
pub(crate) fn explain(snapshot: &Snapshot, question: &Question) -> Explanation {
    let listener = listener::of(&snapshot.listeners, question);
    let serves = listener.map_or(Serves::Common, |listener| listener.serves);
    let mut it = Explanation {
        request: question.to_string(),
        client: client_text(snapshot, question),
        listener: listener.map(ToString::to_string),
        certificate: certificate_text(snapshot.served(serves), listener, question),
        ..Explanation::default()
    };
    match canonicalize(&question.to_head(), &snapshot.edge) {
        Err(reason) => it.refused(reason),
        Ok(canonical) => it.routed(snapshot, serves, question, &canonical),
    }
    it
}

// === impl Explanation ===

impl Explanation {
    fn refused(&mut self, reason: Reason) {
        self.response = format!("{} {reason}", reason.status());
        self.reason = reason.to_string();
    }

    fn routed(&mut self, snapshot: &Snapshot, serves: Serves, question: &Question, canonical: &Canonical) {
        let served = snapshot.served(serves);
        self.canonical = Some(format!("{}{}", canonical.host, canonical.target()));
        let view = RequestView {
            host: &canonical.host,
            path: &canonical.path,
            query: canonical.query.as_deref(),
            method: &question.method,
            headers: &question.headers,
        };
        let found = served.router.explain(&view);
        self.host = found.host.as_ref().map(ToString::to_string);
        let routes = found.host.as_ref().and_then(|pattern| served.router.host(pattern));
        self.owner = routes.and_then(|routes| routes.oldest()).map(owner_text);
        self.hosts_tried = found.hosts_tried.into_iter().map(|(pattern, _)| pattern).collect();
        self.candidates = found.candidates.iter().map(rows::candidate).collect();
        self.candidates.extend(rows::fallback(served, found.host.as_ref(), found.fallback));
        let is_taken = found.found.is_some();
        self.candidates.extend(served.default.as_deref().map(|route| rows::global(route, is_taken)));
        match snapshot.route(serves, &view) {
            Err(reason) => self.refused(reason),
            Ok(route) => self.taken(route, question, canonical),
        }
    }

    fn taken(&mut self, route: &Route, question: &Question, canonical: &Canonical) {
        self.route = Some(rows::route_view(route));
        if route.https_redirect.is_due(&canonical.host) && canonical.scheme == "http" && !canonical.is_acme_challenge()
        {
            self.is_served = true;
            self.reason = Reason::HttpsRedirect.to_string();
            self.response = format!("308 to {}", redirect::https_location(&facts(question, canonical)));
            return;
        }
        match &route.action {
            Action::Refuse(reason) => self.refused(*reason),
            Action::Redirect(redirect) => {
                self.is_served = true;
                self.reason = Reason::Redirect.to_string();
                self.response = format!("{} to {}", redirect.status.as_u16(), location(redirect, question, canonical));
            }
            Action::Respond(respond) => {
                self.is_served = true;
                self.reason = Reason::DirectResponse.to_string();
                self.response = format!(
                    "{} with {} bytes of {:?}",
                    respond.status.as_u16(),
                    respond.body.len(),
                    respond.content_type
                );
            }
            Action::Forward(forward) => {
                let views = forward.shares().enumerate();
                self.upstreams =
                    views.map(|(it, share)| rows::upstream_view(route, route.place_of(it), share)).collect();
                self.chosen(route);
                self.forwarded();
                self.edited(route, question, canonical);
            }
        }
    }

    /// What plugins may choose besides.
    fn chosen(&mut self, route: &Route) {
        let Some(choices) = &route.choices else { return };
        let choosing = route.pipeline.instances().iter().filter(|it| it.hooks.contains(Hooks::ROUTE));
        self.chosen_by = choosing.map(|instance| instance.name.to_string()).collect();
        for (place, chosen) in choices.all().enumerate().filter(|(_, it)| it.weight == 0) {
            self.upstreams.push(rows::upstream_view(route, Some(place), (&chosen.upstream, 0)));
        }
    }

    /// What plugins make of what is asked for. They are asked as for a request, with nothing that others leave for them.
    fn edited(&mut self, route: &Route, question: &Question, canonical: &Canonical) {
        let (facts, shared) = (facts(question, canonical), Shared::default());
        let mut headers = question.headers.clone();
        let mut head = UpstreamRequest::new(facts, &route.facts, &mut headers);
        route.pipeline.on_upstream_request(&mut head, &shared, &Passage::untimed());
        if shared.has_failed() {
            self.is_served = false;
            return self.refused(Reason::Internal);
        }
        let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
        let host = head.host().unwrap_or(&canonical.host);
        let sent = format!("{} {host}{}{query}", head.method(), head.path());
        let came = format!("{} {}{}", question.method, canonical.host, canonical.target());
        self.sent = Some(sent).filter(|sent| *sent != came);
    }

    fn forwarded(&mut self) {
        self.is_served = self.upstreams.iter().any(|upstream| upstream.next.is_some());
        match self.upstreams.iter().find_map(|upstream| Some((upstream.next.as_ref()?, &upstream.id))) {
            Some((next, id)) => {
                self.response = format!("the response of {id}; next endpoint {next}");
                self.reason = Reason::Upstream.to_string();
            }
            None => self.refused(Reason::NoEndpoints),
        }
    }
}

fn location(redirect: &Redirect, question: &Question, canonical: &Canonical) -> String {
    let authority = question.headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
    let authority = authority.and_then(|text| text.parse::<http::uri::Authority>().ok());
    let port = authority.and_then(|authority| authority.port_u16());
    redirect::location(redirect, &facts(question, canonical), port)
}

fn facts<'a>(question: &'a Question, canonical: &'a Canonical) -> RequestFacts<'a> {
    let mut facts = RequestFacts::new(&question.method, &canonical.host, &canonical.path);
    facts.scheme = canonical.scheme;
    facts.query = canonical.query.as_deref();
    facts.client = canonical.client;
    facts.peer = SocketAddr::new(question.from_ip, 0);
    facts
}

fn client_text(snapshot: &Snapshot, question: &Question) -> String {
    let trust = if snapshot.edge.trusts(question.from_ip) { "trusted" } else { "not trusted" };
    format!("{} (its forwarded headers are {trust})", question.from_ip)
}

fn certificate_text(served: &Served, by: Option<&Listener>, question: &Question) -> Option<String> {
    let host = question.uri.host().filter(|_| question.is_tls())?.to_ascii_lowercase();
    let name = host.trim_end_matches('.');
    let of_listener = by.and_then(|listener| listener.certificate.as_ref());
    if let Some(presented) = served.certificates.presented(name) {
        let (certificate, owner) = (&presented.served, &presented.owner);
        return Some(format!("{} ({}), named by {owner}", certificate.name, certificate.origin));
    }
    let certificate = served.certificates.find_or(Some(name), of_listener);
    if certificate.origin.name.is_empty() {
        return Some(format!("{}, generated at start: no other certificate matches `{name}`", certificate.name));
    }
    Some(format!(
        "{} ({}), the default: no `tls` entry that counts for `{name}` has one",
        certificate.name, certificate.origin
    ))
}

fn owner_text(oldest: &Origin) -> String {
    match &*oldest.namespace {
        "" => format!("the conf, by its first route {oldest}"),
        namespace => format!("namespace {namespace}, by its oldest route {oldest}"),
    }
}
