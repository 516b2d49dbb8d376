//! From input objects to the model: which requests go where, with an origin for every part and a diagnostic for
//! everything that cannot be served as written.
//!
//! Incremental: each object's contribution is kept, so that a change costs what the object and the hosts it names
//! cost, and a change of endpoints touches endpoints only. What is kept never shows: the result is always that of a
//! full translation. It must not know the clock, I/O, tokio, Pingora or how a model is served.

mod asked;
mod conf;
mod contribution;
mod health;
mod index;
pub(crate) mod ingress;
mod merge;
mod plugins;
mod standing;
mod suggest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dense;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{BackendId, BackendName, Certificate, Model, Touched};
use crate::origin::Origin;
use crate::resources::status::{StatusChange, Statuses};
use crate::resources::{Changes, Kind, ObjectName, Resources};
use conf::Options;
use contribution::{ConfPart, Contribution, HostPart, Unit};
use index::names::Names;
use index::users::Index;
use merge::backend::{self, Target};
use merge::statuses::{Findings, Meeting};
use merge::tls::{self, Redirects};
use merge::{certificate, host};

/// A model and what there is to say about its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// What is to be served.
    pub model: Model,
    /// What is said of each object: what is served, what is refused, and why.
    pub statuses: Statuses,
    /// Findings, sorted, each once.
    pub diagnostics: Vec<Diagnostic>,
    /// Every host that is named in `tls`, and where, whether that counts or not.
    pub tls_names: Vec<(HostPattern, Origin)>,
}

/// Translates everything at once.
pub fn translate(resources: &Resources) -> Translation {
    let mut translator = Translator::new();
    translator.apply(resources, &resources.all());
    Translation {
        statuses: translator.take_statuses(resources).into_iter().collect(),
        diagnostics: translator.diagnostics(),
        tls_names: translator.tls_names(),
        model: translator.model,
    }
}

/// Keeps a model in step with changing resources.
#[derive(Debug)]
pub struct Translator {
    options: Options,
    contributions: BTreeMap<Unit, Arc<Contribution>>,
    hosts: Names,
    backends: Index<BackendId>,
    secrets: Index<ObjectName>,
    certificates: BTreeMap<ObjectName, Arc<Certificate>>,
    plugin_users: BTreeSet<Unit>,
    /// Ingresses with plugins of their own that name a Secret.
    plugin_secrets: BTreeMap<ObjectName, BTreeSet<Unit>>,
    /// Secrets that are in use, as far as [`Translator::take_demand`] has told.
    demanded: BTreeSet<ObjectName>,
    /// Secrets that may have come into use or gone out of it since.
    doubtful: BTreeSet<ObjectName>,
    host_diagnostics: BTreeMap<HostPattern, Vec<Diagnostic>>,
    tls_diagnostics: BTreeMap<HostPattern, Vec<Diagnostic>>,
    backend_diagnostics: BTreeMap<BackendId, Vec<Diagnostic>>,
    secret_diagnostics: BTreeMap<ObjectName, Vec<Diagnostic>>,
    findings: Findings,
    model: Model,
}

/// What has to be looked at again.
#[derive(Debug, Default)]
struct Dirty {
    units: BTreeSet<Unit>,
    /// Hosts of which something else is said than before, and those of them that `tls` entries name otherwise.
    hosts: BTreeSet<HostPattern>,
    tls: BTreeSet<HostPattern>,
    backends: BTreeSet<BackendId>,
    secrets: BTreeSet<ObjectName>,
}

// === impl Translator ===

impl Default for Translator {
    fn default() -> Self {
        Self::new()
    }
}

