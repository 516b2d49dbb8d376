//! Routes of the conf: hosts × paths, each with conditions and one action.

use std::sync::Arc;

use super::{Options, first_backend, instance, parse_service, plugin_not_found};
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{
    Action, BackendId, BackendName, HeaderMatch, HttpsRedirect, Match, PathMatch, PluginUse, Policy, QueryMatch, Rank,
    Redirect, RedirectPath, Respond, Route, RouteLabels, TextMatch, WeightedBackend,
};
use crate::origin::Origin;
use crate::path::canonical_path;
use crate::reason::Reason;
use crate::resources::Resources;
use crate::resources::conf::{
    BackendSpec, ConditionSpec, Conf, PathSpec, PluginRef, RedirectSpec, RespondSpec, RouteSpec,
};
use crate::translate::asked::policy;
use crate::translate::contribution::{Candidate, Draft, Redirection};
use crate::translate::ingress::prefix;
use crate::translate::suggest;

/// Bytes of a regular expression.
const MAX_REGEX: usize = 1024;

/// Translates all routes, in order.
pub(super) fn translate_all(conf: &Conf, resources: &Resources, options: &Options, out: &mut Draft) {
    let origin = super::origin(resources);
    let mut next_index = 0;
    for (index, spec) in conf.routes.iter().enumerate() {
        let origin = origin.at(format!("routes[{index}]"));
        let name = spec.name.clone().unwrap_or_else(|| format!("route-{index}"));
        let mut reader = Reader { conf, resources, options, spec, name, origin, out: &mut *out };
        reader.read(&mut next_index);
    }
}

struct Reader<'a> {
    conf: &'a Conf,
    resources: &'a Resources,
    options: &'a Options,
    spec: &'a RouteSpec,
    name: String,
    origin: Origin,
    out: &'a mut Draft,
}

// === impl Reader ===

