//! From the types of the Kubernetes API to those that are kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Annotations, ConfigMap, EndpointPort, EndpointSlice, EndpointSubset, Endpoints, Ingress, IngressBackend,
    IngressClass, IngressPath, IngressRule, IngressTls, Namespace, Secret, Service, ServicePort, SliceEndpoint,
    TargetPort, Transport,
};
use crate::origin::{ObjectOrigin, Place};
use crate::resources::conf::Conf;
use crate::resources::strings::Strings;
use crate::resources::{Kind, Object, Sourced};

/// Says whether Ingresses without a class are of this one.
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Annotations which only their writers read, and which are long.
const UNUSED_ANNOTATIONS: [&str; 2] = ["kubectl.kubernetes.io/", "meta.helm.sh/"];

// === impl Object ===

/// Each takes an object of the API, where it was read, and the texts that it may share with others.
#[expect(missing_docs, reason = "named by the kinds")]
impl Object {
    pub fn ingress(api: networking::Ingress, place: Option<Place>, strings: &mut Strings) -> Self {
        let spec = api.spec.unwrap_or_default();
        let rules = spec.rules.into_iter().flatten().map(|rule| ingress_rule(rule, strings)).collect();
        let tls = spec.tls.into_iter().flatten().map(|tls| IngressTls {
            hosts: tls.hosts.into_iter().flatten().map(|host| strings.share(&host)).collect(),
            secret: strings.share(tls.secret_name.as_deref().unwrap_or_default()),
        });
        let object = Ingress {
            tls: tls.collect(),
            rules,
            created: api.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            generation: api.metadata.generation.unwrap_or_default(),
            class: option(spec.ingress_class_name.as_deref(), strings),
            default_backend: spec.default_backend.map(|backend| Box::new(ingress_backend(backend, strings))),
            annotations: annotations(api.metadata.annotations.as_ref(), strings),
        };
        Self::Ingress(namespaced(object, Kind::Ingress, &api.metadata, place, strings))
    }

    pub fn ingress_class(api: networking::IngressClass, place: Option<Place>, strings: &mut Strings) -> Self {
        let annotation = api.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CLASS_ANNOTATION));
        let object = IngressClass {
            controller: option(api.spec.as_ref().and_then(|spec| spec.controller.as_deref()), strings),
            is_default: annotation.is_some_and(|value| value == "true"),
        };
        Self::IngressClass(cluster_scoped(object, Kind::IngressClass, &api.metadata, place, strings))
    }

    pub fn service(api: core::Service, place: Option<Place>, strings: &mut Strings) -> Self {
        let spec = api.spec.unwrap_or_default();
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
        let annotations = annotations(api.metadata.annotations.as_ref(), strings);
        // Headless ones say `None`, which is no address.
        let cluster_ip = spec.cluster_ip.as_deref().and_then(|text| text.parse().ok());
        let object = Service { annotations, external_name, cluster_ip, ports };
        Self::Service(namespaced(object, Kind::Service, &api.metadata, place, strings))
    }

    pub fn endpoint_slice(api: discovery::EndpointSlice, place: Option<Place>, strings: &mut Strings) -> Self {
        let label = api.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        let ports = api.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some(endpoint_port(port.name.as_deref(), number, port.protocol.as_deref(), strings))
        });
        let ports = ports.collect();
        let has_addresses = matches!(api.address_type.as_str(), "IPv4" | "IPv6");
        let endpoints = api.endpoints.iter().flatten().filter(|_| has_addresses);
        let object = EndpointSlice {
            service: option(label.map(String::as_str), strings),
            ports,
            endpoints: endpoints.filter_map(|endpoint| slice_endpoint(endpoint, strings)).collect(),
        };
        Self::EndpointSlice(namespaced(object, Kind::EndpointSlice, &api.metadata, place, strings))
    }

    pub fn endpoints(api: core::Endpoints, place: Option<Place>, strings: &mut Strings) -> Self {
        let subsets = api.subsets.iter().flatten().map(|subset| {
            let ports = subset.ports.iter().flatten().filter_map(|port| {
                let number = u16::try_from(port.port).ok()?;
                Some(endpoint_port(port.name.as_deref(), number, port.protocol.as_deref(), strings))
            });
            let addresses = subset.addresses.iter().flatten();
            let addresses = addresses.filter_map(|each| each.ip.parse::<IpAddr>().ok());
            EndpointSubset { ports: ports.collect(), addresses: addresses.collect() }
        });
        let object = Endpoints { subsets: subsets.collect() };
        Self::Endpoints(namespaced(object, Kind::Endpoints, &api.metadata, place, strings))
    }

    pub fn secret(api: core::Secret, place: Option<Place>, strings: &mut Strings) -> Self {
        let mut data: BTreeMap<String, Vec<u8>> =
            api.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect();
        // It is for writing only: an API server moves it into `data`, so a file's reader has to.
        data.extend(api.string_data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes())));
        let object = Secret {
            kind: option(api.type_.as_deref(), strings),
            data: data.into_iter().map(|(key, bytes)| (strings.share(&key), bytes.into())).collect(),
        };
        Self::Secret(namespaced(object, Kind::Secret, &api.metadata, place, strings))
    }

    pub fn config_map(api: &core::ConfigMap, place: Option<Place>, strings: &mut Strings) -> Self {
        Self::ConfigMap(namespaced(ConfigMap, Kind::ConfigMap, &api.metadata, place, strings))
    }

    pub fn namespace(api: &core::Namespace, place: Option<Place>, strings: &mut Strings) -> Self {
        Self::Namespace(cluster_scoped(Namespace, Kind::Namespace, &api.metadata, place, strings))
    }

    /// The conf, which is named by its file.
    pub fn conf(conf: Conf, place: Option<Place>) -> Self {
        let name = place.as_ref().map(|place| Arc::clone(&place.file)).unwrap_or_default();
        let origin = ObjectOrigin { kind: Kind::Conf.as_str(), namespace: Arc::default(), name, place };
        Self::Conf(Sourced { object: Arc::new(conf), origin: Arc::new(origin) })
    }

    /// Reads an Ingress as the API writes it, out of a larger text.
    ///
    /// # Errors
    /// A field that does not fit.
    pub fn read_ingress<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Reviewed { metadata, spec } = Reviewed::deserialize(deserializer)?;
        let ReviewedMetadata { name, namespace, creation_timestamp, annotations } = metadata.unwrap_or_default();
        let metadata = ObjectMeta { name, namespace, creation_timestamp, annotations, ..ObjectMeta::default() };
        let ingress = networking::Ingress { metadata, spec, status: None };
        Ok(Self::ingress(ingress, None, &mut Strings::default()))
    }

    /// Reads an object of a kind as the API writes it.
    ///
    /// # Errors
    /// A field that does not fit.
    pub fn from_json(kind: Kind, value: Value) -> Result<Self, serde_json::Error> {
        let strings = &mut Strings::default();
        Ok(match kind {
            Kind::Ingress => Self::ingress(serde_json::from_value(value)?, None, strings),
            Kind::IngressClass => Self::ingress_class(serde_json::from_value(value)?, None, strings),
            Kind::Service => Self::service(serde_json::from_value(value)?, None, strings),
            Kind::EndpointSlice => Self::endpoint_slice(serde_json::from_value(value)?, None, strings),
            Kind::Endpoints => Self::endpoints(serde_json::from_value(value)?, None, strings),
            Kind::Secret => Self::secret(serde_json::from_value(value)?, None, strings),
            Kind::ConfigMap => Self::config_map(&serde_json::from_value(value)?, None, strings),
            Kind::Namespace => Self::namespace(&serde_json::from_value(value)?, None, strings),
            Kind::Conf => Self::conf(serde_json::from_value(value)?, None),
        })
    }
}

