//! What is told in the status of Ingresses, as the conf writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Source of the addresses in the status of Ingresses: exactly one of `publishService`, `addresses` and
/// `nodeAddresses`. Only the leader writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct StatusSpec {
    /// Service `namespace/name` whose addresses are written.
    pub publish_service: Option<String>,
    /// IP addresses and host names that are written as they are.
    pub addresses: Vec<String>,
    /// Type of the node addresses that are written, of the nodes where ready Pods of this controller run. Needs the
    /// environment variables `POD_NAME` and `POD_NAMESPACE`.
    pub node_addresses: Option<NodeAddressSpec>,
    /// Whether the last ready replica removes the addresses when it stops. Needs `POD_NAME` and `POD_NAMESPACE`.
    /// Default false.
    pub clear_on_stop: bool,
}

/// Type of a node address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeAddressSpec {
    /// `ExternalIP`; for a node without one its `InternalIP`.
    External,
    /// `InternalIP`.
    Internal,
}
