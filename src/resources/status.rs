//! What became of an object, said to whoever wrote it: who was asked to serve it, and what that one did about it.
//!
//! Translation makes statuses, writers write them as they are. The form is that of the Gateway API: a list of parents,
//! each with conditions. An Ingress has one parent, its class, and a place for addresses only. It must not know how a
//! status is decided or written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Kind, ObjectName, ObjectRef};

/// The status of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// `metadata.generation` of the object that all of this is about; 0: it has none.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Whether the object is to say where its traffic comes in.
    pub has_address: bool,
    /// Whether it is told each time that a change of it is live.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reports_live: bool,
    /// What each parent says. Objects of which the same is said share it.
    pub parents: Arc<[ParentStatus]>,
}

/// Status of an object under one parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParentStatus {
    /// Who.
    pub parent: Parent,
    /// Each type once.
    pub conditions: Vec<Condition>,
}

/// Parent of an object: what is asked to serve it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parent {
    /// The object that it names: the class of an Ingress.
    Object(ObjectRef),
    /// This controller, for an Ingress without a class.
    Controller,
}

/// One thing that is so or not, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it is so.
    #[serde(serialize_with = "status_text")]
    pub status: bool,
    /// Stable reason code in CamelCase.
    pub reason: &'static str,
    /// For people; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Types of conditions, named as in the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ConditionType {
    /// Something of the object is served.
    Accepted,
    /// The Services and Secrets that it names can be used.
    ResolvedRefs,
    /// Something of it is refused while the rest is served. It is told only where that is so.
    PartiallyInvalid,
}

/// Change of the status of one object; `None`: it has none any more.
pub(crate) type StatusChange = (ObjectRef, Option<ObjectStatus>);

/// Statuses of all objects that have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    /// No inner map is empty.
    by_kind: BTreeMap<Kind, BTreeMap<ObjectName, ObjectStatus>>,
    /// Ingresses with addresses.
    addressed: usize,
}

// === impl Statuses ===

impl Statuses {
    /// Brings a set up to date; says whether that altered anything. Whoever shares the old one keeps it.
    pub(crate) fn update(this: &mut Arc<Self>, changes: impl IntoIterator<Item = StatusChange>) -> bool {
        let altered = |(object, status): &StatusChange| this.get(object) != status.as_ref();
        let changes: Vec<StatusChange> = changes.into_iter().filter(altered).collect();
        if changes.is_empty() {
            return false;
        }
        let statuses = Arc::make_mut(this);
        changes.into_iter().for_each(|(object, status)| statuses.set(object, status));
        true
    }

    /// The status of an object.
    pub(crate) fn get(&self, object: &ObjectRef) -> Option<&ObjectStatus> {
        self.by_kind.get(&object.kind)?.get(&object.name)
    }

    /// Ingresses that say where their traffic comes in.
    pub(crate) fn addressed(&self) -> impl Iterator<Item = &ObjectName> {
        self.ingresses().filter(|(_, status)| status.has_address).map(|(name, _)| name)
    }

    /// Whether an Ingress says where its traffic comes in.
    pub(crate) fn is_addressed(&self, ingress: &ObjectName) -> bool {
        let ingresses = self.by_kind.get(&Kind::Ingress);
        ingresses.and_then(|all| all.get(ingress)).is_some_and(|status| status.has_address)
    }

    /// How many Ingresses say where their traffic comes in.
    pub(crate) fn addressed_len(&self) -> usize {
        self.addressed
    }

    fn ingresses(&self) -> impl Iterator<Item = (&ObjectName, &ObjectStatus)> {
        self.by_kind.get(&Kind::Ingress).into_iter().flatten()
    }

    fn set(&mut self, object: ObjectRef, status: Option<ObjectStatus>) {
        let ObjectRef { kind, name } = object;
        let counts = |status: Option<&ObjectStatus>| usize::from(status.is_some_and(|status| status.has_address));
        let added = counts(status.as_ref());
        let of_kind = self.by_kind.entry(kind).or_default();
        let old = match status {
            Some(status) => of_kind.insert(name, status),
            None => of_kind.remove(&name),
        };
        if of_kind.is_empty() {
            self.by_kind.remove(&kind);
        }
        if kind == Kind::Ingress {
            self.addressed = self.addressed + added - counts(old.as_ref());
        }
    }
}

impl FromIterator<StatusChange> for Statuses {
    fn from_iter<I: IntoIterator<Item = StatusChange>>(changes: I) -> Self {
        let mut statuses = Self::default();
        changes.into_iter().for_each(|(object, status)| statuses.set(object, status));
        statuses
    }
}

/// Statuses by `Kind/namespace/name`.
impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, objects) in &self.by_kind {
            for (name, status) in objects {
                map.serialize_entry(&format!("{}/{name}", kind.as_str()), status)?;
            }
        }
        map.end()
    }
}

// === impl Parent ===

impl Parent {
    /// The class of an Ingress.
    pub(crate) fn class(name: &str) -> Self {
        Self::Object(ObjectRef::new(Kind::IngressClass, "", name))
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Controller => f.write_str("controller"),
        }
    }
}

impl Serialize for Parent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn status_text<S: Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

fn is_zero(generation: &i64) -> bool {
    *generation == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, has_address: Option<bool>) -> StatusChange {
        let status = has_address.map(|has_address| ObjectStatus { has_address, ..ObjectStatus::default() });
        (ObjectRef::new(Kind::Ingress, "shop", name), status)
    }

    #[test]
    fn what_alters_nothing_copies_nothing() {
        let mut statuses = Arc::<Statuses>::default();
        let empty = Arc::clone(&statuses);
        assert!(!Statuses::update(&mut statuses, [change("gone", None)]));
        assert!(Arc::ptr_eq(&statuses, &empty));
        assert!(Statuses::update(&mut statuses, [change("a", Some(true)), change("b", Some(false))]));
        let before = Arc::clone(&statuses);
        assert!(!Statuses::update(&mut statuses, [change("a", Some(true))]));
        assert!(Arc::ptr_eq(&statuses, &before));
        assert!(Statuses::update(&mut statuses, [change("b", None)]));
        assert_eq!((before.get(&change("b", None).0).is_some(), statuses.get(&change("b", None).0)), (true, None));
    }

    #[test]
    fn addresses_are_counted_as_they_come_and_go() {
        let mut statuses = Arc::<Statuses>::default();
        let steps = [("a", Some(true), 1), ("a", Some(true), 1), ("b", Some(false), 1), ("b", Some(true), 2)];
        for (name, has_address, count) in steps.into_iter().chain([("a", Some(false), 1), ("b", None, 0)]) {
            Statuses::update(&mut statuses, [change(name, has_address)]);
            assert_eq!((statuses.addressed_len(), statuses.addressed().count()), (count, count), "{name}");
        }
        Statuses::update(&mut statuses, [change("a", None)]);
        assert_eq!(*statuses, Statuses::default());
    }
}
