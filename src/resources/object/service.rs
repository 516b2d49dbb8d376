//! Service of the core.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use super::parts::{Annotations, Transport, option};
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Row, Use, Version};
use crate::resources::strings::Strings;

/// `v1` Service.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `metadata.annotations`.
    pub annotations: Annotations,
    /// `spec.externalName`, for type ExternalName; may be empty.
    pub external_name: Option<Arc<str>>,
    /// `spec.clusterIP`, unless it is headless.
    pub cluster_ip: Option<IpAddr>,
    /// `spec.ports`.
    pub ports: Box<[ServicePort]>,
}

/// `spec.ports[]` of a Service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Number.
    pub port: i32,
    /// `protocol`.
    #[serde(default)]
    pub transport: Transport,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// `targetPort` of type ExternalName: elsewhere it is told by the endpoints.
    #[serde(default)]
    pub target: Option<TargetPort>,
}

/// `targetPort` of a Service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A name, or a number that is no port's.
    Name,
}

const SERVICE_PORT: &[Field] =
    &[any("appProtocol"), any("name"), any("nodePort"), any("port"), any("protocol"), any("targetPort")];
const SERVICE: &[Field] = &[
    of("metadata", METADATA),
    of(
        "spec",
        &[
            any("allocateLoadBalancerNodePorts"),
            any("clusterIP"),
            any("clusterIPs"),
            any("externalIPs"),
            any("externalName"),
            any("externalTrafficPolicy"),
            any("healthCheckNodePort"),
            any("internalTrafficPolicy"),
            any("ipFamilies"),
            any("ipFamily"),
            any("ipFamilyPolicy"),
            any("loadBalancerClass"),
            any("loadBalancerIP"),
            any("loadBalancerSourceRanges"),
            of("ports", SERVICE_PORT),
            any("publishNotReadyAddresses"),
            any("selector"),
            any("sessionAffinity"),
            any("sessionAffinityConfig"),
            any("topologyKeys"),
            any("trafficDistribution"),
            any("type"),
        ],
    ),
];

// === impl ApiKind ===

impl ApiKind for core::Service {
    type Kept = Service;

    const ROW: &'static Row = &Row {
        name: "Service",
        plural: "services",
        versions: &[Version::new("v1", Some(SERVICE))],
        uses: &[Use::Events, Use::Published],
        ..Row::WATCHED
    };

    fn keep(self, strings: &mut Strings) -> Service {
        let spec = self.spec.unwrap_or_default();
        let is_external = spec.type_.as_deref() == Some("ExternalName");
        let external_name = is_external.then(|| strings.share(spec.external_name.as_deref().unwrap_or_default()));
        let ports = spec.ports.iter().flatten().map(|port| ServicePort {
            name: strings.share(port.name.as_deref().unwrap_or_default()),
            port: port.port,
            transport: Transport::of(port.protocol.as_deref()),
            app_protocol: option(port.app_protocol.as_deref(), strings),
            target: port.target_port.as_ref().filter(|_| is_external).and_then(target_port),
        });
        let ports = ports.collect();
        let annotations = Annotations::of(self.metadata.annotations.as_ref(), strings);
        // Headless ones say `None`, which is no address.
        let cluster_ip = spec.cluster_ip.as_deref().and_then(|text| text.parse().ok());
        Service { annotations, external_name, cluster_ip, ports }
    }
}

/// `None`: the port's own number, which 0 means too.
fn target_port(port: &IntOrString) -> Option<TargetPort> {
    let number = match port {
        IntOrString::Int(0) => return None,
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(text) => text.parse().ok(),
    };
    Some(number.filter(|number| *number > 0).map_or(TargetPort::Name, TargetPort::Number))
}
