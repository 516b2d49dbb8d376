//! EndpointSlice of `discovery.k8s.io`.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as discovery;
use serde::{Deserialize, Serialize};

use super::parts::{EndpointPort, option};
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Row, Version};
use crate::resources::strings::Strings;

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Name of the Service that it belongs to, from its label.
    pub service: Option<Arc<str>>,
    /// Ports.
    pub ports: Box<[EndpointPort]>,
    /// Endpoints with an address; none of a slice of names.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// The first address, which alone has a meaning.
    pub address: IpAddr,
    /// `conditions.ready`; it counts as true where nothing is said.
    pub is_ready: bool,
    /// Whether it ends, but still serves.
    pub is_draining: bool,
    /// Zone.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones`: names, separated by commas.
    pub for_zones: Option<Arc<str>>,
}

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

const ENDPOINT_PORT: &[Field] = &[any("appProtocol"), any("name"), any("port"), any("protocol")];
const ENDPOINT_SLICE: &[Field] = &[
    of("metadata", METADATA),
    any("addressType"),
    of(
        "endpoints",
        &[
            any("addresses"),
            of("conditions", &[any("ready"), any("serving"), any("terminating")]),
            any("deprecatedTopology"),
            of("hints", &[any("forNodes"), any("forZones")]),
            any("hostname"),
            any("nodeName"),
            any("targetRef"),
            any("zone"),
        ],
    ),
    of("ports", ENDPOINT_PORT),
];

// === impl ApiKind ===

impl ApiKind for discovery::EndpointSlice {
    type Kept = EndpointSlice;

    const ROW: &'static Row = &Row {
        name: "EndpointSlice",
        group: "discovery.k8s.io",
        plural: "endpointslices",
        versions: &[
            Version::new("discovery.k8s.io/v1", Some(ENDPOINT_SLICE)),
            Version::new("discovery.k8s.io/v1beta1", None),
        ],
        ..Row::WATCHED
    };

    fn keep(self, strings: &mut Strings) -> EndpointSlice {
        let label = self.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let ports = self.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some(EndpointPort::of(port.name.as_deref(), number, port.protocol.as_deref(), strings))
        });
        let ports = ports.collect();
        let has_addresses = matches!(self.address_type.as_str(), "IPv4" | "IPv6");
        let endpoints = self.endpoints.iter().flatten().filter(|_| has_addresses);
        EndpointSlice {
            service: option(label.map(String::as_str), strings),
            ports,
            endpoints: endpoints.filter_map(|endpoint| slice_endpoint(endpoint, strings)).collect(),
        }
    }
}

fn slice_endpoint(endpoint: &discovery::Endpoint, strings: &mut Strings) -> Option<SliceEndpoint> {
    let conditions = endpoint.conditions.as_ref();
    let serving = conditions.and_then(|all| all.serving).unwrap_or(true);
    let terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
    Some(SliceEndpoint {
        // Only the first address has a meaning (EndpointSlice v1, `endpoints[].addresses`).
        address: endpoint.addresses.first()?.parse().ok()?,
        is_ready: conditions.and_then(|all| all.ready).unwrap_or(true),
        is_draining: serving && terminating,
        zone: option(endpoint.zone.as_deref(), strings),
        for_zones: for_zones(endpoint).map(|zones| strings.share(&zones)),
    })
}

fn for_zones(endpoint: &discovery::Endpoint) -> Option<String> {
    let zones = endpoint.hints.as_ref()?.for_zones.as_ref()?;
    Some(zones.iter().map(|zone| zone.name.as_str()).collect::<Vec<_>>().join(","))
}
