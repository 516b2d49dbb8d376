//! The snapshot as JSON, for the admin API and for tests: same content, same text.

use serde_json::{Map, Value, json};

use super::Snapshot;
use super::certificates::{Presented, ServedCertificate};
use super::route::{Action, HttpsRedirect, RedirectPath, Route};
use super::router::{Entry, HostRoutes};
use crate::host::HostPattern;
use crate::policy::{Timeouts, Wait};

impl Snapshot {
    /// Describes everything but the generation: hosts and routes in order of precedence, certificates, edge.
    pub fn describe(&self) -> Value {
        json!({
            "hosts": self.common.router.hosts().map(|(pattern, routes)| host(pattern, routes)).collect::<Vec<_>>(),
            "default": self.common.default.as_deref().map(route),
            "certificates": self.common.certificates.hosts.iter()
                .map(|(pattern, presented)| json!({ "host": pattern, "presented": list(presented) }))
                .collect::<Vec<_>>(),
            "defaultCertificate": certificate(&self.common.certificates.default),
            "edge": self.edge.settings,
        })
    }
}

fn host(pattern: &HostPattern, routes: &HostRoutes) -> Value {
    json!({
        "host": pattern,
        "routes": routes.entries().iter().map(entry).collect::<Vec<_>>(),
        "fallback": routes.fallback().map(|fallback| route(fallback)),
    })
}

fn entry(entry: &Entry) -> Value {
    let mut value = route(entry.route());
    if let Value::Object(map) = &mut value {
        map.insert("path".to_owned(), json!({ entry.kind(): entry.path() }));
        map.insert("conditions".to_owned(), entry.conditions().into());
    }
    value
}

fn route(route: &Route) -> Value {
    json!({
        "kind": route.facts.kind,
        "namespace": route.facts.namespace,
        "name": route.facts.name,
        "service": route.facts.service,
        "origin": route.origin,
        "action": action(&route.action),
        "httpsRedirect": match &route.https_redirect {
            HttpsRedirect::Never => json!(false),
            HttpsRedirect::Always => json!(true),
            HttpsRedirect::Hosts(hosts) => json!(hosts),
        },
        "timeouts": timeouts(&route.policy.timeouts),
        "maxBody": route.policy.limits.body_bytes,
        "attempts": route.policy.attempts,
        "settings": route.policy.settings,
    })
}

fn timeouts(timeouts: &Timeouts) -> Map<String, Value> {
    let name = |wait: Wait| wait.name().trim_start_matches("timeouts.").to_owned();
    timeouts.all().map(|(wait, value)| (name(wait), seconds(value).into())).collect()
}

fn action(action: &Action) -> Value {
    match action {
        Action::Forward(forward) => {
            let shares =
                forward.shares().map(|(upstream, weight)| json!({ "upstream": upstream.id(), "weight": weight }));
            json!({ "forward": shares.collect::<Vec<_>>() })
        }
        Action::Redirect(redirect) => json!({ "redirect": {
            "status": redirect.status.as_u16(),
            "scheme": redirect.scheme,
            "host": redirect.host,
            "port": redirect.port,
            "path": redirect.path.as_ref().map(|path| match path {
                RedirectPath::Full(path) => json!({ "full": path }),
                RedirectPath::Prefix { replacement, matched } => json!({ "prefix": replacement, "matched": matched }),
            }),
        }}),
        Action::Respond(respond) => json!({ "respond": {
            "status": respond.status.as_u16(),
            "contentType": String::from_utf8_lossy(respond.content_type.as_bytes()),
            "bodyBytes": respond.body.len(),
        }}),
        Action::Refuse(reason) => json!({ "refuse": reason }),
    }
}

fn list(presented: &[Presented]) -> Vec<Value> {
    presented.iter().map(|it| json!({ "certificate": certificate(&it.served), "owner": it.owner })).collect()
}

fn certificate(served: &ServedCertificate) -> Value {
    json!({
        "name": served.name,
        "origin": served.origin,
        "dnsNames": served.dns_names,
        "notAfter": served.not_after,
    })
}

fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64()
}
