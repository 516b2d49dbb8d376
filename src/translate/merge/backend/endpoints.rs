//! The endpoints of a port of a Service: EndpointSlices, else Endpoints, by readiness and zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::address::{AddressRules, Refused};
use crate::model::{Endpoint, EndpointSet};
use crate::resources::object::{EndpointPort, EndpointSlice, Endpoints, Transport};
use crate::resources::{ObjectName, Resources, Sourced};
use crate::translate::options::BackendOptions;

/// Endpoints found in EndpointSlices and Endpoints.
struct Found<'a> {
    rules: &'a AddressRules,
    seen: BTreeMap<SocketAddr, SeenEndpoint>,
    refused: BTreeSet<Refused>,
}

#[derive(Clone, Debug, Default)]
struct SeenEndpoint {
    is_ready: bool,
    is_draining: bool,
    zone: Option<Arc<str>>,
    for_zones: Option<Arc<str>>,
}

/// The endpoints of a port, and the addresses that may not be any.
pub(crate) fn endpoints_of(
    service: &ObjectName,
    port: &str,
    resources: &Resources,
    options: &BackendOptions,
) -> (EndpointSet, BTreeSet<Refused>) {
    let mut found = Found { rules: &options.rules, seen: BTreeMap::new(), refused: BTreeSet::new() };
    let slices = resources.slices_of(service);
    slices.iter().for_each(|slice| found.add_slice(slice, port));
    if slices.is_empty()
        && let Some(endpoints) = resources.endpoints.get(service)
    {
        found.add_endpoints(endpoints, port);
    }
    let Found { seen, refused, .. } = found;
    let any_ready = seen.values().any(|each| each.is_ready);
    let zone = options.zone.as_deref().filter(|zone| are_hints_heeded(&seen, zone));
    let endpoints = seen
        .into_iter()
        .filter(|(_, each)| if any_ready { each.is_ready } else { each.is_draining })
        .filter(|(_, each)| zone.is_none_or(|zone| each.is_for(zone)))
        .map(|(address, each)| Endpoint { address, weight: 1, zone: each.zone })
        .collect();
    (EndpointSet { endpoints }, refused)
}

/// As kube-proxy does: hints count only when every ready endpoint has one, and one is for us.
fn are_hints_heeded(seen: &BTreeMap<SocketAddr, SeenEndpoint>, zone: &str) -> bool {
    let ready = || seen.values().filter(|each| each.is_ready);
    ready().all(|each| each.for_zones.is_some()) && ready().any(|each| each.is_for(zone))
}

impl SeenEndpoint {
    fn is_for(&self, zone: &str) -> bool {
        self.for_zones.as_deref().is_some_and(|zones| zones.split(',').any(|each| each == zone))
    }
}

// === impl Found ===

impl Found<'_> {
    fn add_slice(&mut self, slice: &Sourced<EndpointSlice>, wanted: &str) {
        let is_of_cluster = slice.origin.is_of_cluster();
        for port in numbers(&slice.object.ports, wanted) {
            for endpoint in &slice.object.endpoints {
                let state = SeenEndpoint {
                    is_ready: endpoint.is_ready,
                    is_draining: endpoint.is_draining,
                    zone: endpoint.zone.clone(),
                    for_zones: endpoint.for_zones.clone(),
                };
                self.note(SocketAddr::new(endpoint.address, port), state, is_of_cluster);
            }
        }
    }

    fn add_endpoints(&mut self, endpoints: &Sourced<Endpoints>, wanted: &str) {
        let is_of_cluster = endpoints.origin.is_of_cluster();
        for subset in &endpoints.object.subsets {
            for port in numbers(&subset.ports, wanted) {
                for address in &subset.addresses {
                    let state = SeenEndpoint { is_ready: true, ..SeenEndpoint::default() };
                    self.note(SocketAddr::new(*address, port), state, is_of_cluster);
                }
            }
        }
    }

    /// While a pod moves between slices it may stand in both: the ready copy counts.
    fn note(&mut self, address: SocketAddr, state: SeenEndpoint, is_of_cluster: bool) {
        if is_of_cluster && let Some(refused) = self.rules.refusal(address) {
            self.refused.insert(refused);
            return;
        }
        let known = self.seen.entry(address).or_default();
        known.is_ready |= state.is_ready;
        known.is_draining |= state.is_draining;
        if known.zone.is_none() {
            known.zone = state.zone;
        }
        if known.for_zones.is_none() {
            known.for_zones = state.for_zones;
        }
    }
}

/// HTTP comes by TCP: a port of another protocol may have the same name where a file says so.
fn numbers(ports: &[EndpointPort], wanted: &str) -> impl Iterator<Item = u16> {
    let is_it = move |port: &&EndpointPort| *port.name == *wanted && port.transport == Transport::Tcp;
    ports.iter().filter(is_it).map(|port| port.port)
}
