//! Contributions brought together: hosts, backends and certificates of the model, and what is said of each object.
//!
//! It knows no dialect: whoever contributes, what is asked for has one form.

mod backend;
mod certificate;
mod host;
mod owner;
mod redirects;
pub(crate) mod statuses;
mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;

use backend::Target;
use redirects::Redirects;

use super::asked::Asked;
use super::contribution::HostPart;
use super::findings::Findings;
use super::index::Index;
use super::options::Options;
use super::values::{Values, put, set};
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Backend, BackendId, BackendName, EndpointSet, Touched};
use crate::resources::{ObjectName, Resources};

/// Brings values up to date, piece by piece.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    pub index: &'a Index,
    pub options: &'a Options,
    pub resources: &'a Resources,
    pub values: &'a mut Values,
    pub findings: &'a mut Findings,
    pub touched: &'a mut Touched,
}

/// A backend with endpoints and findings.
type Parts = (Option<Arc<Backend>>, Option<Arc<EndpointSet>>, Vec<Diagnostic>);

// === impl Merge ===

impl Merge<'_> {
    /// `said`: what the Service itself asks for.
    pub(crate) fn backend(&mut self, id: &BackendId, said: Asked) {
        let (backend, endpoints, diagnostics) = match &**id {
            BackendName::Service { namespace, name, port, .. } => {
                let service = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(name) };
                self.evaluate(Target { id, service: &service, port }, said)
            }
            BackendName::Upstream(_) => match self.index.conf().and_then(|conf| conf.upstreams.get(id)) {
                Some((backend, endpoints)) => (Some(Arc::clone(backend)), Some(Arc::clone(endpoints)), Vec::new()),
                None => (None, None, Vec::new()),
            },
        };
        if set(&mut self.values.model.backends, id, backend) {
            self.touched.backends.insert(id.clone());
        }
        if set(&mut self.values.model.endpoints, id, endpoints) {
            self.touched.endpoints.insert(id.clone());
        }
        self.findings.put_backend(id, diagnostics);
    }

    fn evaluate(&self, target: Target<'_>, said: Asked) -> Parts {
        let mut uses = self.index.uses_of_backend(target.id).peekable();
        // The variant is part of the id, so all uses ask for the same.
        let Some(patch) = uses.peek().map(|first| Arc::clone(&first.patch)) else {
            return (None, None, Vec::new());
        };
        let evaluated = backend::evaluate(target, &patch, said, self.resources, &self.options.backend);
        let mut diagnostics = evaluated.diagnostics;
        if let Some(problem) = evaluated.problem {
            diagnostics.extend(uses.flat_map(|each| &each.origins).map(|origin| problem.diagnose(origin)));
        }
        (Some(Arc::new(evaluated.backend)), Some(Arc::new(evaluated.endpoints)), diagnostics)
    }

    /// `patterns`: gets those whose `tls` entries name the Secret, and the names under them.
    pub(crate) fn secret(&mut self, name: &ObjectName, patterns: &mut BTreeSet<HostPattern>) {
        let users = self.index.users_of_secret(name);
        if users.is_empty() {
            self.values.certificates.remove(name);
            self.findings.put_secret(name, Vec::new());
            return;
        }
        let named = |part: &HostPart| part.tls.iter().any(|entry| entry.secret.as_ref() == Some(name));
        let parts = users.iter().flat_map(|user| user.hosts.iter()).filter(|(_, part)| named(part));
        for (pattern, _) in parts {
            patterns.extend(self.index.hosts.under(pattern));
            patterns.insert(pattern.clone());
        }
        let origins = users.iter().filter_map(|user| user.secrets.get(name)).flatten();
        let (certificate, problem) = certificate::read(name, self.resources);
        let diagnose = |problem| origins.map(move |origin| certificate::diagnose(&problem, name, origin)).collect();
        set(&mut self.values.certificates, name, certificate);
        self.findings.put_secret(name, problem.map(diagnose).unwrap_or_default());
    }

    pub(crate) fn host(&mut self, pattern: &HostPattern) {
        let parts: Vec<&HostPart> = self.index.hosts.parts(pattern).collect();
        let merged = host::merge(pattern, &parts, &mut Redirects::new(&self.index.hosts, pattern));
        if set(&mut self.values.model.hosts, pattern, merged.host) {
            self.touched.hosts.insert(pattern.clone());
        }
        self.findings.put_host(pattern, merged.diagnostics);
    }

    /// Hosts must be fresh: an entry counts where its namespace has routes.
    pub(crate) fn tls(&mut self, pattern: &HostPattern) {
        let judged = tls::judge(&self.index.hosts, &self.values.model, &self.values.certificates, pattern);
        if set(&mut self.values.model.certificates, pattern, judged.claims) {
            self.touched.certificates.insert(pattern.clone());
        }
        self.findings.put_tls(pattern, judged.diagnostics);
    }

    /// The default backend and certificate. Certificates must be fresh.
    pub(crate) fn defaults(&mut self) {
        let conf = self.index.conf();
        let default = conf.and_then(|conf| conf.default.clone());
        let secret = conf.and_then(|conf| conf.default_certificate.as_ref());
        let certificate = secret.and_then(|secret| self.values.certificates.get(secret).cloned());
        self.touched.default |= put(&mut self.values.model.default, default);
        self.touched.default_certificate |= put(&mut self.values.model.default_certificate, certificate);
    }
}
