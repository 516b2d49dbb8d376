//! Any annotations on an Ingress: translation goes on, gives the same each time, and tells in lines of bounded length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tidegate::ANNOTATIONS;
use tidegate::bench::resources::{Event, Kind, Object, Resources};
use tidegate::bench::translate::Translator;

const PREFIXES: [&str; 3] = ["tidegate.io/", "nginx.ingress.kubernetes.io/", ""];

fuzz_target!(|data: &[u8]| {
    let mut annotations = Map::new();
    for line in data.split(|byte| *byte == 0) {
        let [prefix, name, rest @ ..] = line else { continue };
        let text = String::from_utf8_lossy(rest).into_owned();
        let known = ANNOTATIONS.get(usize::from(*name)).map(|it| it.name.to_owned());
        let (name, value) = match known {
            Some(name) => (name, text),
            None => text
                .split_once('=')
                .map_or_else(|| (text.clone(), String::new()), |(a, b)| (a.to_owned(), b.to_owned())),
        };
        annotations.insert(format!("{}{name}", PREFIXES[usize::from(*prefix) % PREFIXES.len()]), Value::String(value));
    }
    let (first, second) = (translated(&annotations), translated(&annotations));
    assert_eq!(first, second);
});

/// The model as text, and what is told.
fn translated(annotations: &Map<String, Value>) -> (String, Vec<String>) {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "a", "namespace": "a", "annotations": annotations },
        "spec": { "ingressClassName": "tidegate", "rules": [{ "host": "a.test", "http": { "paths": [
            { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "a", "port": { "number": 80 } } } },
        ] } }] },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a", "namespace": "a", "annotations": annotations },
        "spec": { "ports": [{ "port": 80 }] },
    });
    let (mut resources, mut translator) = (Resources::default(), Translator::new());
    let changes = resources.apply([
        Event::Apply(Object::from_json(Kind::Ingress, ingress).expect("an Ingress")),
        Event::Apply(Object::from_json(Kind::Service, service).expect("a Service")),
    ]);
    translator.apply(&resources, &changes);
    let told = translator.diagnostics().iter().map(ToString::to_string).collect();
    (format!("{:?}", translator.model()), told)
}
