//! Ingress v1: rules, default backends and `tls` entries of one object.
//!
//! Looks at one Ingress, its class and the options, never at Services, Secrets or other Ingresses: what depends on
//! those is decided where they meet. Source: Ingress v1 API documentation.

pub(crate) mod annotations;
mod class;
pub(crate) mod field;
mod standing;

use std::collections::BTreeSet;
use std::sync::Arc;

use class::Ownership;
use field::PathField;

use super::asked::Redirection;
use super::contribution::{Candidate, Contribution, Draft, TlsEntry};
use super::options::Options;
use super::resolve::{Resolved, resolve};
use super::route::prefix;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::{HostPattern, Labels};
use crate::model::{Action, BackendId, BackendName, HttpsRedirect, Match, PathMatch, Rank, Route, WeightedBackend};
use crate::origin::Origin;
use crate::path::canonical_path;
use crate::reason::Reason;
use crate::resources::object::{Ingress, IngressBackend, IngressPath, IngressRule, IngressTls};
use crate::resources::{ObjectName, Resources, Sourced};

pub(crate) use standing::standing;

/// Translates one Ingress; nothing when it is not ours.
pub(crate) fn translate(
    name: &ObjectName,
    sourced: &Sourced<Ingress>,
    resources: &Resources,
    options: &Options,
) -> Contribution {
    let ingress = &*sourced.object;
    match class::ownership(ingress, resources, &options.ingress) {
        Ownership::Ours { .. } => Reader::new(name, sourced, resources, options).read(ingress),
        Ownership::Foreign => Contribution::default(),
        Ownership::Unknown { class, field } => {
            let message = format!("there is no IngressClass `{class}`, so this Ingress is not served");
            let hint = format!("make the class, or use `{}`", options.ingress.class_name);
            Contribution::only(Diagnostic::info(Code::ForeignClass, &sourced.origin().at(field), message).hint(hint))
        }
    }
}

