//! From input objects to the model: which requests go where, with an origin for every part and a diagnostic for
//! everything that cannot be served as written.
//!
//! Incremental: each object's contribution is kept, so that a change costs what the object and the hosts it names
//! cost, and a change of endpoints touches endpoints only. What is kept never shows: the result is always that of a
//! full translation. It must not know the clock, I/O, tokio, Pingora or how a model is served.

mod asked;
mod conf;
mod contribution;
mod findings;
mod index;
pub(crate) mod ingress;
mod merge;
mod options;
mod plugins;
mod resolve;
mod route;
mod standing;
mod values;

pub(crate) use conf::listeners;

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{BackendId, BackendName, Model, Touched};
use crate::origin::Origin;
use crate::resources::status::{StatusChange, Statuses};
use crate::resources::{Changes, ObjectName, ObjectRef, Resources};
use asked::Asked;
use contribution::{Contribution, Unit};
use findings::Findings;
use index::Index;
use index::dirty::Dirty;
use ingress::annotations;
use merge::Merge;
use merge::statuses::Parents;
use options::Options;
use values::Values;

/// Result of a translation: a model, findings and statuses.
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
        tls_names: translator.index.tls_names().collect(),
        model: translator.values.model,
    }
}

/// Keeps a model in step with changing resources.
#[derive(Debug)]
pub struct Translator {
    /// What the conf says that holds for all.
    options: Options,
    /// Who says what.
    index: Index,
    /// What it comes to.
    values: Values,
    /// What there is to say where it meets.
    findings: Findings,
    /// What is said of objects, as far as several share it.
    parents: Parents,
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
        let (options, _) = conf::translate(&Resources::default());
        let mut values = Values::default();
        values.take(&options, &mut Touched::default());
        Self { options, index: Index::default(), values, findings: Findings::default(), parents: Parents::default() }
    }

    /// Takes a change in and says what of the model it touched: exactly what differs from before.
    pub fn apply(&mut self, resources: &Resources, changes: &Changes) -> Touched {
        let mut touched = Touched::default();
        let mut dirty = self.index.affected_by(changes, resources);
        // The conf comes first, and its word may concern the others.
        while let Some(unit) = dirty.units.pop_first() {
            let contribution = match &unit {
                Unit::Conf => self.read_conf(resources, &mut dirty, &mut touched),
                Unit::Ingress(name) => {
                    self.findings.by_object.doubt(name);
                    self.read_ingress(name, resources)
                }
            };
            self.index.replace(unit, contribution, &mut dirty);
        }
        self.merge(dirty, resources, &mut touched);
        if touched.hosts.len() > self.values.model.hosts.len() / 2 {
            self.index.pack();
            self.values.pack();
        }
        touched
    }

    /// The statuses of all objects that may have another one than when it was asked last.
    ///
    /// `resources`: those that were taken in last.
    pub fn take_statuses(&mut self, resources: &Resources) -> Vec<StatusChange> {
        let doubtful = self.findings.by_object.take_doubtful();
        doubtful.into_iter().map(|object| self.status(object, resources)).collect()
    }

    /// Which Secrets came into use since it was asked last, and which went out of it.
    pub fn take_demand(&mut self) -> Vec<(ObjectName, bool)> {
        self.index.take_demand()
    }

    /// What is to be served.
    pub fn model(&self) -> &Model {
        &self.values.model
    }

    /// Findings about the input, sorted, each once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let all: BTreeSet<&Diagnostic> = self.index.diagnostics().chain(self.findings.all()).collect();
        all.into_iter().cloned().collect()
    }

    fn read_conf(&mut self, resources: &Resources, dirty: &mut Dirty, touched: &mut Touched) -> Contribution {
        let (options, contribution) = conf::translate(resources);
        if !options.reads_ingresses_like(&self.options) {
            dirty.units.extend(resources.ingresses.keys().cloned().map(Unit::Ingress));
        }
        if options.plugins != self.options.plugins {
            dirty.units.extend(self.index.plugin_users().filter(|unit| **unit != Unit::Conf).cloned());
        }
        if options.backend != self.options.backend {
            dirty.backends.extend(self.index.backends().cloned());
        }
        self.values.take(&options, touched);
        self.options = options;
        contribution
    }

    fn read_ingress(&self, name: &ObjectName, resources: &Resources) -> Contribution {
        let sourced = resources.ingresses.get(name);
        sourced.map_or_else(Contribution::default, |it| ingress::translate(name, it, resources, &self.options))
    }

    fn status(&mut self, object: ObjectRef, resources: &Resources) -> StatusChange {
        let sourced = resources.ingresses.get(&object.name);
        let standing = sourced.and_then(|it| ingress::standing(it, resources, &self.options.ingress));
        let status = standing.map(|standing| {
            let (none, unit) = (Contribution::default(), Unit::Ingress(object.name.clone()));
            let added = self.index.contribution(&unit).unwrap_or(&none);
            self.parents.status(standing, added, self.findings.by_object.of(&object))
        });
        (object, status)
    }

    /// Brings together what is said of everything that may be out of date.
    fn merge(&mut self, dirty: Dirty, resources: &Resources, touched: &mut Touched) {
        let served = &self.values.model.hosts;
        let mut reach = self.index.hosts.settle(&dirty.hosts, &dirty.tls, |pattern| served.contains_key(pattern));
        let Self { options, index, values, findings, .. } = self;
        let mut merge = Merge { index, options, resources, values, findings, touched };
        dirty.backends.iter().for_each(|id| merge.backend(id, asked_by_service(id, resources)));
        dirty.secrets.iter().for_each(|name| merge.secret(name, &mut reach.tls));
        reach.routes.iter().for_each(|pattern| merge.host(pattern));
        reach.tls.iter().for_each(|pattern| merge.tls(pattern));
        merge.defaults();
    }
}

/// What the Service of a backend asks for itself.
fn asked_by_service(id: &BackendId, resources: &Resources) -> Asked {
    let BackendName::Service { namespace, name, .. } = &**id else { return Asked::default() };
    let service = resources.services.get(&ObjectName { namespace: namespace.clone(), name: name.clone() });
    service.map(|it| annotations::read_service(&it.object.annotations, &it.origin())).unwrap_or_default()
}

#[cfg(test)]
mod tests;
