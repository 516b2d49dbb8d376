//! The table of kinds, and objects as they are kept: of each kind only what translation reads.
//!
//! A kind is a row here and a file beside it, which says how the kind is read and followed ([`Row`]), what is kept of
//! it and how that is got from the type of the API. Whoever has something to do for every kind walks
//! [`Kind::TABLE`]; whoever needs the types for it brings a [`Visit`].
//!
//! A cluster's objects are read by the tens of thousands and kept for good, and most of what they say matters to
//! others. It must not know what is right: what is written is kept, unless it cannot mean anything.

mod config_map;
pub(super) mod endpoint_slice;
mod endpoints;
mod ingress;
mod ingress_class;
mod namespace;
mod parts;
mod secret;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use serde_json::Value;

use crate::dense;
use crate::origin::{ObjectOrigin, Origin, Place};
use crate::resources::conf::Conf;
use crate::resources::name::ObjectName;
use crate::resources::row::{ApiKind, Row, Version};
use crate::resources::slices::SlicesByService;
use crate::resources::sourced::Sourced;
use crate::resources::strings::Strings;
use crate::resources::table::kinds;

pub(crate) use config_map::ConfigMap;
pub(crate) use endpoint_slice::EndpointSlice;
pub(crate) use endpoints::Endpoints;
pub(crate) use ingress::{Ingress, IngressBackend, IngressPath, IngressRule, IngressTls};
pub(crate) use ingress_class::IngressClass;
pub(crate) use namespace::Namespace;
pub(crate) use parts::SharedBytes;
pub(crate) use parts::{Annotations, EndpointPort, Transport};
pub(crate) use secret::Secret;
pub(crate) use service::{Service, ServicePort, TargetPort};

kinds! {
    /// `networking.k8s.io/v1` Ingress.
    Ingress in ingresses: networking::Ingress,
    /// `networking.k8s.io/v1` IngressClass; cluster-scoped.
    IngressClass in ingress_classes: networking::IngressClass,
    /// `v1` Service.
    Service in services: core::Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice in endpoint_slices: discovery::EndpointSlice,
    /// `v1` Endpoints.
    Endpoints in endpoints: core::Endpoints,
    /// `v1` Secret.
    Secret in secrets: core::Secret,
    /// `v1` ConfigMap.
    ConfigMap in config_maps: core::ConfigMap,
    /// `v1` Namespace; cluster-scoped.
    Namespace in namespaces: core::Namespace,
}

/// Names one object of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

/// A type of the API that has a row.
pub(crate) trait Tabled: ApiKind {
    /// Its kind.
    const KIND: Kind;

    /// What is kept of it, as an object of any kind.
    fn wrap(object: Sourced<Self::Kept>) -> Object;

    /// All objects of the kind.
    fn all(resources: &Resources) -> &BTreeMap<ObjectName, Sourced<Self::Kept>>;
}

/// Visitor of a type of the API, whichever that is.
pub(crate) trait Visit {
    /// Result of the visit.
    type Output;

    /// Does it.
    fn visit<K: Tabled>(self) -> Self::Output;
}

/// Reads a kind as the API writes it.
struct FromJson(Value);

// === impl Kind ===

impl Kind {
    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        self.row().map_or("Conf", |row| row.name)
    }

    /// All kinds of Kubernetes with what the table says of them.
    pub(crate) fn rows() -> impl Iterator<Item = (Self, &'static Row)> {
        Self::TABLE.iter().filter_map(|kind| Some((*kind, kind.row()?)))
    }

    /// The kind that an object in a file is of, and the version of it.
    pub(crate) fn find(api_version: &str, name: &str) -> Option<(Self, &'static Row, &'static Version)> {
        let (kind, row) = Self::rows().find(|(_, row)| row.name == name)?;
        let version = row.versions.iter().find(|version| version.api_version == api_version)?;
        Some((kind, row, version))
    }
}

// === impl Object ===

impl Object {
    /// Keeps what is read of an object of the API; `place` is where it was read, `strings` what it may share.
    pub(crate) fn of<K: Tabled>(api: K, place: Option<Place>, strings: &mut Strings) -> Self {
        let metadata = api.meta();
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let namespace = if K::ROW.is_namespaced() { strings.share(namespace) } else { Arc::default() };
        let name = strings.share(metadata.name.as_deref().unwrap_or_default());
        let origin = ObjectOrigin { kind: K::ROW.name, namespace, name, place };
        K::wrap(Sourced { object: Arc::new(api.keep(strings)), origin: Arc::new(origin) })
    }

    /// The conf, which is named by its file.
    pub fn conf(conf: Conf, place: Option<Place>) -> Self {
        let name = place.as_ref().map(|place| Arc::clone(&place.file)).unwrap_or_default();
        let origin = ObjectOrigin { kind: Kind::Conf.as_str(), namespace: Arc::default(), name, place };
        Self::Conf(Sourced { object: Arc::new(conf), origin: Arc::new(origin) })
    }

    /// Reads an Ingress as the API writes it, out of a larger text.
    ///
    /// # Errors
    /// A field that does not fit.
    pub fn read_ingress<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(ingress::reviewed(deserializer)?, None, &mut Strings::default()))
    }

    /// Reads an object of a kind as the API writes it.
    ///
    /// # Errors
    /// A field that does not fit.
    pub fn from_json(kind: Kind, value: Value) -> Result<Self, serde_json::Error> {
        if kind == Kind::Conf {
            return Ok(Self::conf(serde_json::from_value(value)?, None));
        }
        kind.visit(FromJson(value)).unwrap_or_else(|| Err(serde::de::Error::custom("no kind of the API")))
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
}

impl Visit for FromJson {
    type Output = Result<Object, serde_json::Error>;

    fn visit<K: Tabled>(self) -> Self::Output {
        Ok(Object::of(serde_json::from_value::<K>(self.0)?, None, &mut Strings::default()))
    }
}

// === impl ObjectRef ===

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

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}
