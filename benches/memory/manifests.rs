//! Manifests of many hosts: one Ingress, Service and EndpointSlice each, one in a hundred with TLS.

use std::fmt::Write as _;
use std::path::Path;

/// Hosts a file: stays under the largest file that is read.
const HOSTS_A_FILE: usize = 2_000;

/// Writes manifests for so many hosts into a folder.
pub(crate) fn write(folder: &Path, hosts: usize) {
    let (chain, key) = certificate();
    for first in (0..hosts).step_by(HOSTS_A_FILE) {
        let mut text = String::new();
        for n in first..hosts.min(first + HOSTS_A_FILE) {
            host(n, &mut text);
            if n % 100 == 0 {
                secret(n, (&chain, &key), &mut text);
            }
        }
        std::fs::write(folder.join(format!("hosts-{first:07}.yaml")), text).unwrap();
    }
}

fn host(n: usize, text: &mut String) {
    let namespace = n % 50;
    let address = format!("10.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
    write!(
        text,
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: ingress-{n}
  namespace: team-{namespace}
  uid: 6ec0a1e5-0000-4000-8000-{n:012}
  creationTimestamp: '2024-05-01T00:00:00Z'
  labels: {{ app.kubernetes.io/name: app-{n}, app.kubernetes.io/managed-by: Helm }}
  annotations: {{ meta.helm.sh/release-name: app-{n}, nginx.ingress.kubernetes.io/proxy-read-timeout: '30' }}
spec:
  ingressClassName: tidegate
  rules:
  - host: h{n}.shop.example
    http: {{ paths: [ {{ path: /, pathType: Prefix, backend: {{ service: {{ name: service-{n}, port: {{ number: 80 }} }} }} }} ] }}
"
    )
    .unwrap();
    if n.is_multiple_of(100) {
        writeln!(text, "  tls: [ {{ hosts: [h{n}.shop.example], secretName: tls-{n} }} ]").unwrap();
    }
    write!(
        text,
        "---
apiVersion: v1
kind: Service
metadata:
  name: service-{n}
  namespace: team-{namespace}
  uid: 6ec0a1e5-0001-4000-8000-{n:012}
  creationTimestamp: '2024-05-01T00:00:00Z'
  labels: {{ app.kubernetes.io/name: app-{n}, app.kubernetes.io/managed-by: Helm }}
spec:
  clusterIP: {address}
  selector: {{ app.kubernetes.io/name: app-{n} }}
  ports: [ {{ name: http, port: 80, protocol: TCP, targetPort: 8080 }} ]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{n}-abcde
  namespace: team-{namespace}
  uid: 6ec0a1e5-0002-4000-8000-{n:012}
  labels: {{ kubernetes.io/service-name: service-{n}, app.kubernetes.io/name: app-{n} }}
addressType: IPv4
ports: [ {{ name: http, port: 8080, protocol: TCP }} ]
endpoints:
- addresses: [{address}]
  conditions: {{ ready: true, serving: true, terminating: false }}
  nodeName: node-{namespace}
  targetRef: {{ kind: Pod, namespace: team-{namespace}, name: app-{n}-0, uid: 6ec0a1e5-0003-4000-8000-{n:012} }}
  zone: zone-a
"
    )
    .unwrap();
}

fn secret(n: usize, (chain, key): (&str, &str), text: &mut String) {
    let indented = |pem: &str| pem.lines().fold(String::new(), |text, line| format!("{text}    {line}\n"));
    let (namespace, chain, key) = (n % 50, indented(chain), indented(key));
    write!(
        text,
        "---
apiVersion: v1
kind: Secret
metadata: {{ name: tls-{n}, namespace: team-{namespace} }}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{chain}  tls.key: |
{key}"
    )
    .unwrap();
}

/// One chain and key for all: making ten thousand would take longer than what is measured.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["*.shop.example".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