impl Translator {
    /// Starts from nothing, as if no resource were there.
    pub fn new() -> Self {
        let options = conf::read_options(&Resources::default());
        Self {
            model: Model { edge: Arc::clone(&options.edge), ..Model::default() },
            options,
            contributions: BTreeMap::new(),
            hosts: Names::default(),
            backends: Index::default(),
            secrets: Index::default(),
            certificates: BTreeMap::new(),
            plugin_users: BTreeSet::new(),
            plugin_secrets: BTreeMap::new(),
            demanded: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            host_diagnostics: BTreeMap::new(),
            tls_diagnostics: BTreeMap::new(),
            backend_diagnostics: BTreeMap::new(),
            secret_diagnostics: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    /// Takes a change in and says what of the model it touched: exactly what differs from before.
    pub fn apply(&mut self, resources: &Resources, changes: &Changes) -> Touched {
        let mut touched = Touched::default();
        let mut dirty = self.gather(resources, changes, &mut touched);
        for unit in std::mem::take(&mut dirty.units) {
            if let Unit::Ingress(name) = &unit {
                self.findings.doubt(name);
            }
            let contribution = self.read(&unit, resources);
            self.replace(unit, contribution, &mut dirty);
        }
        for id in &dirty.backends {
            self.refresh_backend(id, resources, &mut touched);
        }
        let served = &self.model.hosts;
        let mut reach = self.hosts.settle(&dirty.hosts, &dirty.tls, |pattern| served.contains_key(pattern));
        for name in &dirty.secrets {
            self.refresh_secret(name, resources, &mut reach.tls);
        }
        for pattern in &reach.routes {
            self.refresh_host(pattern, &mut touched);
        }
        for pattern in &reach.tls {
            self.refresh_tls(pattern, &mut touched);
        }
        self.refresh_defaults(&mut touched);
        if touched.hosts.len() > self.model.hosts.len() / 2 {
            self.pack();
        }
        touched
    }

    /// The statuses of all objects that may have another one than when it was asked last.
    ///
    /// `resources`: those that were taken in last.
    pub fn take_statuses(&mut self, resources: &Resources) -> Vec<StatusChange> {
        let none = Contribution::default();
        let mut changes = Vec::new();
        for object in self.findings.take_doubtful() {
            let sourced = resources.ingresses.get(&object.name);
            let standing = sourced.and_then(|it| ingress::standing(it, resources, &self.options.ingress));
            let added = self.contributions.get(&Unit::Ingress(object.name.clone())).map_or(&none, |it| &**it);
            let status = standing.map(|standing| self.findings.status(&object, standing, added));
            changes.push((object, status));
        }
        changes
    }

    /// Which Secrets came into use since it was asked last, and which went out of it.
    pub fn take_demand(&mut self) -> Vec<(ObjectName, bool)> {
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.doubtful) {
            let is_used = self.uses_secret(&name);
            if is_used != self.demanded.contains(&name) {
                if is_used {
                    self.demanded.insert(name.clone());
                } else {
                    self.demanded.remove(&name);
                }
                changes.push((name, is_used));
            }
        }
        changes
    }

    fn uses_secret(&self, name: &ObjectName) -> bool {
        !self.secrets.users(name).is_empty()
            || self.plugin_secrets.contains_key(name)
            || self.options.plugin_secrets.contains(name)
    }

    /// What is to be served.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Findings about the input, sorted, each once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let units = self.contributions.values().flat_map(|each| each.diagnostics.iter());
        let hosts = self.host_diagnostics.values().chain(self.tls_diagnostics.values()).flatten();
        let backends = self.backend_diagnostics.values().flatten();
        let secrets = self.secret_diagnostics.values().flatten();
        let all: BTreeSet<&Diagnostic> = units.chain(hosts).chain(backends).chain(secrets).collect();
        all.into_iter().cloned().collect()
    }

    fn tls_names(&self) -> Vec<(HostPattern, Origin)> {
        let parts = self.contributions.values().flat_map(|each| each.hosts.iter());
        parts.flat_map(|(pattern, part)| part.tls.iter().map(|entry| (pattern.clone(), entry.origin.clone()))).collect()
    }

