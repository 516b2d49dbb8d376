//! Endpoints of the core.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use super::parts::EndpointPort;
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Row, Version};
use crate::resources::strings::Strings;

/// `v1` Endpoints.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// `subsets`.
    pub subsets: Box<[EndpointSubset]>,
}

/// `subsets[]` of Endpoints.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSubset {
    /// Ports.
    pub ports: Box<[EndpointPort]>,
    /// Addresses that are ready.
    pub addresses: Box<[IpAddr]>,
}

const ENDPOINT_PORT: &[Field] = &[any("appProtocol"), any("name"), any("port"), any("protocol")];
const ENDPOINT_ADDRESS: &[Field] = &[any("hostname"), any("ip"), any("nodeName"), any("targetRef")];
const ENDPOINTS: &[Field] = &[
    of("metadata", METADATA),
    of(
        "subsets",
        &[of("addresses", ENDPOINT_ADDRESS), of("notReadyAddresses", ENDPOINT_ADDRESS), of("ports", ENDPOINT_PORT)],
    ),
];

// === impl ApiKind ===

impl ApiKind for core::Endpoints {
    type Kept = Endpoints;

    const ROW: &'static Row = &Row {
        name: "Endpoints",
        plural: "endpoints",
        versions: &[Version::new("v1", Some(ENDPOINTS))],
        ..Row::FROM_FILES
    };

    fn keep(self, strings: &mut Strings) -> Endpoints {
        let subsets = self.subsets.iter().flatten().map(|subset| {
            let ports = subset.ports.iter().flatten().filter_map(|port| {
                let number = u16::try_from(port.port).ok()?;
                Some(EndpointPort::of(port.name.as_deref(), number, port.protocol.as_deref(), strings))
            });
            let addresses = subset.addresses.iter().flatten();
            let addresses = addresses.filter_map(|each| each.ip.parse::<IpAddr>().ok());
            EndpointSubset { ports: ports.collect(), addresses: addresses.collect() }
        });
        Endpoints { subsets: subsets.collect() }
    }
}
