//! What status needs of the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressStatus};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};

use super::address::{self, Address};
use super::{AddressSource, Replicas, StatusConfig};
use crate::resources::ObjectName;
use crate::source::kubernetes::leader::FIELD_MANAGER;

/// Objects a page; a page is held whole.
const PAGE: u32 = 500;

/// The API server, as far as status needs it.
pub(super) struct Cluster {
    client: Client,
}

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The addresses that are to be told now.
    pub(super) async fn addresses(&self, config: &StatusConfig) -> Result<Vec<Address>, Error> {
        match &config.from {
            AddressSource::Given(addresses) => {
                let mut addresses = addresses.clone();
                addresses.sort();
                addresses.dedup();
                Ok(addresses)
            }
            AddressSource::Service(name) => {
                let services = Api::<Service>::namespaced(self.client.clone(), &name.namespace);
                Ok(address::of_service(&services.get(&name.name).await?))
            }
            AddressSource::Nodes(which) => {
                let Some(replicas) = &config.pods else { return Ok(Vec::new()) };
                let pods = self.pods(replicas).await?;
                let all = Api::<Node>::all(self.client.clone());
                let mut nodes = Vec::new();
                for name in address::nodes_of(&pods) {
                    nodes.extend(all.get_opt(name).await?);
                }
                Ok(address::of_nodes(&nodes, *which))
            }
        }
    }

    /// What stands on all Ingresses of these namespaces; of all, when none are named.
    pub(super) async fn statuses(&self, namespaces: &[String]) -> Result<BTreeMap<ObjectName, Vec<Address>>, Error> {
        let mut known = BTreeMap::new();
        if namespaces.is_empty() {
            list(&Api::all(self.client.clone()), &mut known).await?;
        }
        for namespace in namespaces {
            list(&Api::namespaced(self.client.clone(), namespace), &mut known).await?;
        }
        Ok(known)
    }

    /// What stands on one Ingress.
    pub(super) async fn status(&self, name: &ObjectName) -> Result<Vec<Address>, Error> {
        let ingress = self.ingresses(name).get(&name.name).await?;
        Ok(standing(ingress.status.as_ref()))
    }

    /// Replaces what stands on one Ingress.
    pub(super) async fn write(&self, name: &ObjectName, addresses: &[Address]) -> Result<(), Error> {
        let entries: Vec<Value> = addresses.iter().map(Address::to_json).collect();
        let patch = json!({ "status": { "loadBalancer": { "ingress": entries } } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.ingresses(name).patch_status(&name.name, &params, &Patch::Merge(patch)).await.map(drop)
    }

    /// Whether another replica is ready and is to stay.
    pub(super) async fn has_others(&self, replicas: &Replicas) -> Result<bool, Error> {
        let pods = self.pods(replicas).await?;
        Ok(pods.iter().any(|pod| address::is_ready(pod) && pod.name_any() != replicas.own))
    }

    /// Pods with the labels of our own one.
    async fn pods(&self, replicas: &Replicas) -> Result<Vec<Pod>, Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &replicas.namespace);
        // A list of one: the right to list is all that is needed.
        let own = api.list(&ListParams::default().fields(&format!("metadata.name={}", replicas.own))).await?;
        let Some(own) = own.items.first() else { return Ok(Vec::new()) };
        Ok(api.list(&ListParams::default().labels(&address::selector(own))).await?.items)
    }

    fn ingresses(&self, name: &ObjectName) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), &name.namespace)
    }
}

fn standing(status: Option<&IngressStatus>) -> Vec<Address> {
    let entries = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref()).into_iter().flatten();
    let mut addresses: Vec<Address> =
        entries.filter_map(|entry| Address::parse(entry.hostname.as_deref().or(entry.ip.as_deref())?)).collect();
    addresses.sort();
    addresses
}

async fn list(api: &Api<Ingress>, known: &mut BTreeMap<ObjectName, Vec<Address>>) -> Result<(), Error> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        for ingress in &page.items {
            let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
            let name = ObjectName { namespace: namespace.into(), name: ingress.name_any().into() };
            known.insert(name, standing(ingress.status.as_ref()));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