fn namespaced<T>(
    object: T,
    kind: Kind,
    metadata: &ObjectMeta,
    place: Option<Place>,
    strings: &mut Strings,
) -> Sourced<T> {
    let namespace = strings.share(metadata.namespace.as_deref().unwrap_or("default"));
    let name = strings.share(metadata.name.as_deref().unwrap_or_default());
    sourced(object, ObjectOrigin { kind: kind.as_str(), namespace, name, place })
}

fn cluster_scoped<T>(
    object: T,
    kind: Kind,
    metadata: &ObjectMeta,
    place: Option<Place>,
    strings: &mut Strings,
) -> Sourced<T> {
    let name = strings.share(metadata.name.as_deref().unwrap_or_default());
    sourced(object, ObjectOrigin { kind: kind.as_str(), namespace: Arc::default(), name, place })
}

fn sourced<T>(object: T, origin: ObjectOrigin) -> Sourced<T> {
    Sourced { object: Arc::new(object), origin: Arc::new(origin) }
}

fn annotations(all: Option<&BTreeMap<String, String>>, strings: &mut Strings) -> Annotations {
    let is_read = |key: &str| !UNUSED_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
    let all = all.into_iter().flatten().filter(|(key, _)| is_read(key));
    Annotations(all.map(|(key, value)| (strings.share(key), value.as_str().into())).collect())
}

fn ingress_rule(rule: networking::IngressRule, strings: &mut Strings) -> IngressRule {
    let paths = rule.http.map(|http| http.paths).unwrap_or_default().into_iter().map(|path| IngressPath {
        path: strings.share(path.path.as_deref().unwrap_or_default()),
        path_type: strings.share(&path.path_type),
        backend: ingress_backend(path.backend, strings),
    });
    let paths = paths.collect();
    IngressRule { host: strings.share(rule.host.as_deref().unwrap_or_default()), paths }
}

fn ingress_backend(backend: networking::IngressBackend, strings: &mut Strings) -> IngressBackend {
    let service = match (backend.service, backend.resource) {
        (Some(service), None) => service,
        (None, Some(resource)) => {
            return IngressBackend::Resource {
                kind: strings.share(&resource.kind),
                name: strings.share(&resource.name),
            };
        }
        _ => return IngressBackend::Unclear,
    };
    let port = service.port.unwrap_or_default();
    let number = port.number.filter(|number| *number != 0).map(|number| number.to_string());
    let name = port.name.filter(|name| !name.is_empty());
    let port = match (number, name) {
        (Some(port), None) | (None, Some(port)) => Some(strings.share(&port)),
        _ => None,
    };
    IngressBackend::Service { name: strings.share(&service.name), port }
}

/// An Ingress that is reviewed: what is not read of it, as the fields that somebody manages, costs little.
#[derive(Deserialize)]
struct Reviewed {
    metadata: Option<ReviewedMetadata>,
    spec: Option<networking::IngressSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewedMetadata {
    name: Option<String>,
    namespace: Option<String>,
    creation_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
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

fn endpoint_port(name: Option<&str>, port: u16, protocol: Option<&str>, strings: &mut Strings) -> EndpointPort {
    EndpointPort { name: strings.share(name.unwrap_or_default()), port, transport: Transport::of(protocol) }
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

fn option(text: Option<&str>, strings: &mut Strings) -> Option<Arc<str>> {
    text.map(|text| strings.share(text))
}
