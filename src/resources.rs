//! One consistent set of typed input objects, whatever source they came from.
//!
//! Sources send [`Event`]s, [`Resources::apply`] keeps the set and says what changed. Translation only reads it.
//! Which kinds there are, and what is to be known of each, stands in one table, [`object`].
//! It must not know what objects mean: no class, no route, no port is looked at here.

pub(crate) mod conf;
mod event;
mod fields;
mod name;
pub(crate) mod note;
pub(crate) mod object;
mod row;
mod slices;
mod sourced;
pub(crate) mod status;
mod strings;
mod table;

use std::collections::BTreeSet;

use object::EndpointSlice;

pub use event::{Batch, Event};
pub(crate) use fields::{Field, TOP};
pub use name::ObjectName;
pub use object::{Kind, Object, Resources};
pub(crate) use object::{ObjectRef, Tabled, Visit};
pub(crate) use row::{Caching, Feed, Row, Use, Version};
pub(crate) use sourced::Sourced;
pub(crate) use strings::Strings;

/// Changed objects, as [`Resources::apply`] found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that were added, altered or removed.
    pub objects: BTreeSet<ObjectRef>,
    /// Services that gained, lost or changed an EndpointSlice.
    pub services: BTreeSet<ObjectName>,
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
        if changes.objects.len() > self.len() / 2 {
            self.pack();
        }
        changes
    }

    /// The slices of a Service, in order of their names.
    pub fn slices_of(&self, service: &ObjectName) -> &[Sourced<EndpointSlice>] {
        self.slices_by_service.of(service)
    }

    /// Names of everything there is: what a first translation is told.
    pub fn all(&self) -> Changes {
        Changes { objects: self.names(), services: self.slices_by_service.services().cloned().collect() }
    }

    fn insert(&mut self, object: Object, changes: &mut Changes) {
        let name = object.to_ref();
        if self.has(&name.name, &object) {
            return;
        }
        self.unlink(&name, changes);
        if let Object::EndpointSlice(slice) = &object {
            changes.services.extend(self.slices_by_service.add(slice));
        }
        self.put(name.name.clone(), object);
        changes.objects.insert(name);
    }

    fn remove(&mut self, name: ObjectRef, changes: &mut Changes) {
        self.unlink(&name, changes);
        if self.take(&name) {
            changes.objects.insert(name);
        }
    }

    /// Takes a slice out of the index, as it is known.
    fn unlink(&mut self, name: &ObjectRef, changes: &mut Changes) {
        if name.kind == Kind::EndpointSlice
            && let Some(known) = self.endpoint_slices.get(&name.name)
        {
            changes.services.extend(self.slices_by_service.remove(known));
        }
    }
}
