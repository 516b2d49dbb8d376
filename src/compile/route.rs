//! Routes: what happens to a request, with everything resolved.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tidegate_plugin::{Hooks, RouteFacts};

use super::RouteMetricsSource;
use super::pipeline::Instances;
use super::upstream::Upstreams;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{self, BackendId, PathMatch};
use crate::policy;
use crate::reason::Reason;
use crate::snapshot::pipeline::Pipeline;
use crate::snapshot::route::{
    Action, Choices, Chosen, Forward, HttpsRedirect, Named, Redirect, RedirectPath, Respond, Route, Share,
};

/// Compiler of routes.
pub(super) struct RouteCompiler<'c> {
    pub(super) upstreams: &'c mut Upstreams,
    pub(super) instances: &'c mut Instances,
    pub(super) route_metrics: &'c RouteMetricsSource,
}

// === impl RouteCompiler ===

impl RouteCompiler<'_> {
    /// Compiles a route. One whose plugins or action cannot be built is closed.
    pub(super) fn route(&mut self, route: &model::Route, diagnostics: &mut Vec<Diagnostic>) -> Arc<Route> {
        compile(self, route, diagnostics)
    }
}

/// Compiles a route; what cannot be built closes it.
fn compile(cx: &mut RouteCompiler<'_>, route: &model::Route, diagnostics: &mut Vec<Diagnostic>) -> Arc<Route> {
    let pipeline = match cx.instances.build(&route.plugins) {
        Ok(pipeline) => {
            diagnostics.extend(pipeline.instances().iter().flat_map(|instance| instance.findings.iter().cloned()));
            Some(pipeline)
        }
        Err(found) => {
            diagnostics.extend(found);
            None
        }
    };
    let is_chosen = pipeline.as_ref().is_some_and(|pipeline| pipeline.hooks().contains(Hooks::ROUTE));
    let facts = Arc::new(facts(route, is_chosen));
    let mut action = action(cx, route, &facts, diagnostics);
    if pipeline.is_none() {
        action = Action::Refuse(Reason::BrokenPolicy);
    }
    let pipeline = pipeline.unwrap_or_default();
    let choices = is_chosen.then(|| Box::new(choices(cx, route, &facts, &pipeline)));
    Arc::new(Route {
        choices,
        metrics: (cx.route_metrics)(&facts),
        facts,
        origin: route.origin.clone(),
        action,
        https_redirect: https_redirect(&route.https_redirect),
        pipeline,
        policy: Arc::clone(&route.policy),
    })
}

fn https_redirect(redirect: &model::HttpsRedirect) -> HttpsRedirect {
    match redirect {
        model::HttpsRedirect::Off => HttpsRedirect::Never,
        model::HttpsRedirect::On => HttpsRedirect::Always,
        model::HttpsRedirect::Hosts(hosts) => HttpsRedirect::Hosts(Arc::clone(hosts)),
    }
}

/// Where a plugin chooses, a request is told under a backend's name only when it goes there.
fn facts(route: &model::Route, is_chosen: bool) -> RouteFacts {
    let service = if is_chosen { None } else { only_service(route) };
    RouteFacts::new(route.origin.kind, Arc::clone(&route.origin.namespace), Arc::clone(&route.name))
        .service(service.unwrap_or_default())
        .path(Arc::clone(route.matcher.path.text()))
}

/// What the route's plugins may choose among.
fn choices(cx: &mut RouteCompiler<'_>, route: &model::Route, facts: &RouteFacts, pipeline: &Pipeline) -> Choices {
    let model::Action::Forward(backends) = &route.action else { return Choices::default() };
    let backends = backends.iter().map(|it| chosen(cx, facts, &it.backend, service(route, &it.backend), it.weight));
    let backends = backends.collect();
    let names = pipeline.upstreams().map(|name| (BackendId::upstream(name), Arc::clone(name)));
    Choices { backends, upstreams: names.map(|(id, name)| chosen(cx, facts, &id, name, 0)).collect() }
}

fn chosen(cx: &mut RouteCompiler<'_>, facts: &RouteFacts, id: &BackendId, name: Arc<str>, weight: u32) -> Chosen {
    let facts = facts.clone().service(Arc::clone(&name));
    let named = Named { metrics: (cx.route_metrics)(&facts), facts };
    Chosen { name, weight, upstream: cx.upstreams.upstream(id), named }
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

fn action(
    cx: &mut RouteCompiler<'_>,
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
    cx: &mut RouteCompiler<'_>,
    route: &model::Route,
    facts: &RouteFacts,
    backend: &model::WeightedBackend,
) -> Share {
    let named = (backend.weight > 0 && facts.service.is_empty()).then(|| {
        let facts = facts.clone().service(service(route, &backend.backend));
        Box::new(Named { metrics: (cx.route_metrics)(&facts), facts })
    });
    Share { upstream: cx.upstreams.upstream(&backend.backend), weight: backend.weight, named }
}

fn redirect(redirect: &policy::Redirect, path: &PathMatch) -> Result<Action, String> {
    let full = redirect.path.clone().map(RedirectPath::Full);
    let prefix = redirect.prefix.clone();
    let prefix = prefix.map(|replacement| RedirectPath::Prefix { replacement, matched: matched_len(path) });
    Ok(Action::Redirect(Box::new(Redirect {
        status: read_status(redirect.status)?,
        scheme: redirect.scheme.clone(),
        host: redirect.host.clone(),
        port: redirect.port,
        path: full.or(prefix),
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

fn respond(respond: &policy::Respond) -> Result<Action, String> {
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
