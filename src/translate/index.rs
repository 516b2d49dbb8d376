//! Who says what: contributions by unit, and by the hosts, backends, Secrets and plugins that they name.

mod demand;
pub(crate) mod dirty;
pub(crate) mod names;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use demand::Demand;
use dirty::Dirty;
use names::Names;
use users::Users;

use super::contribution::{BackendUse, ConfPart, Contribution, Unit};
use crate::dense;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{BackendId, BackendName};
use crate::origin::Origin;
use crate::resources::{Changes, Kind, ObjectName, Resources};

/// Index of contributions by what they name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    contributions: BTreeMap<Unit, Arc<Contribution>>,
    pub hosts: Names,
    backends: Users<BackendId>,
    secrets: Users<ObjectName>,
    /// Units that name plugins of the conf.
    plugin_users: BTreeSet<Unit>,
    /// Units with plugins of their own that name a Secret.
    plugin_secrets: BTreeMap<ObjectName, BTreeSet<Unit>>,
    demand: Demand,
}

// === impl Index ===

impl Index {
    /// What the changed objects are part of.
    pub(crate) fn affected_by(&self, changes: &Changes, resources: &Resources) -> Dirty {
        let mut dirty = Dirty::default();
        for object in &changes.objects {
            match object.kind {
                Kind::Ingress => drop(dirty.units.insert(Unit::Ingress(object.name.clone()))),
                Kind::IngressClass => dirty.units.extend(resources.ingresses.keys().cloned().map(Unit::Ingress)),
                Kind::Service | Kind::Endpoints => dirty.backends.extend(self.backends_of(&object.name).cloned()),
                Kind::Secret => {
                    dirty.secrets.insert(object.name.clone());
                    dirty.units.extend(self.plugin_secrets.get(&object.name).into_iter().flatten().cloned());
                }
                Kind::Conf => drop(dirty.units.insert(Unit::Conf)),
                // Slices are told by their Services.
                Kind::EndpointSlice | Kind::ConfigMap | Kind::Namespace => {}
            }
        }
        dirty.backends.extend(changes.services.iter().flat_map(|service| self.backends_of(service)).cloned());
        dirty
    }

    /// Puts a contribution in the place of the unit's old one and notes what the two name.
    pub(crate) fn replace(&mut self, unit: Unit, new: Contribution, dirty: &mut Dirty) {
        let old = self.contributions.get(&unit).cloned().unwrap_or_default();
        if *old == new {
            return;
        }
        let new = Arc::new(new);
        dirty.note(&old, &new);
        for part in [&old, &new] {
            self.demand.doubt(part.secrets.keys().chain(part.plugin_secrets()));
        }
        self.hosts.unlink(&old);
        self.backends.unlink(old.backend_ids(), &old);
        self.secrets.unlink(old.secrets.keys(), &old);
        self.hosts.link(&new);
        self.backends.link(new.backend_ids(), &new);
        self.secrets.link(new.secrets.keys(), &new);
        self.index_plugins(&unit, &old, &new);
        // An Ingress that is not ours leaves nothing behind.
        if *new == Contribution::default() {
            self.contributions.remove(&unit);
        } else {
            self.contributions.insert(unit, new);
        }
    }

    fn index_plugins(&mut self, unit: &Unit, old: &Contribution, new: &Contribution) {
        if new.names_plugins() {
            self.plugin_users.insert(unit.clone());
        } else {
            self.plugin_users.remove(unit);
        }
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

    /// Which Secrets came into use since it was asked last, and which went out of it.
    pub(crate) fn take_demand(&mut self) -> Vec<(ObjectName, bool)> {
        let (secrets, plugin_secrets) = (&self.secrets, &self.plugin_secrets);
        self.demand.take(|name| !secrets.users(name).is_empty() || plugin_secrets.contains_key(name))
    }

    /// Gives up empty room.
    pub(crate) fn pack(&mut self) {
        dense::pack(&mut self.contributions);
        self.hosts.pack();
        self.backends.pack();
    }

    /// Units that name plugins of the conf.
    pub(crate) fn plugin_users(&self) -> impl Iterator<Item = &Unit> {
        self.plugin_users.iter()
    }

    /// Every backend that is named or defined.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &BackendId> {
        self.backends.keys()
    }

    /// How and where a backend is named, in no order.
    pub(crate) fn uses_of_backend(&self, id: &BackendId) -> impl Iterator<Item = &BackendUse> {
        self.backends.users(id).iter().filter_map(|user| user.backends.get(id))
    }

    /// Contributions that name a Secret for a certificate, in no order.
    pub(crate) fn users_of_secret(&self, name: &ObjectName) -> &[Arc<Contribution>] {
        self.secrets.users(name)
    }

    /// What only the conf adds.
    pub(crate) fn conf(&self) -> Option<&ConfPart> {
        self.contribution(&Unit::Conf)?.conf.as_deref()
    }

    /// What an object adds, if it adds anything.
    pub(crate) fn contribution(&self, unit: &Unit) -> Option<&Contribution> {
        self.contributions.get(unit).map(|it| &**it)
    }

    /// What units have to say of themselves.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.contributions.values().flat_map(|each| each.diagnostics.iter())
    }

    /// Every host that is named in `tls`, and where, whether that counts or not.
    pub(crate) fn tls_names(&self) -> impl Iterator<Item = (HostPattern, Origin)> {
        let parts = self.contributions.values().flat_map(|each| each.hosts.iter());
        parts.flat_map(|(pattern, part)| part.tls.iter().map(|entry| (pattern.clone(), entry.origin.clone())))
    }

    /// Backends that are ports of a Service.
    fn backends_of(&self, service: &ObjectName) -> impl Iterator<Item = &BackendId> {
        let first = BackendName::Service {
            namespace: Arc::clone(&service.namespace),
            name: Arc::clone(&service.name),
            port: Arc::default(),
            variant: Arc::default(),
        };
        let is_its = move |id: &&BackendId| match &***id {
            BackendName::Service { namespace, name, .. } => (namespace, name) == (&service.namespace, &service.name),
            BackendName::Upstream(_) => false,
        };
        self.backends.keys_from(first.into()).take_while(is_its)
    }
}
