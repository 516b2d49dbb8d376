use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::resources::Event;

fn state() -> Resources {
    let object = |kind, value| Event::Apply(Object::from_json(kind, value).unwrap());
    let mut resources = Resources::default();
    resources.apply([
        object(Kind::IngressClass, json!({ "metadata": { "name": "c" }, "spec": { "controller": "x" } })),
        object(
            Kind::Ingress,
            json!({ "metadata": { "namespace": "a", "name": "i", "creationTimestamp": "2026-01-01T00:00:00Z",
                    "annotations": { "k": "v" } },
                "spec": { "ingressClassName": "c", "tls": [{ "hosts": ["h"], "secretName": "s" }],
                    "rules": [{ "host": "h", "http": { "paths": [{ "path": "/", "pathType": "Prefix",
                        "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } }),
        ),
        object(
            Kind::Service,
            json!({ "metadata": { "namespace": "a", "name": "s" },
                "spec": { "clusterIP": "10.0.0.9", "ports": [{ "name": "http", "port": 80, "appProtocol": "https" }] } }),
        ),
        object(
            Kind::EndpointSlice,
            json!({ "metadata": { "namespace": "a", "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
                "addressType": "IPv6", "ports": [{ "name": "http", "port": 8080 }],
                "endpoints": [{ "addresses": ["fd00::1"], "zone": "z", "hints": { "forZones": [{ "name": "z" }] } }] }),
        ),
        object(
            Kind::Secret,
            json!({ "metadata": { "namespace": "a", "name": "s" }, "type": "Opaque", "data": { "k": "AP8=" } }),
        ),
    ]);
    resources
}

fn cache(folder: &tempfile::TempDir, keeps_secrets: bool) -> Cache {
    Cache { path: folder.path().join("state"), keeps_secrets }
}

fn back(cache: &Cache) -> Resources {
    let mut resources = Resources::default();
    resources.apply(cache.read().unwrap().unwrap().objects.into_iter().map(Event::Apply));
    resources
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let (cache, state) = (cache(&folder, true), state());
    cache.write(&state).unwrap();
    let back = back(&cache);
    assert_eq!((&back.ingresses, &back.ingress_classes), (&state.ingresses, &state.ingress_classes));
    assert_eq!((&back.services, &back.endpoint_slices), (&state.services, &state.endpoint_slices));
    assert_eq!(back.secrets, state.secrets);
    let mode = fs::metadata(&cache.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let age = SystemTime::now().duration_since(cache.read().unwrap().unwrap().written).unwrap();
    assert!(age < Duration::from_secs(3600), "{age:?}");
}

#[test]
fn secrets_are_kept_by_choice_only() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = cache(&folder, false);
    cache.write(&state()).unwrap();
    assert_eq!(back(&cache).secrets.len(), 0);
    assert!(!fs::read_to_string(&cache.path).unwrap().contains("AP8="));
}

#[test]
fn a_file_that_is_missing_foreign_or_half_written_is_no_fault() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = cache(&folder, true);
    assert!(cache.read().unwrap().is_none());
    for text in ["", "rubbish", "{\"format\":2,\"written\":1}\n", "\u{0}\u{1}"] {
        fs::write(&cache.path, text).unwrap();
        assert!(cache.read().unwrap().is_none(), "{text:?}");
    }
    cache.write(&state()).unwrap();
    let whole = fs::read(&cache.path).unwrap();
    fs::write(&cache.path, &whole[..whole.len() - 20]).unwrap();
    assert_eq!(cache.read().unwrap().unwrap().objects.len(), 4, "all but the last line");
}

#[test]
fn objects_of_files_are_not_kept() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = cache(&folder, true);
    let mut state = state();
    let place = crate::origin::Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
    for sourced in state.ingresses.values_mut() {
        let origin = (*sourced.origin).clone();
        sourced.origin = Arc::new(ObjectOrigin { place: Some(place.clone()), ..origin });
    }
    cache.write(&state).unwrap();
    assert_eq!(back(&cache).ingresses.len(), 0);
}
