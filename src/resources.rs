//! One consistent set of typed input objects, whatever source they came from.
//!
//! Sources send [`Event`]s, [`Resources::apply`] keeps the set and says what changed. Translation only reads it.
//! It must not know what objects mean: no class, no route, no port is looked at here.

pub(crate) mod conf;
pub(crate) mod note;
pub(crate) mod object;
pub(crate) mod status;
mod strings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::dense;
use crate::origin::{ObjectOrigin, Origin, Place};
use conf::Conf;
use object::{ConfigMap, EndpointSlice, Endpoints, Ingress, IngressClass, Namespace, Secret, Service};

pub use strings::Strings;

/// Kinds of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `networking.k8s.io/v1` IngressClass; cluster-scoped.
    IngressClass,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Endpoints.
    Endpoints,
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Namespace; cluster-scoped.
    Namespace,
    /// Routes, upstreams, plugins and defaults of the process's own file; there is one.
    Conf,
}

/// Names one object of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// An object with its name and the place that it was read from.
#[derive(Debug, PartialEq)]
pub struct Sourced<T> {
    /// The object.
    pub object: Arc<T>,
    /// Its kind and name; file and line, when it came from a file. Everything made of the object shares it.
    pub origin: Arc<ObjectOrigin>,
}

/// One object of any kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the kinds")]
pub enum Object {
    Ingress(Sourced<Ingress>),
    IngressClass(Sourced<IngressClass>),
    Service(Sourced<Service>),
    EndpointSlice(Sourced<EndpointSlice>),
    Endpoints(Sourced<Endpoints>),
    Secret(Sourced<Secret>),
    ConfigMap(Sourced<ConfigMap>),
    Namespace(Sourced<Namespace>),
    Conf(Sourced<Conf>),
}

/// One change of the input.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is there, new or changed.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectRef),
}

/// What a source delivers at once.
#[derive(Debug)]
pub struct Batch {
    /// Which source: `files`, `conf`, `kubernetes`.
    pub source: &'static str,
    /// What changed.
    pub events: Vec<Event>,
    /// All that the source has to say about its input now; replaces what it said before.
    pub diagnostics: Vec<crate::diagnostic::Diagnostic>,
    /// When the source noticed the change.
    pub noticed: std::time::Instant,
    /// Whether the source has delivered everything that it had at start.
    pub is_complete: bool,
    /// The last demand for Secrets that is settled, for a source that fetches on demand; else 0.
    pub answered: u64,
}

/// The set. Maps are ordered, so that everything derived from them is too.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are the kinds")]
pub struct Resources {
    pub ingresses: BTreeMap<ObjectName, Sourced<Ingress>>,
    pub ingress_classes: BTreeMap<ObjectName, Sourced<IngressClass>>,
    pub services: BTreeMap<ObjectName, Sourced<Service>>,
    pub endpoint_slices: BTreeMap<ObjectName, Sourced<EndpointSlice>>,
    pub endpoints: BTreeMap<ObjectName, Sourced<Endpoints>>,
    pub secrets: BTreeMap<ObjectName, Sourced<Secret>>,
    pub config_maps: BTreeMap<ObjectName, Sourced<ConfigMap>>,
    pub namespaces: BTreeMap<ObjectName, Sourced<Namespace>>,
    pub conf: Option<Sourced<Conf>>,
    slices_by_service: BTreeMap<ObjectName, Box<[Sourced<EndpointSlice>]>>,
}

// === impl Resources ===

