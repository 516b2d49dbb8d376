//! Ingress of `networking.k8s.io`.

mod legacy;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer, Serialize};

use super::parts::{Annotations, option};
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Row, Use, Version};
use crate::resources::strings::Strings;

/// `networking.k8s.io/v1` Ingress.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// `metadata.generation`; 0: there is none, as in most files.
    #[serde(default)]
    pub generation: i64,
    /// `metadata.annotations`.
    pub annotations: Annotations,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<Box<IngressBackend>>,
    /// `spec.rules`.
    pub rules: Box<[IngressRule]>,
    /// `spec.tls`.
    pub tls: Box<[IngressTls]>,
}

/// `spec.rules[]` of an Ingress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressRule {
    /// The host; empty: every one.
    pub host: Arc<str>,
    /// `http.paths`.
    pub paths: Box<[IngressPath]>,
}

/// `http.paths[]` of a rule.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressPath {
    /// The path; may be empty.
    pub path: Arc<str>,
    /// `pathType`, as it is written.
    pub path_type: Arc<str>,
    /// Where requests go.
    pub backend: IngressBackend,
}

/// Where requests of an Ingress go.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IngressBackend {
    /// A Service, and its port by number or name; `None`: neither is given, or both are.
    Service {
        /// Name of the Service.
        name: Arc<str>,
        /// Number or name of the port.
        port: Option<Arc<str>>,
    },
    /// An object of another kind.
    Resource {
        /// Its kind.
        kind: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// Neither is given, or both are.
    Unclear,
}

/// `spec.tls[]` of an Ingress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressTls {
    /// The hosts.
    pub hosts: Box<[Arc<str>]>,
    /// Name of the Secret; may be empty.
    pub secret: Arc<str>,
}

const SERVICE_BACKEND: &[Field] = &[any("name"), of("port", &[any("name"), any("number")])];
const RESOURCE: &[Field] = &[any("apiGroup"), any("kind"), any("name")];
const BACKEND: &[Field] = &[of("service", SERVICE_BACKEND), of("resource", RESOURCE)];
const OLD_BACKEND: &[Field] = &[any("serviceName"), any("servicePort"), of("resource", RESOURCE)];
const TLS: &[Field] = &[any("hosts"), any("secretName")];
const PATHS: &[Field] = &[any("path"), any("pathType"), of("backend", BACKEND)];
const OLD_PATHS: &[Field] = &[any("path"), any("pathType"), of("backend", OLD_BACKEND)];
const INGRESS: &[Field] = &[
    of("metadata", METADATA),
    of(
        "spec",
        &[
            any("ingressClassName"),
            of("defaultBackend", BACKEND),
            of("rules", &[any("host"), of("http", &[of("paths", PATHS)])]),
            of("tls", TLS),
        ],
    ),
];
const OLD_INGRESS: &[Field] = &[
    of("metadata", METADATA),
    of(
        "spec",
        &[
            any("ingressClassName"),
            of("backend", OLD_BACKEND),
            of("rules", &[any("host"), of("http", &[of("paths", OLD_PATHS)])]),
            of("tls", TLS),
        ],
    ),
];
/// What became of fields of the beta versions.
const RENAMED: &[(&str, &str)] = &[
    ("backend", "in `networking.k8s.io/v1` it is called `defaultBackend`"),
    ("serviceName", "in `networking.k8s.io/v1` it is `service: { name: …, port: { number: … } }`"),
    ("servicePort", "in `networking.k8s.io/v1` it is `service: { name: …, port: { number: … } }`"),
];

// === impl ApiKind ===

impl ApiKind for networking::Ingress {
    type Kept = Ingress;

    const ROW: &'static Row = &Row {
        name: "Ingress",
        group: "networking.k8s.io",
        plural: "ingresses",
        versions: &[
            Version::new("networking.k8s.io/v1", Some(INGRESS)).renaming(RENAMED),
            Version::new("networking.k8s.io/v1beta1", Some(OLD_INGRESS)).prepared(legacy::convert),
            Version::new("extensions/v1beta1", Some(OLD_INGRESS)).prepared(legacy::convert),
        ],
        uses: &[Use::Events, Use::Status],
        ..Row::WATCHED
    };

    fn keep(self, strings: &mut Strings) -> Ingress {
        let spec = self.spec.unwrap_or_default();
        let rules = spec.rules.into_iter().flatten().map(|rule| ingress_rule(rule, strings)).collect();
        let tls = spec.tls.into_iter().flatten().map(|tls| IngressTls {
            hosts: tls.hosts.into_iter().flatten().map(|host| strings.share(&host)).collect(),
            secret: strings.share(tls.secret_name.as_deref().unwrap_or_default()),
        });
        Ingress {
            tls: tls.collect(),
            rules,
            created: self.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            generation: self.metadata.generation.unwrap_or_default(),
            class: option(spec.ingress_class_name.as_deref(), strings),
            default_backend: spec.default_backend.map(|backend| Box::new(ingress_backend(backend, strings))),
            annotations: Annotations::of(self.metadata.annotations.as_ref(), strings),
        }
    }
}

/// Reads an Ingress as the API writes it, out of a larger text.
///
/// # Errors
/// A field that does not fit.
pub(super) fn reviewed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<networking::Ingress, D::Error> {
    let Reviewed { metadata, spec } = Reviewed::deserialize(deserializer)?;
    let ReviewedMetadata { name, namespace, creation_timestamp, annotations } = metadata.unwrap_or_default();
    let metadata = ObjectMeta { name, namespace, creation_timestamp, annotations, ..ObjectMeta::default() };
    Ok(networking::Ingress { metadata, spec, status: None })
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