    /// Gives up empty room after much was changed.
    fn pack(&mut self) {
        dense::pack(&mut self.contributions);
        dense::pack(&mut self.model.hosts);
        dense::pack(&mut self.model.backends);
        dense::pack(&mut self.model.endpoints);
        self.hosts.pack();
        self.backends.pack();
    }

    /// What the changed objects are part of.
    fn gather(&mut self, resources: &Resources, changes: &Changes, touched: &mut Touched) -> Dirty {
        let mut dirty = Dirty::default();
        for object in &changes.objects {
            match object.kind {
                Kind::Ingress => drop(dirty.units.insert(Unit::Ingress(object.name.clone()))),
                Kind::IngressClass => self.add_all_ingresses(resources, &mut dirty),
                Kind::Service | Kind::Endpoints => self.add_service(&object.name, &mut dirty),
                Kind::Secret => {
                    dirty.secrets.insert(object.name.clone());
                    dirty.units.extend(self.plugin_secrets.get(&object.name).into_iter().flatten().cloned());
                    if self.options.plugin_secrets.contains(&object.name) {
                        self.gather_conf(resources, &mut dirty, touched);
                    }
                }
                Kind::Conf => self.gather_conf(resources, &mut dirty, touched),
                // Slices are told by their Services.
                Kind::EndpointSlice | Kind::ConfigMap | Kind::Namespace => {}
            }
        }
        changes.services.iter().for_each(|service| self.add_service(service, &mut dirty));
        dirty
    }

    fn gather_conf(&mut self, resources: &Resources, dirty: &mut Dirty, touched: &mut Touched) {
        let options = conf::read_options(resources);
        dirty.units.insert(Unit::Conf);
        let was = &self.options;
        if options.ingress != was.ingress
            || options.policy != was.policy
            || options.grants != was.grants
            || options.max_hash_cost != was.max_hash_cost
        {
            self.add_all_ingresses(resources, dirty);
        }
        if options.plugins != self.options.plugins {
            dirty.units.extend(self.plugin_users.iter().cloned());
        }
        if options.backend != self.options.backend {
            dirty.backends.extend(self.backends.keys().cloned());
        }
        if options.edge != self.model.edge {
            self.model.edge = Arc::clone(&options.edge);
            touched.edge = true;
        }
        if options.backend.rules != self.model.address_rules {
            self.model.address_rules = Arc::clone(&options.backend.rules);
            touched.address_rules = true;
        }
        self.doubtful.extend(self.options.plugin_secrets.iter().cloned());
        self.doubtful.extend(options.plugin_secrets.iter().cloned());
        self.options = options;
    }

    fn add_all_ingresses(&self, resources: &Resources, dirty: &mut Dirty) {
        dirty.units.extend(resources.ingresses.keys().cloned().map(Unit::Ingress));
    }

    fn add_service(&self, service: &ObjectName, dirty: &mut Dirty) {
        let first = BackendName::Service {
            namespace: Arc::clone(&service.namespace),
            name: Arc::clone(&service.name),
            port: Arc::default(),
            variant: Arc::default(),
        };
        let is_its = |id: &&BackendId| match &***id {
            BackendName::Service { namespace, name, .. } => (namespace, name) == (&service.namespace, &service.name),
            BackendName::Upstream(_) => false,
        };
        dirty.backends.extend(self.backends.keys_from(first.into()).take_while(is_its).cloned());
    }

    fn read(&self, unit: &Unit, resources: &Resources) -> Contribution {
        match unit {
            Unit::Conf => conf::contribute(resources, &self.options),
            Unit::Ingress(name) => match resources.ingresses.get(name) {
                Some(sourced) => ingress::contribute(name, sourced, resources, &self.options),
                None => Contribution::default(),
            },
        }
    }

