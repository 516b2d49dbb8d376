//! What status needs of the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressStatus};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};

use super::address::{self, Address};
use super::{AddressSource, Addresses, Replicas, StatusConfig, WrittenAddresses};
use crate::resources::ObjectName;
use crate::resources::status::Statuses;
use crate::source::kubernetes::write::call::FIELD_MANAGER;

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

    /// What stands on those Ingresses of these namespaces that have an address; of all namespaces, when none are named.
    ///
    /// `wanted` is what most of them say; it is shared instead of kept for each.
    pub(super) async fn statuses(
        &self,
        namespaces: &[String],
        statuses: &Statuses,
        wanted: Option<&Addresses>,
    ) -> Result<WrittenAddresses, Error> {
        let mut known = BTreeMap::new();
        let mut keep = |ingress: &Ingress| {
            let name = name_of(ingress);
            if !statuses.is_addressed(&name) {
                return;
            }
            let standing = standing(ingress.status.as_ref());
            let shared = wanted.filter(|wanted| ***wanted == *standing).map(Arc::clone);
            known.insert(name, shared.unwrap_or_else(|| standing.into()));
        };
        if namespaces.is_empty() {
            list(&Api::all(self.client.clone()), &mut keep).await?;
        }
        for namespace in namespaces {
            list(&Api::namespaced(self.client.clone(), namespace), &mut keep).await?;
        }
        Ok(known)
    }

    /// What stands on one Ingress, and in which version.
    pub(super) async fn read(&self, name: &ObjectName) -> Result<(Vec<Address>, Option<String>), Error> {
        let ingress = self.ingresses(name).get(&name.name).await?;
        Ok((standing(ingress.status.as_ref()), ingress.metadata.resource_version))
    }

    /// Replaces what stands on one Ingress.
    pub(super) async fn write(&self, name: &ObjectName, addresses: &[Address]) -> Result<(), Error> {
        let entries: Vec<Value> = addresses.iter().map(Address::to_json).collect();
        self.patch(name, json!({ "status": { "loadBalancer": { "ingress": entries } } })).await
    }

    /// Takes away what stands on one Ingress, if nobody wrote to it since this version.
    pub(super) async fn clear(&self, name: &ObjectName, version: Option<String>) -> Result<(), Error> {
        let metadata = json!({ "resourceVersion": version });
        self.patch(name, json!({ "metadata": metadata, "status": { "loadBalancer": { "ingress": [] } } })).await
    }

    /// Whether another replica is ready and is to stay; also when that cannot be told.
    pub(super) async fn has_others(&self, replicas: &Replicas) -> Result<bool, Error> {
        let pods = self.pods(replicas).await?;
        let is_own = |pod: &Pod| pod.name_any() == replicas.own;
        Ok(!pods.iter().any(is_own) || pods.iter().any(|pod| address::is_ready(pod) && !is_own(pod)))
    }

    /// Pods with the labels of our own one; none, when that is gone.
    async fn pods(&self, replicas: &Replicas) -> Result<Vec<Pod>, Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &replicas.namespace);
        // A list of one: the right to list is all that is needed.
        let mut own = api.list(&ListParams::default().fields(&format!("metadata.name={}", replicas.own))).await?.items;
        own.retain(|pod| pod.name_any() == replicas.own);
        let selector = own.first().map(address::selector).unwrap_or_default();
        // Without labels it has no replicas, and a selector that says nothing selects everybody.
        if selector.is_empty() {
            return Ok(own);
        }
        Ok(api.list(&ListParams::default().labels(&selector)).await?.items)
    }

    async fn patch(&self, name: &ObjectName, patch: Value) -> Result<(), Error> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.ingresses(name).patch_status(&name.name, &params, &Patch::Merge(patch)).await.map(drop)
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

async fn list(api: &Api<Ingress>, keep: &mut impl FnMut(&Ingress)) -> Result<(), Error> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        page.items.iter().for_each(&mut *keep);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

fn name_of(ingress: &Ingress) -> ObjectName {
    ObjectName::new(ingress.metadata.namespace.as_deref().unwrap_or_default(), &ingress.name_any())
}
