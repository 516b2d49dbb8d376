//! Routes: what happens to a request, with everything resolved.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tidegate_plugin::RouteFacts;

use super::host::HostCompiler;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{self, BackendId, PathMatch};
use crate::reason::Reason;
use crate::snapshot::route::{
    Action, Forward, HttpsRedirect, Named, Policy, Redirect, RedirectPath, Respond, Route, Setting, Share, Timeouts,
};

/// Policies that were compiled: neighbours mostly have the same one.
#[derive(Debug, Default)]
pub(super) struct Policies {
    last: Option<(Arc<model::Policy>, Arc<Policy>)>,
}

/// Compiles a route; what cannot be built closes it.
pub(super) fn compile(
    cx: &mut HostCompiler<'_>,
    route: &model::Route,
    diagnostics: &mut Vec<Diagnostic>,
) -> Arc<Route> {
    let facts = Arc::new(facts(route));
    let mut action = action(cx, route, &facts, diagnostics);
    let pipeline = match cx.instances.build(&route.plugins) {
        Ok(pipeline) => {
            diagnostics.extend(pipeline.instances().iter().flat_map(|instance| instance.findings.iter().cloned()));
            pipeline
        }
        Err(found) => {
            diagnostics.extend(found);
            action = Action::Refuse(Reason::BrokenPolicy);
            Arc::default()
        }
    };
    Arc::new(Route {
        metrics: (cx.route_metrics)(&facts),
        facts,
        origin: route.origin.clone(),
        action,
        https_redirect: https_redirect(&route.https_redirect),
        pipeline,
        policy: cx.policies.compile(&route.policy),
    })
}

// === impl Policies ===

impl Policies {
    fn compile(&mut self, policy: &Arc<model::Policy>) -> Arc<Policy> {
        if let Some((_, compiled)) = self.last.as_ref().filter(|(known, _)| Arc::ptr_eq(known, policy)) {
            return Arc::clone(compiled);
        }
        let model::Timeouts { connect, read, head, send, idle, endpoints } = policy.timeouts;
        let head = head.unwrap_or(read.saturating_mul(2)).max(read);
        let compiled = Arc::new(Policy {
            timeouts: Timeouts { connect, read, head, send, idle, endpoints },
            max_body: policy.limits.body_bytes,
            tries: policy.tries.max(1),
            settings: settings(&policy.settings),
        });
        self.last = Some((Arc::clone(policy), Arc::clone(&compiled)));
        compiled
    }
}

fn https_redirect(redirect: &model::HttpsRedirect) -> HttpsRedirect {
    match redirect {
        model::HttpsRedirect::Off => HttpsRedirect::Never,
        model::HttpsRedirect::On => HttpsRedirect::Always,
        model::HttpsRedirect::Hosts(hosts) => HttpsRedirect::Hosts(Arc::clone(hosts)),
    }
}

fn facts(route: &model::Route) -> RouteFacts {
    RouteFacts {
        kind: route.origin.kind,
        namespace: Arc::clone(&route.origin.namespace),
        name: Arc::clone(&route.name),
        service: only_service(route).unwrap_or_default(),
        path: Arc::clone(route.matcher.path.text()),
    }
}

/// The name of the route's backend, if all of them that get requests have one name.
fn only_service(route: &model::Route) -> Option<Arc<str>> {
    let model::Action::Forward(backends) = &route.action else { return None };
    let mut names = backends.iter().filter(|it| it.weight > 0).map(|it| service(route, &it.backend));
    let first = names.next()?;
    names.all(|name| name == first).then_some(first)
}

/// The name of a backend as metrics and logs have it: that of the Service or upstream.
fn service(route: &model::Route, backend: &BackendId) -> Arc<str> {
    match backend.namespace() {
        Some(namespace) if *namespace != *route.origin.namespace => format!("{namespace}/{}", backend.name()).into(),
        _ => Arc::clone(backend.name()),
    }
}

fn settings(settings: &[model::Setting]) -> Box<[Setting]> {
    let settings = settings.iter().map(|setting| Setting {
        name: setting.name,
        value: Arc::clone(&setting.value),
        origin: setting.origin.clone(),
    });
    settings.collect()
}

fn action(
    cx: &mut HostCompiler<'_>,
    route: &model::Route,
    facts: &RouteFacts,
    diagnostics: &mut Vec<Diagnostic>,
) -> Action {
    let compiled = match &route.action {
        model::Action::Forward(backends) => {
            let shares: Vec<Share> = backends.iter().map(|it| share(cx, route, facts, it)).collect();
            Ok(Action::Forward(Forward::new(shares)))
        }
        model::Action::Redirect(redirect) => self::redirect(redirect, &route.matcher.path),
        model::Action::Respond(respond) => self::respond(respond),
        model::Action::Refuse { reason } => Ok(Action::Refuse(*reason)),
    };
    compiled.unwrap_or_else(|message| {
        diagnostics.push(Diagnostic::error(Code::InvalidAction, &route.origin, message));
        Action::Refuse(Reason::InvalidBackend)
    })
}

fn share(
    cx: &mut HostCompiler<'_>,
    route: &model::Route,
    facts: &RouteFacts,
    backend: &model::WeightedBackend,
) -> Share {
    let named = (backend.weight > 0 && facts.service.is_empty()).then(|| {
        let facts = RouteFacts { service: service(route, &backend.backend), ..facts.clone() };
        Box::new(Named { metrics: (cx.route_metrics)(&facts), facts })
    });
    Share { upstream: cx.upstreams.upstream(&backend.backend), weight: backend.weight, named }
}

fn redirect(redirect: &model::Redirect, path: &PathMatch) -> Result<Action, String> {
    let path = redirect.path.as_ref().map(|change| match change {
        model::RedirectPath::Full(path) => RedirectPath::Full(Arc::clone(path)),
        model::RedirectPath::Prefix(replacement) => {
            RedirectPath::Prefix { replacement: Arc::clone(replacement), matched: matched_len(path) }
        }
    });
    Ok(Action::Redirect(Box::new(Redirect {
        status: read_status(redirect.status)?,
        scheme: redirect.scheme.clone(),
        host: redirect.host.clone(),
        port: redirect.port,
        path,
    })))
}

/// Bytes of a matching path that the match covers: all of an exact one, a prefix without closing slash, nothing
/// of a regular expression's, whose match has no fixed length.
fn matched_len(path: &PathMatch) -> usize {
    match path {
        PathMatch::Exact(path) => path.len(),
        PathMatch::Prefix(prefix) => prefix.trim_end_matches('/').len(),
        PathMatch::Regex(_) => 0,
    }
}

fn respond(respond: &model::Respond) -> Result<Action, String> {
    let content_type = HeaderValue::from_str(&respond.content_type);
    Ok(Action::Respond(Box::new(Respond {
        status: read_status(respond.status)?,
        body: bytes::Bytes::copy_from_slice(respond.body.as_bytes()),
        content_type: content_type.map_err(|_| format!("`{}` is not a media type", respond.content_type))?,
    })))
}

fn read_status(status: u16) -> Result<StatusCode, String> {
    StatusCode::from_u16(status).map_err(|_| format!("`{status}` is not a status"))
}