    /// Puts a contribution in the place of the unit's old one and notes what the two name.
    fn replace(&mut self, unit: Unit, new: Contribution, dirty: &mut Dirty) {
        let old = self.contributions.get(&unit).cloned().unwrap_or_default();
        if *old == new {
            return;
        }
        let new = Arc::new(new);
        for part in [&old, &new] {
            dirty.hosts.extend(part.hosts.keys().cloned());
            dirty.backends.extend(part.backend_ids().cloned());
            dirty.secrets.extend(part.secrets.keys().cloned());
            dirty.tls.extend(part.hosts.keys().filter(|pattern| old.tls(pattern) != new.tls(pattern)).cloned());
            self.doubtful.extend(part.secrets.keys().chain(part.plugin_secrets()).cloned());
        }
        self.hosts.unlink(&old);
        self.backends.unlink(old.backend_ids(), &old);
        self.secrets.unlink(old.secrets.keys(), &old);
        self.hosts.link(&new);
        self.backends.link(new.backend_ids(), &new);
        self.secrets.link(new.secrets.keys(), &new);
        if new.names_plugins() {
            self.plugin_users.insert(unit.clone());
        } else {
            self.plugin_users.remove(&unit);
        }
        self.index_plugin_secrets(&unit, &old, &new);
        // An Ingress that is not ours leaves nothing behind.
        if *new == Contribution::default() {
            self.contributions.remove(&unit);
        } else {
            self.contributions.insert(unit, new);
        }
    }

    fn index_plugin_secrets(&mut self, unit: &Unit, old: &Contribution, new: &Contribution) {
        for secret in old.plugin_secrets() {
            if let Some(units) = self.plugin_secrets.get_mut(secret) {
                units.remove(unit);
                if units.is_empty() {
                    self.plugin_secrets.remove(secret);
                }
            }
        }
        for secret in new.plugin_secrets() {
            self.plugin_secrets.entry(secret.clone()).or_default().insert(unit.clone());
        }
    }

    fn refresh_host(&mut self, pattern: &HostPattern, touched: &mut Touched) {
        let parts: Vec<&HostPart> = self.hosts.parts(pattern).collect();
        let merged = host::merge(pattern, &parts, &mut Redirects::new(&self.hosts, pattern));
        if set(&mut self.model.hosts, pattern, merged.host) {
            touched.hosts.insert(pattern.clone());
        }
        self.findings.replace(Meeting::Routes, self.host_diagnostics.get(pattern), &merged.diagnostics);
        put_list(&mut self.host_diagnostics, pattern, merged.diagnostics);
    }

    /// Hosts must be fresh: an entry counts where its namespace has routes.
    fn refresh_tls(&mut self, pattern: &HostPattern, touched: &mut Touched) {
        let judged = tls::judge(&self.hosts, &self.model, &self.certificates, pattern);
        if set(&mut self.model.certificates, pattern, judged.claims) {
            touched.certificates.insert(pattern.clone());
        }
        self.findings.replace(Meeting::Names, self.tls_diagnostics.get(pattern), &judged.diagnostics);
        put_list(&mut self.tls_diagnostics, pattern, judged.diagnostics);
    }