impl Resources {
    /// Takes events in and returns the names of what changed, each once; what is told again as it is has not.
    ///
    /// An EndpointSlice that moves from one Service to another reports the slice only; ask
    /// [`Changes::services`] for the Services whose endpoints are affected.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Changes {
        let mut changes = Changes::default();
        for event in events {
            match event {
                Event::Apply(object) => self.insert(object, &mut changes),
                Event::Delete(name) => self.remove(name, &mut changes),
            }
        }
        let objects = self.ingresses.len() + self.services.len() + self.endpoint_slices.len() + self.endpoints.len();
        if changes.objects.len() > objects / 2 {
            self.pack();
        }
        changes
    }

    /// The slices of a Service, in order of their names.
    pub fn slices_of(&self, service: &ObjectName) -> &[Sourced<EndpointSlice>] {
        self.slices_by_service.get(service).map(|slices| &**slices).unwrap_or_default()
    }

    /// Names of everything there is: what a first translation is told.
    pub fn all(&self) -> Changes {
        let mut changes = Changes::default();
        let mut add = |kind, name: &ObjectName| {
            changes.objects.insert(ObjectRef { kind, name: name.clone() });
        };
        self.ingresses.keys().for_each(|name| add(Kind::Ingress, name));
        self.ingress_classes.keys().for_each(|name| add(Kind::IngressClass, name));
        self.services.keys().for_each(|name| add(Kind::Service, name));
        self.endpoint_slices.keys().for_each(|name| add(Kind::EndpointSlice, name));
        self.endpoints.keys().for_each(|name| add(Kind::Endpoints, name));
        self.secrets.keys().for_each(|name| add(Kind::Secret, name));
        self.config_maps.keys().for_each(|name| add(Kind::ConfigMap, name));
        self.namespaces.keys().for_each(|name| add(Kind::Namespace, name));
        self.conf.iter().for_each(|_| add(Kind::Conf, &ObjectName::default()));
        changes.services.extend(self.slices_by_service.keys().cloned());
        changes
    }

    fn pack(&mut self) {
        dense::pack(&mut self.ingresses);
        dense::pack(&mut self.services);
        dense::pack(&mut self.endpoint_slices);
        dense::pack(&mut self.endpoints);
        dense::pack(&mut self.secrets);
        dense::pack(&mut self.slices_by_service);
    }

    /// One of the objects.
    pub fn object(&self, name: &ObjectRef) -> Option<Object> {
        let ObjectRef { kind, name } = name;
        match kind {
            Kind::Ingress => self.ingresses.get(name).cloned().map(Object::Ingress),
            Kind::IngressClass => self.ingress_classes.get(name).cloned().map(Object::IngressClass),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.endpoint_slices.get(name).cloned().map(Object::EndpointSlice),
            Kind::Endpoints => self.endpoints.get(name).cloned().map(Object::Endpoints),
            Kind::Secret => self.secrets.get(name).cloned().map(Object::Secret),
            Kind::ConfigMap => self.config_maps.get(name).cloned().map(Object::ConfigMap),
            Kind::Namespace => self.namespaces.get(name).cloned().map(Object::Namespace),
            Kind::Conf => self.conf.clone().map(Object::Conf),
        }
    }

    /// Whether this very object is known. Much of what is told is nothing new: status, managed fields, a new list.
    fn has(&self, name: &ObjectName, object: &Object) -> bool {
        match object {
            Object::Ingress(it) => self.ingresses.get(name) == Some(it),
            Object::IngressClass(it) => self.ingress_classes.get(name) == Some(it),
            Object::Service(it) => self.services.get(name) == Some(it),
            Object::EndpointSlice(it) => self.endpoint_slices.get(name) == Some(it),
            Object::Endpoints(it) => self.endpoints.get(name) == Some(it),
            Object::Secret(it) => self.secrets.get(name) == Some(it),
            Object::ConfigMap(it) => self.config_maps.get(name) == Some(it),
            Object::Namespace(it) => self.namespaces.get(name) == Some(it),
            Object::Conf(it) => self.conf.as_ref() == Some(it),
        }
    }

    fn insert(&mut self, object: Object, changes: &mut Changes) {
        let name = object.name();
        if self.has(&name, &object) {
            return;
        }
        changes.objects.insert(ObjectRef { kind: object.kind(), name: name.clone() });
        match object {
            Object::Ingress(it) => drop(self.ingresses.insert(name, it)),
            Object::IngressClass(it) => drop(self.ingress_classes.insert(name, it)),
            Object::Service(it) => drop(self.services.insert(name, it)),
            Object::EndpointSlice(it) => self.insert_slice(name, it, changes),
            Object::Endpoints(it) => drop(self.endpoints.insert(name, it)),
            Object::Secret(it) => drop(self.secrets.insert(name, it)),
            Object::ConfigMap(it) => drop(self.config_maps.insert(name, it)),
            Object::Namespace(it) => drop(self.namespaces.insert(name, it)),
            Object::Conf(it) => self.conf = Some(it),
        }
    }

    fn remove(&mut self, ObjectRef { kind, name }: ObjectRef, changes: &mut Changes) {
        let existed = match kind {
            Kind::Ingress => self.ingresses.remove(&name).is_some(),
            Kind::IngressClass => self.ingress_classes.remove(&name).is_some(),
            Kind::Service => self.services.remove(&name).is_some(),
            Kind::EndpointSlice => self.remove_slice(&name, changes),
            Kind::Endpoints => self.endpoints.remove(&name).is_some(),
            Kind::Secret => self.secrets.remove(&name).is_some(),
            Kind::ConfigMap => self.config_maps.remove(&name).is_some(),
            Kind::Namespace => self.namespaces.remove(&name).is_some(),
            Kind::Conf => self.conf.take().is_some(),
        };
        if existed {
            changes.objects.insert(ObjectRef { kind, name });
        }
    }

    fn insert_slice(&mut self, name: ObjectName, slice: Sourced<EndpointSlice>, changes: &mut Changes) {
        self.remove_slice(&name, changes);
        if let Some(service) = service_of(&slice) {
            let slices = self.slices_by_service.entry(service.clone()).or_default();
            let mut list = std::mem::take(slices).into_vec();
            let at = list.partition_point(|known| known.origin.name < slice.origin.name);
            list.insert(at, slice.clone());
            *slices = list.into();
            changes.services.insert(service);
        }
        self.endpoint_slices.insert(name, slice);
    }

    fn remove_slice(&mut self, name: &ObjectName, changes: &mut Changes) -> bool {
        let Some(old) = self.endpoint_slices.remove(name) else { return false };
        if let Some(service) = service_of(&old) {
            if let Some(slices) = self.slices_by_service.get_mut(&service) {
                let mut list = std::mem::take(slices).into_vec();
                list.retain(|known| known.origin.name != name.name);
                *slices = list.into();
                if slices.is_empty() {
                    self.slices_by_service.remove(&service);
                }
            }
            changes.services.insert(service);
        }
        true
    }
}

