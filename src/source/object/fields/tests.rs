use super::*;
use crate::resources::Kind;
use crate::yaml;

fn version(kind: Kind) -> &'static Version {
    &kind.row().unwrap().versions[0]
}

fn told(kind: Kind, text: &str) -> Vec<String> {
    let node = yaml::documents(text.as_bytes()).unwrap().remove(0);
    let origin = Origin::new("Kind", "ns", "name", None);
    let found = check(&node, version(kind), &origin);
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
    assert!(!check(&node, version(Kind::Secret), &origin)[0].to_string().contains(&long));
    let many: String = (0..20).map(|at| format!("f{at}: 1\n")).collect();
    let node = yaml::documents(many.as_bytes()).unwrap().remove(0);
    let found = check(&node, version(Kind::Secret), &origin);
    assert_eq!(found.len(), MAX_FOUND);
    assert!(found[MAX_FOUND - 1].message.ends_with("(and 12 more fields like this)"));
}
