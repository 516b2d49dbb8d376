//! What asks for protection and is not kept closes, and addresses that lead to the machine are no endpoints.

use std::sync::atomic::Ordering;

use crate::support::*;

/// An Ingress with annotations for the host of its name.
fn annotated(name: &str, annotations: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = annotations.iter().map(|(key, value)| format!("{key:?}: {value:?}")).collect();
    ingress(name, &format!("{name}.test"), &[("/", "web")])
        .replace("namespace: default }", &format!("namespace: default, annotations: {{ {} }} }}", pairs.join(", ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_that_ask_for_protection_which_is_not_kept_close_their_routes() {
    const N: &str = "nginx.ingress.kubernetes.io";
    const T: &str = "tidegate.io";
    let echo = Echo::start("web").await;
    let closed: Vec<(String, &str)> = [N, T]
        .iter()
        .flat_map(|prefix| {
            [
                ("auth-url", "http://auth.test/"),
                ("Auth-Type", "digest"),
                ("AUTH-SECRET", "users"),
                ("auth-tls-secret", "default/ca"),
                ("allowlist-source-range", "10.0.0.0/8"),
                ("denylist-source-range", "0.0.0.0/0"),
                ("proxy-ssl-verify", "on"),
                ("configuration-snippet", "more_set_headers \"A: b\";\n# a comment\nlocation /x {deny all;}"),
                ("server-snippet", "if ($http_x != 1) { return 403; }"),
            ]
            .map(|(name, value)| (format!("{prefix}/{name}"), value))
        })
        .chain([("auth-typ", "basic"), ("plugns", "staff"), ("Plugins", "none")].map(|(n, v)| (format!("{T}/{n}"), v)))
        .collect();
    let open = [
        ("tidegate.io/colour", "red"),
        ("nginx.ingress.kubernetes.io/proxy-ssl-verify", "off"),
        ("nginx.ingress.kubernetes.io/configuration-snippet", "more_set_headers \"X: deny all;\";"),
        ("nginx.ingress.kubernetes.io/whitelist-source-range", "0.0.0.0/0,::/0"),
        ("tidegate.io/auth-realm", "staff"),
        ("example.com/auth-url", "http://x/"),
    ];
    let name = |kind: &str, index: usize| format!("{kind}{index}");
    let mut manifests = service("web", &[echo.address]);
    for (index, (key, value)) in closed.iter().enumerate() {
        manifests += &annotated(&name("closed", index), &[(key, value)]);
    }
    for (index, (key, value)) in open.iter().enumerate() {
        manifests += &annotated(&name("open", index), &[(key, value)]);
    }
    let proxy = Proxy::start("", &[("a.yaml", manifests)]).await;
    for (index, (key, value)) in closed.iter().enumerate() {
        let response = get(proxy.http(), &format!("closed{index}.test"), "/").await;
        assert_eq!(response.status, 503, "{key}: {value}");
        let is_told = |found: &tidegate::Diagnostic| *found.origin.name == name("closed", index);
        assert!(proxy.running.diagnostics().iter().any(is_told), "{key}: {value}");
    }
    assert_eq!(echo.requests.load(Ordering::Relaxed), 0);
    for (index, (key, value)) in open.iter().enumerate() {
        let response = get(proxy.http(), &format!("open{index}.test"), "/").await;
        assert_eq!(response.status, 200, "{key}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_size_that_cannot_be_read_is_a_mebibyte() {
    let echo = Echo::start("web").await;
    let web = service("web", &[echo.address]);
    let sized = annotated("size", &[("tidegate.io/proxy-body-size", "8 megs")]);
    let proxy = Proxy::start("", &[("a.yaml", web + &sized)]).await;
    for (length, status) in [(1 << 20, 200), ((1 << 20) + 1, 413)] {
        let body = "x".repeat(length);
        let head =
            format!("POST / HTTP/1.1\r\nHost: size.test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(request(proxy.http(), &(head + &body)).await.status, status, "{length}");
    }
    assert!(proxy.running.diagnostics().iter().any(|found| found.code.as_str() == "InvalidAnnotation"));
}

/// Manifests in files may name any address, so this route leads to the API; what comes through it is refused there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_gives_nothing_away_through_a_proxy() {
    let proxy = Proxy::start("", &[]).await;
    let admin = proxy.running.admin().unwrap();
    proxy.put("a.yaml", &(service("admin", &[admin]) + &ingress("a", "localhost", &[("/", "admin")])));
    let response = proxy.until("localhost", "/api/v1/snapshot", |response| response.status != 404).await;
    assert_eq!(response.status, 403, "{}", response.text());
    assert_eq!(get(admin, "localhost", "/api/v1/snapshot").await.status, 200);
}

/// `localhost` is what no server is asked about: the finding is there before anybody resolves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_name_that_leads_to_the_machine_is_refused_until_it_is_allowed() {
    let echo = Echo::start("inside").await;
    let port = echo.address.port();
    let route = ingress("e", "e.test", &[("/", "ext")]).replace("number: 80", &format!("number: {port}"));
    let name = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: ext, namespace: default }}\nspec: {{ type: ExternalName, externalName: \"{name}\" }}\n"
        )
    };
    let conf = |allowed: &str| format!("defaults: {{ allowExternalName: true, allowAddresses: [{allowed}] }}\n");
    for literal in ["localhost", "a.LOCALHOST."] {
        let proxy = Proxy::start(&conf("10.0.0.0/8"), &[("e.yaml", route.clone() + &name(literal))]).await;
        assert_eq!(get(proxy.http(), "e.test", "/").await.status, 503, "{literal}");
        assert!(proxy.running.diagnostics().iter().any(|found| found.code.as_str() == "AddressRefused"), "{literal}");
    }
    assert_eq!(echo.requests.load(Ordering::Relaxed), 0);
    // An address in a file is the operator's own word.
    for (allowed, text) in [("127.0.0.0/8", "localhost"), ("10.0.0.0/8", "127.0.0.1")] {
        let proxy = Proxy::start(&conf(allowed), &[("e.yaml", route.clone() + &name(text))]).await;
        proxy.until("e.test", "/", |response| response.server() == "inside").await;
    }
}