struct Reader<'a> {
    name: &'a ObjectName,
    origin: Origin,
    created: Option<i64>,
    /// What all its routes share.
    resolved: Resolved,
    redirection: Redirection,
    next_index: u32,
    out: Draft,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(name: &'a ObjectName, sourced: &Sourced<Ingress>, resources: &Resources, options: &Options) -> Self {
        let (ingress, origin) = (&*sourced.object, sourced.origin());
        let asked = annotations::read_ingress(&ingress.annotations, &options.ingress.annotations_prefix, &origin);
        let default = if options.ingress.ssl_redirect { Redirection::WithTls } else { Redirection::Never };
        let redirection = asked.redirection.unwrap_or(default);
        let mut out = Draft::default();
        Self {
            name,
            resolved: resolve(asked, &name.to_string(), options, resources, &mut out),
            origin,
            // Without a time an object counts as the youngest.
            created: Some(ingress.created.unwrap_or(i64::MAX)),
            redirection,
            next_index: 0,
            out,
        }
    }

    fn read(mut self, ingress: &Ingress) -> Contribution {
        let (rules, default_backend) = (&*ingress.rules, ingress.default_backend.as_deref());
        if rules.is_empty() && default_backend.is_none() {
            let message = "has neither rules nor a default backend";
            let hint = "add `spec.rules` or `spec.defaultBackend`";
            self.out
                .diagnostics
                .push(Diagnostic::warning(Code::EmptyIngress, &self.origin.at("spec"), message).hint(hint));
        }
        let fallback = default_backend.map(|backend| self.fallback(backend));
        let mut hosts = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            hosts.extend(self.rule(index, rule, fallback.as_ref()));
        }
        if rules.is_empty()
            && let Some(fallback) = fallback
        {
            self.out.host(&HostPattern::Any).fallback = Some(fallback);
            hosts.push(HostPattern::Any);
        }
        for (index, tls) in ingress.tls.iter().enumerate() {
            self.tls(index, tls, &hosts);
        }
        self.out.finish()
    }

    fn rule(&mut self, index: usize, rule: &IngressRule, fallback: Option<&Candidate>) -> Option<HostPattern> {
        let pattern = self.host_pattern(&rule.host, || format!("spec.rules[{index}].host"))?;
        let paths = &*rule.paths;
        if paths.is_empty() && fallback.is_none() {
            let origin = self.origin.at(format!("spec.rules[{index}]"));
            let message = "has no paths, and the Ingress has no default backend";
            let hint = "add `http.paths`, or `spec.defaultBackend` to serve all of the host";
            self.out.diagnostics.push(Diagnostic::warning(Code::EmptyRule, &origin, message).hint(hint));
        }
        for (position, path) in paths.iter().enumerate() {
            if let Some(candidate) = self.path(path, &field::of_path(index, position)) {
                self.out.host(&pattern).routes.push(candidate);
            }
        }
        if let Some(fallback) = fallback {
            self.out.host(&pattern).fallback = Some(fallback.clone());
        }
        Some(pattern)
    }

    fn path(&mut self, path: &IngressPath, field: &PathField) -> Option<Candidate> {
        match path_match(path) {
            Ok(matcher) => {
                let action = self.action(&path.backend, &field.service);
                Some(self.candidate(matcher, action, self.origin.at(Arc::clone(&field.path))))
            }
            Err((code, part, message)) => {
                let origin = self.origin.at(format!("{}.{part}", field::parent(&field.path)));
                let hint = match code {
                    Code::InvalidPath => "write an absolute path such as `/shop`",
                    _ => "write `Exact`, `Prefix` or `ImplementationSpecific`",
                };
                self.out.diagnostics.push(Diagnostic::error(code, &origin, message).hint(hint));
                None
            }
        }
    }

    fn fallback(&mut self, backend: &IngressBackend) -> Candidate {
        let action = self.action(backend, &"spec.defaultBackend.service".into());
        self.candidate(PathMatch::default(), action, self.origin.at("spec.defaultBackend"))
    }

    fn candidate(&mut self, path: PathMatch, action: Action, origin: Origin) -> Candidate {
        let index = self.next_index;
        self.next_index += 1;
        let rank = self.rank(index);
        let route = Route {
            name: Arc::clone(&self.name.name),
            origin,
            matcher: Match { path, ..Match::default() },
            rank,
            action,
            https_redirect: HttpsRedirect::Off,
            plugins: self.resolved.plugins.clone(),
            policy: Arc::clone(&self.resolved.policy),
        };
        Candidate { route: Arc::new(route), redirect: self.redirection }
    }

    /// `service`: the field of the Service.
    fn action(&mut self, backend: &IngressBackend, service: &Arc<str>) -> Action {
        let id = match self.backend_id(backend, field::parent(service)) {
            Ok(id) => id,
            Err(diagnostic) => {
                self.out.diagnostics.push(*diagnostic);
                return Action::Refuse { reason: Reason::InvalidBackend };
            }
        };
        if let Some(reason) = self.resolved.closed {
            return Action::Refuse { reason };
        }
        let origin = self.origin.at(Arc::clone(service));
        let backend = self.out.backend(id, &self.resolved.patch, origin);
        Action::Forward([WeightedBackend { backend, weight: 1 }].into())
    }

    fn backend_id(&self, backend: &IngressBackend, field: &str) -> Result<BackendId, Box<Diagnostic>> {
        let (name, port) = match backend {
            IngressBackend::Service { name, port } => (name, port),
            IngressBackend::Resource { kind, name } => {
                let origin = self.origin.at(format!("{field}.resource"));
                let message = format!("{kind} `{name}`: resource backends are not served");
                let diagnostic = Diagnostic::error(Code::ResourceBackend, &origin, message);
                return Err(Box::new(diagnostic.hint("use a `service` backend")));
            }
            IngressBackend::Unclear => {
                let message = "needs exactly one of `service` and `resource`";
                return Err(Box::new(Diagnostic::error(Code::InvalidBackend, &self.origin.at(field), message)));
            }
        };
        let Some(port) = port else {
            let origin = self.origin.at(format!("{field}.service.port"));
            let message = "needs exactly one of `number` and `name`";
            return Err(Box::new(Diagnostic::error(Code::InvalidBackend, &origin, message)));
        };
        Ok(BackendId::from(BackendName::Service {
            namespace: Arc::clone(&self.name.namespace),
            name: Arc::clone(name),
            port: Arc::clone(port),
            variant: Arc::clone(&self.resolved.variant),
        }))
    }

    fn tls(&mut self, index: usize, tls: &IngressTls, rule_hosts: &[HostPattern]) {
        let field = format!("spec.tls[{index}]");
        let mut hosts: BTreeSet<HostPattern> = BTreeSet::new();
        if tls.hosts.is_empty() {
            hosts.extend(rule_hosts.iter().cloned());
        }
        for (position, text) in tls.hosts.iter().enumerate() {
            hosts.extend(self.host_pattern(text, || format!("{field}.hosts[{position}]")));
        }
        let origin = self.origin.at(field);
        let secret = (!tls.secret.is_empty())
            .then(|| ObjectName { namespace: Arc::clone(&self.name.namespace), name: Arc::clone(&tls.secret) });
        if let Some(secret) = secret.as_ref().filter(|_| self.has_names(&hosts, &origin)) {
            let origin = origin.at(format!("{}.secretName", origin.field));
            self.out.secrets.entry(secret.clone()).or_default().push(origin);
        }
        for host in hosts {
            // What is presented to those who name no known host is the operator's.
            let secret = secret.clone().filter(|_| host != HostPattern::Any);
            let rank = self.rank(u32::try_from(index).unwrap_or(u32::MAX));
            self.out.tls.entry(host).or_default().push(TlsEntry { origin: origin.clone(), rank, secret });
        }
    }

    /// Whether there is a host to present a certificate for; says so when there is one for every host.
    fn has_names(&mut self, hosts: &BTreeSet<HostPattern>, origin: &Origin) -> bool {
        if hosts.contains(&HostPattern::Any) {
            let message = "a certificate is for named hosts, and a rule of this Ingress has none";
            let hint = "list the hosts under `hosts`; the default certificate is `defaults.certificate` of the conf";
            let diagnostic = Diagnostic::warning(Code::CertificateWithoutHost, origin, message).hint(hint);
            self.out.diagnostics.push(diagnostic);
        }
        hosts.iter().any(|host| *host != HostPattern::Any)
    }

    fn rank(&self, index: u32) -> Rank {
        Rank {
            created: self.created,
            namespace: Arc::clone(&self.name.namespace),
            name: Arc::clone(&self.name.name),
            index,
        }
    }

    fn host_pattern(&mut self, text: &Arc<str>, field: impl FnOnce() -> String) -> Option<HostPattern> {
        let message = match HostPattern::parse_shared(text) {
            Ok(HostPattern::Wildcard { labels: Labels::Many, .. }) => {
                format!("`{text}`: a wildcard of an Ingress is one label, as in `*.example`")
            }
            Ok(pattern) => return Some(pattern),
            Err(error) => format!("`{text}`: {error}"),
        };
        let diagnostic = Diagnostic::error(Code::InvalidHost, &self.origin.at(field()), message);
        self.out.diagnostics.push(diagnostic.hint("write a DNS name such as `shop.example`"));
        None
    }
}

/// The match of a path, or the reason code, field and message of what is wrong with it.
fn path_match(path: &IngressPath) -> Result<PathMatch, (Code, &'static str, String)> {
    let is_exact = match &*path.path_type {
        "Exact" => true,
        "Prefix" | "ImplementationSpecific" => false,
        other => return Err((Code::InvalidPathType, "pathType", format!("`{other}` is not a path type"))),
    };
    let text = &*path.path;
    let text = if text.is_empty() && &*path.path_type == "ImplementationSpecific" { "/" } else { text };
    let invalid = |why: String| (Code::InvalidPath, "path", format!("`{text}` {why}"));
    // The API server refuses these too (`ValidatePathType`), so an object that has them came round it.
    let has_odd_segment = text.contains("//") || text.split('/').any(|segment| matches!(segment, "." | ".."));
    if has_odd_segment {
        return Err(invalid("has an empty or a dot segment".to_owned()));
    }
    let canonical = canonical_path(text).map_err(|error| invalid(error.to_string()))?;
    Ok(if is_exact { PathMatch::Exact(canonical.into()) } else { prefix(&canonical) })
}
