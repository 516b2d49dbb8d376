//! `extensions/v1beta1` and `networking.k8s.io/v1beta1` Ingresses as `networking.k8s.io/v1`.
//!
//! Source: Kubernetes 1.22 deprecation guide: `spec.backend` became `spec.defaultBackend`, `serviceName` and
//! `servicePort` became `service.name` and `service.port`, `pathType` became required.

use serde_json::{Map, Value, json};

/// Rewrites an old Ingress in place; what does not fit is left for the typed reader to refuse.
pub(super) fn convert(ingress: &mut Value) {
    let Some(Value::Object(spec)) = ingress.get_mut("spec") else { return };
    if let Some(mut backend) = spec.remove("backend") {
        convert_backend(&mut backend);
        spec.insert("defaultBackend".to_owned(), backend);
    }
    let Some(Value::Array(rules)) = spec.get_mut("rules") else { return };
    let paths = rules.iter_mut().filter_map(|rule| rule.get_mut("http")?.get_mut("paths")?.as_array_mut()).flatten();
    for path in paths.filter_map(Value::as_object_mut) {
        path.entry("pathType").or_insert_with(|| "ImplementationSpecific".into());
        if let Some(backend) = path.get_mut("backend") {
            convert_backend(backend);
        }
    }
}

fn convert_backend(backend: &mut Value) {
    let Value::Object(fields) = backend else { return };
    let Some(name) = fields.remove("serviceName") else { return };
    let mut service = Map::from_iter([("name".to_owned(), name)]);
    if let Some(port) = fields.remove("servicePort") {
        service.insert("port".to_owned(), convert_port(port));
    }
    fields.insert("service".to_owned(), Value::Object(service));
}

/// Numbers in quotes were common; as names they would never match a port.
fn convert_port(port: Value) -> Value {
    match port.as_str().map(str::parse::<u16>) {
        Some(Ok(number)) => json!({ "number": number }),
        Some(Err(_)) => json!({ "name": port }),
        None => json!({ "number": port }),
    }
}
