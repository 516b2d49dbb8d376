//! EndpointSlices by the Service that they belong to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dense;
use crate::resources::name::ObjectName;
use crate::resources::object::endpoint_slice::EndpointSlice;
use crate::resources::sourced::Sourced;

/// The index; of each Service the slices in order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct SlicesByService(BTreeMap<ObjectName, Box<[Sourced<EndpointSlice>]>>);

// === impl SlicesByService ===

impl SlicesByService {
    /// The slices of a Service.
    pub(super) fn of(&self, service: &ObjectName) -> &[Sourced<EndpointSlice>] {
        self.0.get(service).map(|slices| &**slices).unwrap_or_default()
    }

    /// The Services that have some.
    pub(super) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.0.keys()
    }

    /// Adds a slice, and names its Service.
    pub(super) fn add(&mut self, slice: &Sourced<EndpointSlice>) -> Option<ObjectName> {
        let service = service_of(slice)?;
        let slices = self.0.entry(service.clone()).or_default();
        let mut list = std::mem::take(slices).into_vec();
        let at = list.partition_point(|known| known.origin.name < slice.origin.name);
        list.insert(at, slice.clone());
        *slices = list.into();
        Some(service)
    }

    /// Takes a slice away, and names its Service.
    pub(super) fn remove(&mut self, slice: &Sourced<EndpointSlice>) -> Option<ObjectName> {
        let service = service_of(slice)?;
        if let Some(slices) = self.0.get_mut(&service) {
            let mut list = std::mem::take(slices).into_vec();
            list.retain(|known| known.origin.name != slice.origin.name);
            *slices = list.into();
            if slices.is_empty() {
                self.0.remove(&service);
            }
        }
        Some(service)
    }

    /// Moves the entries together.
    pub(super) fn pack(&mut self) {
        dense::pack(&mut self.0);
    }
}

fn service_of(slice: &Sourced<EndpointSlice>) -> Option<ObjectName> {
    let service = slice.object.service.as_ref()?;
    Some(ObjectName { namespace: Arc::clone(&slice.origin.namespace), name: Arc::clone(service) })
}
