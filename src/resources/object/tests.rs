use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::*;
use crate::resources::fields::{Field, TOP};

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
    let cases: [(Kind, &str, Vec<&str>); 22] = [
        (Kind::Ingress, "", api::<networking::Ingress>()),
        (Kind::Ingress, "metadata", api::<ObjectMeta>()),
        (Kind::Ingress, "spec", api::<networking::IngressSpec>()),
        (Kind::Ingress, "spec.tls", api::<networking::IngressTLS>()),
        (Kind::Ingress, "spec.rules", api::<networking::IngressRule>()),
        (Kind::Ingress, "spec.rules.http", api::<networking::HTTPIngressRuleValue>()),
        (Kind::Ingress, "spec.rules.http.paths", api::<networking::HTTPIngressPath>()),
        (Kind::Ingress, "spec.defaultBackend", api::<networking::IngressBackend>()),
        (Kind::Ingress, "spec.defaultBackend.service", api::<networking::IngressServiceBackend>()),
        (Kind::Ingress, "spec.defaultBackend.service.port", api::<networking::ServiceBackendPort>()),
        (Kind::IngressClass, "spec", api::<networking::IngressClassSpec>()),
        (Kind::IngressClass, "spec.parameters", api::<networking::IngressClassParametersReference>()),
        (Kind::Service, "", api::<core::Service>()),
        (Kind::Service, "spec", api::<core::ServiceSpec>()),
        (Kind::Service, "spec.ports", api::<core::ServicePort>()),
        (Kind::EndpointSlice, "", api::<discovery::EndpointSlice>()),
        (Kind::EndpointSlice, "endpoints", api::<discovery::Endpoint>()),
        (Kind::EndpointSlice, "endpoints.conditions", api::<discovery::EndpointConditions>()),
        (Kind::EndpointSlice, "endpoints.hints", api::<discovery::EndpointHints>()),
        (Kind::EndpointSlice, "ports", api::<discovery::EndpointPort>()),
        (Kind::Endpoints, "subsets", api::<core::EndpointSubset>()),
        (Kind::Secret, "", api::<core::Secret>()),
    ];
    for (kind, path, names) in cases {
        let fields = kind.row().unwrap().versions[0].fields.unwrap();
        assert!(!names.is_empty(), "{path}");
        let known = under(fields, path);
        let is_known = |name: &str| known.iter().any(|field| field.name == name) || TOP.contains(&name);
        let missing: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
        assert!(missing.is_empty(), "{kind:?} {path}: {missing:?}");
    }
}

/// What the type of the API says of itself.
struct ApiNames;

impl Visit for ApiNames {
    type Output = [String; 4];

    fn visit<K: Tabled>(self) -> Self::Output {
        [K::kind(&()), K::group(&()), K::api_version(&()), K::plural(&())].map(|text| text.into_owned())
    }
}

#[test]
fn rows_name_kinds_as_the_api_does() {
    for (kind, row) in Kind::rows() {
        let row = [row.name, row.group, row.api_version(), row.plural].map(str::to_owned);
        assert_eq!(kind.visit(ApiNames).unwrap(), row);
        assert_eq!(Kind::find(&row[2], &row[0]).unwrap().0, kind);
    }
}