impl Reader<'_> {
    fn read(&mut self, next_index: &mut u32) {
        let Some(conditions) = self.conditions() else { return };
        let plugins = self.plugins();
        let mut action = self.action();
        if plugins.is_none() {
            action = Action::Refuse { reason: Reason::BrokenPolicy };
        }
        let plugins = plugins.unwrap_or_default();
        let policy = self.policy();
        let (hosts, paths) = (self.hosts(), self.paths());
        for host in &hosts {
            for (path, origin) in &paths {
                let route = Route {
                    name: self.name.as_str().into(),
                    origin: origin.clone(),
                    matcher: Match { path: path.clone(), ..conditions.clone() },
                    rank: Rank { index: *next_index, ..Rank::default() },
                    action: action.clone(),
                    https_redirect: HttpsRedirect::Off,
                    plugins: plugins.clone(),
                    policy: Arc::clone(&policy),
                    labels: RouteLabels {
                        namespace: "".into(),
                        ingress: self.name.as_str().into(),
                        service: first_backend(&action),
                        path: Arc::clone(path.text()),
                    },
                };
                *next_index += 1;
                let redirect = if self.spec.https_redirect { Redirection::Always } else { Redirection::Never };
                self.out.host(host).routes.push(Candidate { route: Arc::new(route), redirect });
            }
        }
    }

    fn at(&self, field: &str) -> Origin {
        self.origin.at(format!("{}.{field}", self.origin.field))
    }

    fn error(&mut self, code: &'static str, field: &str, message: impl Into<String>) {
        let diagnostic = Diagnostic::error(code, &self.at(field), message);
        self.out.diagnostics.push(diagnostic);
    }

    fn hosts(&mut self) -> Vec<HostPattern> {
        let spec = self.spec;
        if spec.hosts.is_empty() {
            return vec![HostPattern::Any];
        }
        let mut hosts = Vec::with_capacity(spec.hosts.len());
        for (index, text) in spec.hosts.iter().enumerate() {
            match HostPattern::parse(text) {
                Ok(HostPattern::Any) => self.error("InvalidHost", &format!("hosts[{index}]"), "is empty"),
                Ok(pattern) if hosts.contains(&pattern) => {}
                Ok(pattern) => hosts.push(pattern),
                Err(error) => self.error("InvalidHost", &format!("hosts[{index}]"), format!("`{text}`: {error}")),
            }
        }
        hosts
    }

    fn paths(&mut self) -> Vec<(PathMatch, Origin)> {
        let spec = self.spec;
        if spec.paths.is_empty() {
            return vec![(PathMatch::default(), self.origin.clone())];
        }
        let mut paths = Vec::with_capacity(spec.paths.len());
        for (index, path) in spec.paths.iter().enumerate() {
            let field = format!("paths[{index}].{}", kind(path));
            match path_match(path) {
                Ok(path) => paths.push((path, self.at(&field))),
                Err((code, message)) => self.error(code, &field, message),
            }
        }
        paths
    }

    /// Methods, headers and query parameters. One that cannot be read loses the route: without it, it would take
    /// requests that are not meant for it.
    fn conditions(&mut self) -> Option<Match> {
        let mut matcher = Match::default();
        let spec = self.spec;
        let mut is_good = true;
        for (index, method) in spec.methods.iter().enumerate() {
            if is_token(method) {
                matcher.methods.push(method.to_ascii_uppercase());
            } else {
                self.error("InvalidCondition", &format!("methods[{index}]"), format!("`{method}` is not a method"));
                is_good = false;
            }
        }
        for (index, condition) in spec.headers.iter().enumerate() {
            let name = condition.name.to_ascii_lowercase();
            match self.text_match(condition, is_token(&name), &format!("headers[{index}]")) {
                Some(value) => matcher.headers.push(HeaderMatch { name: name.into(), value }),
                None => is_good = false,
            }
        }
        for (index, condition) in spec.query.iter().enumerate() {
            match self.text_match(condition, !condition.name.is_empty(), &format!("query[{index}]")) {
                Some(value) => matcher.query.push(QueryMatch { name: condition.name.as_str().into(), value }),
                None => is_good = false,
            }
        }
        is_good.then_some(matcher)
    }

    fn text_match(&mut self, condition: &ConditionSpec, is_name: bool, field: &str) -> Option<TextMatch> {
        if !is_name {
            self.error("InvalidCondition", &format!("{field}.name"), format!("`{}` is not a name", condition.name));
            return None;
        }
        match (&condition.exact, &condition.regex) {
            (None, None) => Some(TextMatch::Present),
            (Some(exact), None) => Some(TextMatch::Exact(exact.as_str().into())),
            (None, Some(regex)) if regex.len() > MAX_REGEX => {
                self.error("InvalidRegex", &format!("{field}.regex"), format!("is over {MAX_REGEX} bytes"));
                None
            }
            (None, Some(regex)) => Some(TextMatch::Regex(regex.as_str().into())),
            (Some(_), Some(_)) => {
                self.error("InvalidCondition", field, "has both `exact` and `regex`");
                None
            }
        }
    }

    /// `None`: one is missing, so the route is closed.
    fn plugins(&mut self) -> Option<Vec<PluginUse>> {
        let mut plugins = Vec::with_capacity(self.spec.plugins.len());
        let mut is_complete = true;
        for (index, plugin) in self.spec.plugins.iter().enumerate() {
            let origin = self.at(&format!("plugins[{index}]"));
            let found = match plugin {
                PluginRef::Named(name) => self.options.plugins.get(name).cloned(),
                PluginRef::Inline(spec) => {
                    Some(Arc::new(instance(&format!("{}#{index}", self.name), spec, origin.clone(), self.resources)))
                }
            };
            match (found, plugin) {
                (Some(instance), _) => plugins.push(PluginUse { instance, origin }),
                (None, PluginRef::Named(name)) => {
                    is_complete = false;
                    self.out.diagnostics.push(plugin_not_found(name, self.options, &origin));
                }
                (None, PluginRef::Inline(_)) => {}
            }
        }
        is_complete.then_some(plugins)
    }

    fn policy(&mut self) -> Arc<Policy> {
        let spec = self.spec;
        let mut policy = (*self.options.policy).clone();
        let (timeouts, tries, body) = (self.at("timeouts"), self.at("tries"), self.at("maxBody"));
        policy::apply_timeouts(&mut policy, &spec.timeouts, &timeouts, &mut self.out.diagnostics);
        policy::apply_tries(&mut policy, spec.tries, tries, &mut self.out.diagnostics);
        if let Some(size) = spec.max_body {
            policy::set_body(&mut policy, Some(size.0), body);
        }
        Arc::new(policy)
    }

    /// The action; one that cannot be read keeps the route's place and answers 503.
    fn action(&mut self) -> Action {
        let spec = self.spec;
        let action = match (spec.backends.as_slice(), &spec.redirect, &spec.respond) {
            (backends @ [_, ..], None, None) => self.forward(backends),
            ([], Some(redirect), None) => self.redirect(redirect),
            ([], None, Some(respond)) => self.respond(respond),
            _ => {
                let message = "needs exactly one of `backends`, `redirect` and `respond`";
                let origin = self.origin.clone();
                self.out.diagnostics.push(Diagnostic::error("InvalidRoute", &origin, message));
                None
            }
        };
        action.unwrap_or(Action::Refuse { reason: Reason::InvalidBackend })
    }

    fn forward(&mut self, specs: &[BackendSpec]) -> Option<Action> {
        let mut found = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let field = format!("backends[{index}]");
            found.push(self.backend_id(spec, &field).map(|id| (id, spec.weight, field)));
        }
        let found: Vec<_> = found.into_iter().collect::<Option<_>>()?;
        let weighted = found.into_iter().map(|(id, weight, field)| {
            let backend = match &*id {
                BackendName::Service { .. } => {
                    let origin = self.at(&format!("{field}.service"));
                    self.out.backend(id, &Arc::default(), origin)
                }
                BackendName::Upstream(_) => id,
            };
            WeightedBackend { backend, weight }
        });
        Some(Action::Forward(weighted.collect()))
    }

    fn backend_id(&mut self, spec: &BackendSpec, field: &str) -> Option<BackendId> {
        match (&spec.upstream, &spec.service) {
            (Some(name), None) if self.conf.upstreams.contains_key(name) => Some(BackendId::upstream(name)),
            (Some(name), None) => {
                let known = self.conf.upstreams.keys().map(String::as_str);
                let hint = suggest::did_you_mean(name, known);
                let origin = self.at(&format!("{field}.upstream"));
                let diagnostic =
                    Diagnostic::error("UpstreamNotFound", &origin, format!("there is no upstream `{name}`"))
                        .hint(hint.unwrap_or_else(|| "define it under `upstreams`".to_owned()));
                self.out.diagnostics.push(diagnostic);
                None
            }
            (None, Some(text)) => {
                let id = parse_service(text);
                if id.is_none() {
                    let message = format!("`{text}` is not `namespace/name:port`");
                    self.error("InvalidBackend", &format!("{field}.service"), message);
                }
                id
            }
            _ => {
                self.error("InvalidBackend", field, "needs exactly one of `upstream` and `service`");
                None
            }
        }
    }

    fn redirect(&mut self, spec: &RedirectSpec) -> Option<Action> {
        let status = spec.status.unwrap_or(302);
        let has_regex = self.spec.paths.iter().any(|path| matches!(path, PathSpec::Regex(_)));
        let problem = if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            Some("`status` must be 301, 302, 303, 307 or 308")
        } else if spec.scheme.as_deref().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            Some("`scheme` must be `http` or `https`")
        } else if spec
            .host
            .as_deref()
            .is_some_and(|host| !matches!(HostPattern::parse(host), Ok(HostPattern::Exact(_))))
        {
            Some("`host` must be a host name")
        } else if spec.path.is_some() && spec.prefix.is_some() {
            Some("has both `path` and `prefix`")
        } else if spec.path.iter().chain(&spec.prefix).any(|path| !is_target(path)) {
            Some("`path` and `prefix` must begin with `/` and have no spaces")
        } else if spec.prefix.is_some() && has_regex {
            Some("`prefix` does not go with a `regex` path")
        } else if spec.port == Some(0) {
            Some("`port` must be over 0")
        } else {
            None
        };
        if let Some(message) = problem {
            self.error("InvalidRedirect", "redirect", message);
            return None;
        }
        let full = spec.path.as_deref().map(|path| RedirectPath::Full(path.into()));
        let prefix = spec.prefix.as_deref().map(|path| RedirectPath::Prefix(path.into()));
        Some(Action::Redirect(Box::new(Redirect {
            status,
            scheme: spec.scheme.as_deref().map(Arc::from),
            host: spec.host.as_deref().map(|host| host.to_ascii_lowercase().into()),
            port: spec.port,
            path: full.or(prefix),
        })))
    }

    fn respond(&mut self, spec: &RespondSpec) -> Option<Action> {
        let status = spec.status.unwrap_or(200);
        let content_type = spec.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
        if !(200..=599).contains(&status) {
            self.error("InvalidRespond", "respond.status", format!("`{status}` is not a status from 200 to 599"));
            return None;
        }
        if content_type.is_empty() || !content_type.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            self.error("InvalidRespond", "respond.contentType", "is not a media type");
            return None;
        }
        let (body, content_type) = (spec.body.as_str().into(), content_type.into());
        Some(Action::Respond(Box::new(Respond { status, body, content_type })))
    }
}

fn kind(path: &PathSpec) -> &'static str {
    match path {
        PathSpec::Prefix(_) => "prefix",
        PathSpec::Exact(_) => "exact",
        PathSpec::Regex(_) => "regex",
    }
}

fn path_match(path: &PathSpec) -> Result<PathMatch, (&'static str, String)> {
    let canonical = |text: &str| match canonical_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(error) => Err(("InvalidPath", format!("`{text}` {error}"))),
    };
    match path {
        PathSpec::Prefix(text) => Ok(prefix(&canonical(text)?)),
        PathSpec::Exact(text) => Ok(PathMatch::Exact(canonical(text)?.into())),
        PathSpec::Regex(text) if text.len() > MAX_REGEX => Err(("InvalidRegex", format!("is over {MAX_REGEX} bytes"))),
        PathSpec::Regex(text) => Ok(PathMatch::Regex(text.as_str().into())),
    }
}

/// A token of RFC 9110 section 5.6.2: methods and header names.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_target(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}
