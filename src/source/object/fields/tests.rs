use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::*;
use crate::yaml;

/// Learns which fields a type of the API reads.
struct Names<'n>(&'n mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("only structs have fields"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(Error::custom("that is all"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn api<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    let mut names = Vec::new();
    let _ = T::deserialize(Names(&mut names));
    names
}

fn under(fields: &'static [Field], path: &str) -> &'static [Field] {
    path.split('.').filter(|part| !part.is_empty()).fold(fields, |fields, name| {
        fields.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("{path}: no {name}")).under
    })
}

#[test]
fn every_field_of_the_api_is_known() {
    let cases: [(&[Field], &str, Vec<&str>); 22] = [
        (INGRESS, "", api::<networking::Ingress>()),
        (INGRESS, "metadata", api::<ObjectMeta>()),
        (INGRESS, "spec", api::<networking::IngressSpec>()),
        (INGRESS, "spec.tls", api::<networking::IngressTLS>()),
        (INGRESS, "spec.rules", api::<networking::IngressRule>()),
        (INGRESS, "spec.rules.http", api::<networking::HTTPIngressRuleValue>()),
        (INGRESS, "spec.rules.http.paths", api::<networking::HTTPIngressPath>()),
        (INGRESS, "spec.defaultBackend", api::<networking::IngressBackend>()),
        (INGRESS, "spec.defaultBackend.service", api::<networking::IngressServiceBackend>()),
        (INGRESS, "spec.defaultBackend.service.port", api::<networking::ServiceBackendPort>()),
        (INGRESS_CLASS, "spec", api::<networking::IngressClassSpec>()),
        (INGRESS_CLASS, "spec.parameters", api::<networking::IngressClassParametersReference>()),
        (SERVICE, "", api::<core::Service>()),
        (SERVICE, "spec", api::<core::ServiceSpec>()),
        (SERVICE, "spec.ports", api::<core::ServicePort>()),
        (ENDPOINT_SLICE, "", api::<discovery::EndpointSlice>()),
        (ENDPOINT_SLICE, "endpoints", api::<discovery::Endpoint>()),
        (ENDPOINT_SLICE, "endpoints.conditions", api::<discovery::EndpointConditions>()),
        (ENDPOINT_SLICE, "endpoints.hints", api::<discovery::EndpointHints>()),
        (ENDPOINT_SLICE, "ports", api::<discovery::EndpointPort>()),
        (ENDPOINTS, "subsets", api::<core::EndpointSubset>()),
        (SECRET, "", api::<core::Secret>()),
    ];
    for (fields, path, names) in cases {
        assert!(!names.is_empty(), "{path}");
        let known = under(fields, path);
        let is_known = |name: &str| known.iter().any(|field| field.name == name) || TOP.contains(&name);
        let missing: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
        assert!(missing.is_empty(), "{path}: {missing:?}");
    }
}

fn told(kind: Kind, text: &str) -> Vec<String> {
    let node = yaml::documents(text.as_bytes()).unwrap().remove(0);
    let origin = Origin::new("Kind", "ns", "name", None);
    let found = check(&node, of_kind(kind, false).unwrap(), &origin);
    let one = |it: &Diagnostic| {
        let position = it.position.unwrap();
        format!("{}:{} {}", position.line, position.column, it.hint.as_deref().unwrap_or_default())
    };
    found.iter().map(one).collect()
}

#[test]
fn a_field_in_the_wrong_place_is_told_with_the_right_one() {
    let ingress = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: a }
annotations: { a: b }
spec:
  ingressclassname: x
  secretName: s
  tls: [{ host: [a.test], secretName: s }]
  rules:
  - http:
      host: a.test
      paths:
      - path: /
        pathType: Prefix
        backend: { serviceName: a, servicePort: 80 }
      - backend: { service: { name: a, port: { nmber: 80 } } }
status: { anything: 1 }
";
    assert_eq!(
        told(Kind::Ingress, ingress),
        [
            "4:1 it belongs to `metadata`",
            "6:3 did you mean `ingressClassName`?",
            "7:3 it belongs to `spec.tls`",
            "8:11 did you mean `hosts`? `host` belongs to `spec.rules`",
            "11:7 it belongs to `spec.rules`",
            "15:20 in `networking.k8s.io/v1` it is `service: { name: …, port: { number: … } }`",
            "15:36 in `networking.k8s.io/v1` it is `service: { name: …, port: { number: … } }`",
            "16:48 did you mean `number`?",
        ]
    );
}

#[test]
fn services_slices_and_secrets_are_looked_at_too() {
    let service = "kind: Service\nspec: { port: [{ port: 80 }], ports: [{ targetport: 80 }], clusterIp: None }\n";
    assert_eq!(
        told(Kind::Service, service),
        [
            "2:9 did you mean `ports`? `port` belongs to `spec.ports`",
            "2:41 did you mean `targetPort`?",
            "2:60 did you mean `clusterIP`?"
        ]
    );
    let slice = "kind: EndpointSlice\nendpoints: [{ address: [10.0.0.1], ready: true }]\nspec: {}\n";
    assert_eq!(
        told(Kind::EndpointSlice, slice),
        [
            "2:15 did you mean `addresses`?",
            "2:36 it belongs to `endpoints.conditions`",
            "3:1 known here: `metadata`, `addressType`, `endpoints`, `ports`"
        ]
    );
    let secret = "kind: Secret\nstringdata: {}\ntls.crt: hunter2\ndata: { whatever: 1 }\n";
    let known = "known here: `metadata`, `data`, `immutable`, `stringData`, `type`";
    assert_eq!(told(Kind::Secret, secret), ["2:1 did you mean `stringData`?".to_owned(), format!("3:1 {known}")]);
}

#[test]
fn findings_are_few_and_repeat_nothing_long() {
    let long = "x".repeat(100);
    let node = yaml::documents(format!("{long}: 1\n").as_bytes()).unwrap().remove(0);
    let origin = Origin::new("Kind", "ns", "name", None);
    assert!(!check(&node, SECRET, &origin)[0].to_string().contains(&long));
    let many: String = (0..20).map(|at| format!("f{at}: 1\n")).collect();
    let node = yaml::documents(many.as_bytes()).unwrap().remove(0);
    let found = check(&node, SECRET, &origin);
    assert_eq!(found.len(), MAX_FOUND);
    assert!(found[MAX_FOUND - 1].message.ends_with("(and 12 more fields like this)"));
}
