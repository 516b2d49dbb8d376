//! Routes of the conf: hosts × paths, each with conditions and one action.

use std::sync::Arc;

use super::{policy, reference};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{
    Action, BackendId, BackendName, HeaderMatch, HttpsRedirect, Match, PathMatch, QueryMatch, Rank, Route, TextMatch,
    WeightedBackend,
};
use crate::origin::Origin;
use crate::path::canonical_path;
use crate::policy::{Redirect, Respond};
use crate::reason::Reason;
use crate::resources::Resources;
use crate::resources::conf::{BackendSpec, ConditionSpec, Conf, PathSpec, PluginRef, RouteSpec};
use crate::suggest;
use crate::translate::asked::plugin::{PluginRequest, Wanted};
use crate::translate::asked::{Asked, Redirection};
use crate::translate::contribution::{Candidate, Draft};
use crate::translate::options::Options;
use crate::translate::resolve::{Resolved, resolve};
use crate::translate::route::prefix;

/// Bytes of a regular expression.
const MAX_REGEX: usize = 1024;

/// Translates all routes, in order.
pub(crate) fn translate_all(conf: &Conf, origin: &Origin, resources: &Resources, options: &Options, out: &mut Draft) {
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
        let Resolved { policy, mut plugins, closed, .. } =
            resolve(self.asked(), &self.name, self.options, self.resources, self.out);
        let mut action = self.action();
        if let Some(reason) = closed {
            action = Action::Refuse { reason };
            plugins.clear();
        }
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

    fn error(&mut self, code: Code, field: &str, message: impl Into<String>) {
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
                Ok(HostPattern::Any) => self.error(Code::InvalidHost, &format!("hosts[{index}]"), "is empty"),
                Ok(pattern) if hosts.contains(&pattern) => {}
                Ok(pattern) => hosts.push(pattern),
                Err(error) => self.error(Code::InvalidHost, &format!("hosts[{index}]"), format!("`{text}`: {error}")),
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
                self.error(Code::InvalidCondition, &format!("methods[{index}]"), format!("`{method}` is not a method"));
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
            self.error(Code::InvalidCondition, &format!("{field}.name"), format!("`{}` is not a name", condition.name));
            return None;
        }
        match (&condition.exact, &condition.regex) {
            (None, None) => Some(TextMatch::Present),
            (Some(exact), None) => Some(TextMatch::Exact(exact.as_str().into())),
            (None, Some(regex)) if regex.len() > MAX_REGEX => {
                self.error(Code::InvalidRegex, &format!("{field}.regex"), format!("is over {MAX_REGEX} bytes"));
                None
            }
            (None, Some(regex)) => Some(TextMatch::Regex(regex.as_str().into())),
            (Some(_), Some(_)) => {
                self.error(Code::InvalidCondition, field, "has both `exact` and `regex`");
                None
            }
        }
    }

    /// Plugins and policy.
    fn asked(&mut self) -> Asked {
        let (spec, mut asked) = (self.spec, Asked::default());
        for (index, plugin) in spec.plugins.iter().enumerate() {
            let plugin = match plugin {
                PluginRef::Named(name) => Wanted::Named(name.clone()),
                PluginRef::Inline(spec) => Wanted::Own { part: index.to_string(), spec: spec.clone() },
            };
            asked.plugins.push(PluginRequest { plugin, origin: self.at(&format!("plugins[{index}]")) });
        }
        policy::ask(&mut asked.policy, spec.policy(), |change| self.at(change.name()), &mut asked.diagnostics);
        asked
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
                self.out.diagnostics.push(Diagnostic::error(Code::InvalidRoute, &origin, message));
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
                    Diagnostic::error(Code::UpstreamNotFound, &origin, format!("there is no upstream `{name}`"))
                        .hint(hint.unwrap_or_else(|| "define it under `upstreams`".to_owned()));
                self.out.diagnostics.push(diagnostic);
                None
            }
            (None, Some(text)) => {
                let id = reference::service(text);
                if id.is_none() {
                    let message = format!("`{text}` is not `namespace/name:port`");
                    self.error(Code::InvalidBackend, &format!("{field}.service"), message);
                }
                id
            }
            _ => {
                self.error(Code::InvalidBackend, field, "needs exactly one of `upstream` and `service`");
                None
            }
        }
    }

    fn redirect(&mut self, spec: &Redirect) -> Option<Action> {
        let has_regex = self.spec.paths.iter().any(|path| matches!(path, PathSpec::Regex(_)));
        let problem = if !matches!(spec.status, 301 | 302 | 303 | 307 | 308) {
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
            self.error(Code::InvalidRedirect, "redirect", message);
            return None;
        }
        let host = spec.host.as_deref().map(|host| host.to_ascii_lowercase().into());
        Some(Action::Redirect(Box::new(Redirect { host, ..spec.clone() })))
    }

    fn respond(&mut self, spec: &Respond) -> Option<Action> {
        let Respond { status, content_type, .. } = spec;
        if !(200..=599).contains(status) {
            self.error(Code::InvalidRespond, "respond.status", format!("`{status}` is not a status from 200 to 599"));
            return None;
        }
        if content_type.is_empty() || !content_type.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            self.error(Code::InvalidRespond, "respond.contentType", "is not a media type");
            return None;
        }
        Some(Action::Respond(Box::new(spec.clone())))
    }
}

fn kind(path: &PathSpec) -> &'static str {
    match path {
        PathSpec::Prefix(_) => "prefix",
        PathSpec::Exact(_) => "exact",
        PathSpec::Regex(_) => "regex",
    }
}

fn path_match(path: &PathSpec) -> Result<PathMatch, (Code, String)> {
    let canonical = |text: &str| match canonical_path(text) {
        Ok(path) => Ok(path.into_owned()),
        Err(error) => Err((Code::InvalidPath, format!("`{text}` {error}"))),
    };
    match path {
        PathSpec::Prefix(text) => Ok(prefix(&canonical(text)?)),
        PathSpec::Exact(text) => Ok(PathMatch::Exact(canonical(text)?.into())),
        PathSpec::Regex(text) if text.len() > MAX_REGEX => {
            Err((Code::InvalidRegex, format!("is over {MAX_REGEX} bytes")))
        }
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
