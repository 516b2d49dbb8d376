//! Where traffic of the cluster's Ingresses comes in, read from a Service or from nodes.
//!
//! Pure: objects in, addresses out. Source for Services: ingress-nginx `internal/ingress/status`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde_json::{Value, json};

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    /// `ip`.
    Ip(IpAddr),
    /// `hostname`.
    Hostname(String),
}

/// Type of a node address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodeAddress {
    /// `ExternalIP`; for a node without one its `InternalIP`.
    #[default]
    External,
    /// `InternalIP`.
    Internal,
}

/// Labels that differ between replicas, or between their versions.
const OWN_LABELS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

// === impl Address ===

impl Address {
    /// Reads what is an IP address as one, and everything else as a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            Ok(ip) => Some(Self::Ip(ip)),
            Err(_) if is_name(text) => Some(Self::Hostname(text.to_ascii_lowercase())),
            Err(_) => None,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Ip(ip) => json!({ "ip": ip.to_string() }),
            Self::Hostname(name) => json!({ "hostname": name }),
        }
    }
}

/// Addresses where a Service is reached from outside, sorted, each once.
pub(super) fn of_service(service: &Service) -> Vec<Address> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let external = || spec.external_ips.iter().flatten().map(String::as_str);
    let cluster = spec.cluster_ip.iter().map(String::as_str);
    match spec.type_.as_deref().unwrap_or("ClusterIP") {
        "ExternalName" => collect(spec.external_name.iter().map(String::as_str)),
        "LoadBalancer" => {
            let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let entries = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
            let balanced = entries.filter_map(|entry| entry.hostname.as_deref().or(entry.ip.as_deref()));
            collect(balanced.chain(external()))
        }
        "NodePort" if external().next().is_some() => collect(external()),
        // A headless Service says `None`, which is no address.
        _ => collect(cluster.filter(|ip| *ip != "None")),
    }
}

/// Names of the nodes where ready Pods run.
pub(super) fn nodes_of(pods: &[Pod]) -> BTreeSet<&str> {
    let ready = pods.iter().filter(|pod| is_ready(pod));
    ready.filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect()
}

/// Addresses of nodes, sorted, each once.
pub(super) fn of_nodes(nodes: &[Node], which: NodeAddress) -> Vec<Address> {
    collect(nodes.iter().flat_map(|node| {
        let external = typed(node, "ExternalIP");
        match which {
            NodeAddress::External if !external.is_empty() => external,
            _ => typed(node, "InternalIP"),
        }
    }))
}

/// Whether a Pod is ready and is to stay.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let is_ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

/// The labels that a Pod shares with its replicas, as a label selector.
pub(super) fn selector(pod: &Pod) -> String {
    let labels = pod.metadata.labels.iter().flatten().filter(|(label, _)| !OWN_LABELS.contains(&label.as_str()));
    labels.map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

fn typed<'n>(node: &'n Node, kind: &str) -> Vec<&'n str> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    all.filter(|address| address.type_ == kind).map(|address| address.address.as_str()).collect()
}

fn collect<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Address> {
    texts.filter_map(Address::parse).collect::<BTreeSet<_>>().into_iter().collect()
}

/// As the API server wants a hostname (RFC 1123).
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(value: Value) -> Vec<String> {
        let service: Service = serde_json::from_value(value).unwrap();
        of_service(&service).iter().map(|address| address.to_json().to_string()).collect()
    }

    #[test]
    fn each_type_of_service_tells_its_addresses() {
        let balanced = json!({
            "spec": { "type": "LoadBalancer", "externalIPs": ["192.0.2.9"], "clusterIP": "10.0.0.1" },
            "status": { "loadBalancer": { "ingress": [{ "hostname": "lb.example" }, { "ip": "192.0.2.1" }] } }
        });
        assert_eq!(
            service(balanced),
            [r#"{"ip":"192.0.2.1"}"#, r#"{"ip":"192.0.2.9"}"#, r#"{"hostname":"lb.example"}"#]
        );
        let cluster = json!({ "spec": { "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.9"] } });
        assert_eq!(service(cluster), [r#"{"ip":"10.0.0.1"}"#]);
        let node_port =
            json!({ "spec": { "type": "NodePort", "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.9"] } });
        assert_eq!(service(node_port), [r#"{"ip":"192.0.2.9"}"#]);
        let bare = json!({ "spec": { "type": "NodePort", "clusterIP": "10.0.0.1" } });
        assert_eq!(service(bare), [r#"{"ip":"10.0.0.1"}"#]);
        let name = json!({ "spec": { "type": "ExternalName", "externalName": "edge.example" } });
        assert_eq!(service(name), [r#"{"hostname":"edge.example"}"#]);
        assert_eq!(service(json!({ "spec": { "clusterIP": "None" } })), [] as [String; 0]);
        assert_eq!(service(json!({ "spec": { "type": "LoadBalancer" } })), [] as [String; 0], "not assigned yet");
    }

    #[test]
    fn only_nodes_of_ready_pods_that_stay_are_told() {
        let pod = |node: &str, ready: &str, going: bool| -> Pod {
            let mut pod = json!({
                "metadata": { "name": node },
                "spec": { "nodeName": node, "containers": [] },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] }
            });
            if going {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            serde_json::from_value(pod).unwrap()
        };
        let pods = [pod("a", "True", false), pod("b", "False", false), pod("c", "True", true)];
        assert_eq!(nodes_of(&pods).into_iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_node_without_an_external_address_tells_its_internal_one() {
        let node = |addresses: Value| -> Node {
            serde_json::from_value(json!({ "metadata": {}, "status": { "addresses": addresses } })).unwrap()
        };
        let internal = json!({ "type": "InternalIP", "address": "10.0.0.1" });
        let both = node(json!([internal, { "type": "ExternalIP", "address": "192.0.2.1" }]));
        let ip = |text: &str| vec![Address::Ip(text.parse().unwrap())];
        assert_eq!(of_nodes(std::slice::from_ref(&both), NodeAddress::External), ip("192.0.2.1"));
        assert_eq!(of_nodes(&[both], NodeAddress::Internal), ip("10.0.0.1"));
        assert_eq!(of_nodes(&[node(json!([internal]))], NodeAddress::External), ip("10.0.0.1"));
    }

    #[test]
    fn what_is_neither_an_address_nor_a_name_is_refused() {
        assert_eq!(Address::parse("2001:db8::1"), Some(Address::Ip("2001:db8::1".parse().unwrap())));
        assert_eq!(Address::parse("LB.Example"), Some(Address::Hostname("lb.example".to_owned())));
        for text in ["", "a b", "-a.example", "a..b", "http://a"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