/// What [`Resources::apply`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that were added, altered or removed.
    pub objects: BTreeSet<ObjectRef>,
    /// Services that gained, lost or changed an EndpointSlice.
    pub services: BTreeSet<ObjectName>,
}

// === impl Object ===

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Namespace(_) => Kind::Namespace,
            Self::Conf(_) => Kind::Conf,
        }
    }

    /// Its namespace and name, both empty for the conf.
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Conf(_) => ObjectName::default(),
            _ => ObjectName { namespace: Arc::clone(&self.origin().namespace), name: Arc::clone(&self.origin().name) },
        }
    }

    /// Its kind and name.
    pub fn to_ref(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.name() }
    }

    /// Where it was read from.
    pub fn place(&self) -> Option<&Place> {
        self.origin().place.as_ref()
    }

    /// Its kind and name, and where it was read from.
    pub fn origin(&self) -> &Arc<ObjectOrigin> {
        match self {
            Self::Ingress(it) => &it.origin,
            Self::IngressClass(it) => &it.origin,
            Self::Service(it) => &it.origin,
            Self::EndpointSlice(it) => &it.origin,
            Self::Endpoints(it) => &it.origin,
            Self::Secret(it) => &it.origin,
            Self::ConfigMap(it) => &it.origin,
            Self::Namespace(it) => &it.origin,
            Self::Conf(it) => &it.origin,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Namespace => "Namespace",
            Self::Conf => "Conf",
        }
    }
}

// === impl ObjectRef, ObjectName, Sourced ===

impl ObjectRef {
    /// Makes a reference.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, name: ObjectName::new(namespace, name) }
    }

    /// The origin of the whole object.
    pub fn origin(&self, place: Option<Place>) -> Origin {
        Origin::new(self.kind.as_str(), &self.name.namespace, &self.name.name, place)
    }
}

impl ObjectName {
    /// Makes a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl Event {
    /// Names the object that it is about.
    pub fn to_ref(&self) -> ObjectRef {
        match self {
            Self::Apply(object) => object.to_ref(),
            Self::Delete(name) => name.clone(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl<T> Sourced<T> {
    /// The origin of the whole object.
    pub fn origin(&self) -> Origin {
        Arc::clone(&self.origin).into()
    }
}

impl<T> Clone for Sourced<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), origin: Arc::clone(&self.origin) }
    }
}

fn service_of(slice: &Sourced<EndpointSlice>) -> Option<ObjectName> {
    let service = slice.object.service.as_ref()?;
    Some(ObjectName { namespace: Arc::clone(&slice.origin.namespace), name: Arc::clone(service) })
}
