//! `tidegate routes` and `tidegate explain`, offline.

use serde_json::Value;

use crate::support::{FREE_PORTS, finish, folder, program, root, run};

const ROUTES: &str = "
defaults: { timeouts: { read: 7s } }
plugins:
  stamp: { type: headers, response: { set: { X-Stamp: a } } }
upstreams:
  main: { endpoints: [{ address: \"127.0.0.1:9\" }] }
  none: { endpoints: [] }
routes:
  - { name: home, hosts: [a.test], paths: [{ prefix: / }], backends: [{ upstream: main }], plugins: [stamp] }
  - { name: beta, hosts: [a.test], paths: [{ prefix: /b }], headers: [{ name: X-Beta, exact: on }], backends: [{ upstream: main }] }
  - { name: away, hosts: [a.test], paths: [{ prefix: /away }], redirect: { status: 302, prefix: /there } }
  - { name: safe, hosts: [s.test], paths: [{ prefix: / }], backends: [{ upstream: none }] }
";

fn explained(args: &[&str]) -> (i32, Value) {
    let it = folder(&[("t.yaml", &format!("{FREE_PORTS}{ROUTES}"))]);
    let done = run(it.path(), &[&["explain", "--conf", "t.yaml", "-o", "json"], args].concat());
    (done.code.unwrap(), done.json())
}

/// The verdict about a candidate.
fn verdict<'v>(explanation: &'v Value, name: &str) -> &'v str {
    let all = explanation["candidates"].as_array().unwrap();
    let candidate = all.iter().find(|candidate| candidate["route"]["name"] == name);
    candidate.unwrap_or_else(|| panic!("no {name} in {explanation:#}"))["verdict"].as_str().unwrap()
}

#[test]
fn the_routing_table_comes_in_three_forms() {
    let it = folder(&[("t.yaml", &format!("{FREE_PORTS}{ROUTES}"))]);
    let args = |form| run(it.path(), &["routes", "--conf", "t.yaml", "-o", form]).exits(0);
    let table = args("table").says(&["HOST", "ORIGIN", "stamp", "t.yaml routes[0].paths[0].prefix"]);
    assert!(!table.out.contains("X-Stamp"), "the table names plugins only:\n{}", table.out);
    let json = args("json").json();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(table.out.lines().count(), rows.len() + 1);
    let home = rows.iter().find(|row| row["route"]["name"] == "home").unwrap();
    assert_eq!(home["route"], serde_json::json!({ "kind": "Conf", "namespace": "", "name": "home" }));
    assert_eq!(
        (&home["host"], &home["path"], &home["kind"], &home["target"], &home["ready"], &home["plugins"]),
        (
            &"a.test".into(),
            &"/".into(),
            &"prefix".into(),
            &"upstream/main".into(),
            &serde_json::json!([1, 1]),
            &serde_json::json!(["stamp"])
        )
    );
    args("yaml").says(&["host: a.test", "name: home"]);
}

#[test]
fn a_request_is_explained_from_listener_to_endpoint() {
    let (code, it) = explained(&["get", "https://a.test/b?x=1"]);
    assert_eq!(code, 0);
    assert_eq!(it["listener"], "https (https on 127.0.0.1:0)");
    assert!(it["certificate"].as_str().unwrap().starts_with("self-signed"), "{it:#}");
    assert_eq!((&it["canonical"], &it["host"]), (&"a.test/b?x=1".into(), &"a.test".into()));
    assert_eq!(verdict(&it, "home"), "won");
    assert_eq!(verdict(&it, "beta"), "header `x-beta` is missing");
    assert_eq!(verdict(&it, "away"), "the path does not fit");
    let plugin = &it["route"]["plugins"][0];
    assert_eq!(
        (&plugin["name"], &plugin["type"], &plugin["stage"]),
        (&"stamp".into(), &"headers".into(), &"transform".into())
    );
    assert_eq!(
        (&plugin["config"]["response"]["set"]["X-Stamp"], &plugin["origin"]),
        (&"a".into(), &"t.yaml plugins.stamp".into())
    );
    let setting = &it["route"]["settings"][0];
    assert_eq!(
        (&setting["name"], &setting["value"], &setting["origin"]),
        (&"timeouts.read".into(), &"7s".into(), &"t.yaml defaults.timeouts.read".into())
    );
    let upstream = &it["upstreams"][0];
    assert_eq!((&upstream["id"], &upstream["next"]), (&"upstream/main".into(), &"127.0.0.1:9".into()));
    assert_eq!((&upstream["protocol"], &upstream["balance"]), (&"http".into(), &"round-robin".into()));
}

#[test]
fn a_header_decides_between_routes() {
    let (code, it) = explained(&["GET", "http://a.test/b", "-H", "X-Beta: on"]);
    assert_eq!((code, verdict(&it, "beta")), (0, "won"));
    assert_eq!(verdict(&it, "home"), "`beta` with path `/b` comes before it");
    assert_eq!(explained(&["GET", "http://nobody.test/b", "-H", "Host: a.test"]).1["host"], "a.test");
}

#[test]
fn the_client_address_is_told_with_whether_it_is_trusted() {
    assert_eq!(
        explained(&["GET", "http://a.test/", "--from-ip", "2001:db8::1"]).1["client"],
        "2001:db8::1 (its forwarded headers are not trusted)"
    );
}

#[test]
fn fields_are_judged_as_the_proxy_judges_them() {
    let conf = "trustedProxies: [10.0.0.0/8]\ndefaults: { loopId: edge, limits: { hops: 2 } }\nroutes: [ { httpsRedirect: true, respond: { body: hi } } ]\n";
    let it = folder(&[("t.yaml", &format!("{FREE_PORTS}{conf}"))]);
    for (from, field, reason) in [
        ("10.0.0.1", "X-Forwarded-Proto: HTTPS, https", "direct_response"),
        ("10.0.0.1", "X-Forwarded-Proto: https, http", "https_redirect"),
        ("11.0.0.1", "X-Forwarded-Proto: https", "https_redirect"),
        ("10.0.0.1", "CDN-Loop: edge, a;b=\", edge\"", "https_redirect"),
        ("10.0.0.1", "CDN-Loop: edge, Edge", "loop_detected"),
    ] {
        let args =
            ["explain", "--conf", "t.yaml", "-o", "json", "GET", "http://a.test/", "--from-ip", from, "-H", field];
        assert_eq!(run(it.path(), &args).json()["reason"], reason, "{from} {field}");
    }
}

#[test]
fn what_is_not_served_exits_1_and_says_why() {
    let (code, it) = explained(&["GET", "http://b.test/"]);
    assert_eq!((code, &it["reason"], &it["response"]), (1, &"no_route".into(), &"404 no_route".into()));
    assert_eq!(it["hostsTried"][0], "b.test");
    let (code, it) = explained(&["GET", "http://a.test/x%2Fy"]);
    assert_eq!((code, &it["canonical"], &it["response"]), (1, &Value::Null, &"400 bad_path".into()));
    let (code, it) = explained(&["GET", "http://s.test/"]);
    assert_eq!((code, &it["reason"]), (1, &"no_endpoints".into()));
}

#[test]
fn a_redirect_says_where_it_leads() {
    let (code, it) = explained(&["GET", "http://a.test:8080/away/x?y=z"]);
    assert_eq!((code, &it["response"]), (0, &"302 to http://a.test:8080/there/x?y=z".into()));
}

#[test]
fn the_text_has_every_stage_in_order() {
    let it = folder(&[("t.yaml", &format!("{FREE_PORTS}{ROUTES}"))]);
    let done = run(it.path(), &["explain", "--conf", "t.yaml", "GET", "https://a.test/b"]).exits(0);
    let stages = [
        "request ",
        "listener ",
        "certificate ",
        "client ",
        "canonical ",
        "host ",
        "owner ",
        "candidates ",
        "route ",
        "settings ",
        "plugins ",
        "backend ",
        "response ",
    ];
    let labels: Vec<&str> = done.out.lines().filter(|line| !line.starts_with(' ')).collect();
    let places = stages.map(|stage| labels.iter().position(|line| line.starts_with(stage)));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", done.out);
    done.says(&[
        "✔ prefix /: won",
        "✘ prefix /b [header x-beta=on]: header `x-beta` is missing",
        "response.set.X-Stamp = a",
        "next: 127.0.0.1:9",
    ]);
}

#[test]
fn an_annotation_is_the_origin_of_what_it_sets() {
    let manifest = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: shop
  annotations: { nginx.ingress.kubernetes.io/proxy-read-timeout: \"9\" }
spec:
  ingressClassName: tidegate
  tls: [{ hosts: [w.test] }]
  defaultBackend: { service: { name: web, port: { number: 80 } } }
  rules: [{ host: w.test }]
";
    let conf = format!("{FREE_PORTS}sources: {{ files: {{ paths: [in.yaml] }} }}\n");
    let it = folder(&[("t.yaml", &conf), ("in.yaml", manifest)]);
    let ask = |url: &str| run(it.path(), &["explain", "--conf", "t.yaml", "-o", "json", "GET", url]).json();
    let plain = ask("http://w.test/x");
    assert_eq!((&plain["reason"], &plain["response"]), (&"https_redirect".into(), &"308 to https://w.test/x".into()));
    let tls = ask("https://w.test/x");
    let setting = &tls["route"]["settings"][0];
    assert_eq!((&setting["name"], &setting["value"]), (&"timeouts.read".into(), &"9s".into()), "{tls:#}");
    assert!(setting["origin"].as_str().unwrap().contains("nginx.ingress.kubernetes.io/proxy-read-timeout"), "{tls:#}");
    assert_eq!((&tls["candidates"][0]["kind"], &tls["candidates"][0]["won"]), (&"fallback".into(), &true.into()));
}

#[test]
fn the_built_in_demo_is_explained_outside_the_repository() {
    let it = folder(&[]);
    run(it.path(), &["explain", "GET", "http://127.0.0.1:8080/api"])
        .exits(0)
        .says(&["built in", "(built-in demo) routes[1]"]);
    run(root(), &["explain", "GET", "http://127.0.0.1:8080/api"]).exits(0).says(&["conf/tidegate.yaml routes[1]"]);
}

#[test]
fn the_environment_tells_the_zone_whose_endpoints_are_meant() {
    let manifests = "
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop}, spec: {ingressClassName: tidegate, defaultBackend: {service: {name: web, port: {number: 80}}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints:
  - { addresses: [10.0.0.1], hints: { forZones: [{ name: north }] } }
  - { addresses: [10.0.0.2], hints: { forZones: [{ name: south }] } }
  - { addresses: [10.0.0.3], hints: { forZones: [{ name: south }, { name: north }] } }
";
    let conf = format!("{FREE_PORTS}sources: {{ files: {{ paths: [web.yaml] }} }}\n");
    let it = folder(&[("t.yaml", &conf), ("web.yaml", manifests)]);
    let endpoints = |zone: Option<&str>| {
        let mut command = program(it.path(), &["explain", "--conf", "t.yaml", "-o", "json", "GET", "http://a.test/"]);
        command.envs(zone.map(|zone| ("TIDEGATE_ZONE", zone)));
        finish(command).json()["upstreams"][0]["endpoints"].as_array().unwrap().len()
    };
    assert_eq!((endpoints(None), endpoints(Some("")), endpoints(Some("north"))), (3, 3, 2));
}

#[test]
fn who_owns_the_host_and_its_certificate_is_shown() {
    let made = rcgen::generate_simple_self_signed(["w.test".to_owned()]).unwrap();
    let indent = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let ingress = |namespace: &str, year: u32, path: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: web, namespace: {namespace}, creationTimestamp: \"{year}-01-01T00:00:00Z\" }}
spec:
  ingressClassName: tidegate
  tls: [{{ hosts: [w.test, other.test], secretName: cert }}]
  rules: [{{ host: w.test, http: {{ paths: [{{ path: {path}, pathType: Prefix, backend: {{ service: {{ name: web, port: {{ number: 80 }} }} }} }}] }} }}]
---
"
        )
    };
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: cert, namespace: young }}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indent(&made.cert.pem()),
        indent(&made.signing_key.serialize_pem())
    );
    let manifests = ingress("old", 2020, "/old") + &ingress("young", 2026, "/young") + &secret;
    let conf = format!("{FREE_PORTS}sources: {{ files: {{ paths: [in.yaml] }} }}\n");
    let it = folder(&[("t.yaml", &conf), ("in.yaml", &manifests)]);
    let ask = |url: &str| run(it.path(), &["explain", "--conf", "t.yaml", "-o", "json", "GET", url]).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = ask("https://w.test/old");
    let certificate = text(&told["certificate"]);
    assert!(
        certificate.starts_with("young/cert (") && certificate.contains("named by Ingress/young/web spec.tls[0]"),
        "{certificate}"
    );
    let owner = text(&told["owner"]);
    assert!(owner.starts_with("namespace old, by its oldest route Ingress/old/web spec.rules[0]"), "{owner}");
    assert!(text(&ask("https://other.test/")["certificate"]).starts_with("self-signed"), "nobody serves it");
}