    fn refresh_backend(&mut self, id: &BackendId, resources: &Resources, touched: &mut Touched) {
        let (backend, endpoints, diagnostics) = match &**id {
            BackendName::Service { namespace, name, port, .. } => {
                let service = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(name) };
                self.evaluate(Target { id, service: &service, port }, resources)
            }
            BackendName::Upstream(_) => match self.conf_part().and_then(|conf| conf.upstreams.get(id)) {
                Some((backend, endpoints)) => (Some(Arc::clone(backend)), Some(Arc::clone(endpoints)), Vec::new()),
                None => (None, None, Vec::new()),
            },
        };
        if set(&mut self.model.backends, id, backend) {
            touched.backends.insert(id.clone());
        }
        if set(&mut self.model.endpoints, id, endpoints) {
            touched.endpoints.insert(id.clone());
        }
        self.findings.replace(Meeting::References, self.backend_diagnostics.get(id), &diagnostics);
        put_list(&mut self.backend_diagnostics, id, diagnostics);
    }

    fn evaluate(&self, target: Target<'_>, resources: &Resources) -> Parts {
        let mut uses = self.backends.users(target.id).iter().filter_map(|user| user.backends.get(target.id)).peekable();
        // The variant is part of the id, so all uses ask for the same.
        let Some(overrides) = uses.peek().map(|first| Arc::clone(&first.overrides)) else {
            return (None, None, Vec::new());
        };
        let evaluated = backend::evaluate(target, &overrides, resources, &self.options.backend);
        let mut diagnostics = evaluated.diagnostics;
        if let Some(problem) = evaluated.problem {
            diagnostics.extend(uses.flat_map(|each| &each.origins).map(|origin| problem.diagnose(origin)));
        }
        (Some(Arc::new(evaluated.backend)), Some(Arc::new(evaluated.endpoints)), diagnostics)
    }

    fn conf_part(&self) -> Option<&ConfPart> {
        self.contributions.get(&Unit::Conf)?.conf.as_deref()
    }

    /// `patterns`: gets those whose `tls` entries name the Secret, and the names under them.
    fn refresh_secret(&mut self, name: &ObjectName, resources: &Resources, patterns: &mut BTreeSet<HostPattern>) {
        let users = self.secrets.users(name);
        if users.is_empty() {
            self.certificates.remove(name);
            self.findings.replace(Meeting::References, self.secret_diagnostics.get(name), &[]);
            self.secret_diagnostics.remove(name);
            return;
        }
        let named = |part: &HostPart| part.tls.iter().any(|entry| entry.secret.as_ref() == Some(name));
        let parts = users.iter().flat_map(|user| user.hosts.iter()).filter(|(_, part)| named(part));
        for (pattern, _) in parts {
            patterns.extend(self.hosts.under(pattern));
            patterns.insert(pattern.clone());
        }
        let origins = users.iter().filter_map(|user| user.secrets.get(name)).flatten();
        let (certificate, problem) = certificate::read(name, resources);
        let diagnose = |problem| origins.map(move |origin: &Origin| certificate::diagnose(&problem, name, origin));
        let diagnostics: Vec<Diagnostic> = problem.map(|problem| diagnose(problem).collect()).unwrap_or_default();
        set(&mut self.certificates, name, certificate);
        self.findings.replace(Meeting::References, self.secret_diagnostics.get(name), &diagnostics);
        put_list(&mut self.secret_diagnostics, name, diagnostics);
    }

    fn refresh_defaults(&mut self, touched: &mut Touched) {
        let conf = self.conf_part();
        let default = conf.and_then(|conf| conf.default.clone());
        let secret = conf.and_then(|conf| conf.default_certificate.as_ref());
        let certificate = secret.and_then(|secret| self.certificates.get(secret).cloned());
        if self.model.default != default {
            self.model.default = default;
            touched.default = true;
        }
        if self.model.default_certificate != certificate {
            self.model.default_certificate = certificate;
            touched.default_certificate = true;
        }
    }
}

/// A backend, its endpoints and what is wrong with it.
type Parts = (Option<Arc<crate::model::Backend>>, Option<Arc<crate::model::EndpointSet>>, Vec<Diagnostic>);

/// Sets or removes an entry; says whether that changed anything. An equal value keeps its old allocation.
fn set<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(map.insert(key.clone(), value)),
        None => drop(map.remove(key)),
    }
    true
}

fn put_list<K: Ord + Clone>(map: &mut BTreeMap<K, Vec<Diagnostic>>, key: &K, list: Vec<Diagnostic>) {
    if list.is_empty() {
        map.remove(key);
    } else {
        map.insert(key.clone(), list);
    }
}

#[cfg(test)]
mod tests;
