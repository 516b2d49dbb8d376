//! Metrics, health and the admin API of a running proxy.

use crate::support::*;

async fn proxy_with_a_route() -> Proxy {
    let echo = Echo::start("a").await;
    let manifests = ingress("shop", "shop.test", &[("/", "a")]) + &service("a", &[echo.address]);
    Proxy::start("", &[("a.yaml", manifests)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_configuration_and_never_requests() {
    let proxy = proxy_with_a_route().await;
    assert_eq!(get(proxy.http(), "shop.test", "/x").await.status, 200);
    for index in 0..200 {
        get(proxy.http(), &format!("random{index}.test"), &format!("/{index}")).await;
    }
    proxy.log_line(|line| line["server.address"] == "random199.test").await;
    let metrics = metrics(&proxy).await;
    let requests: Vec<_> = metrics.iter().filter(|(name, _)| name.starts_with("tidegate_requests_total")).collect();
    let of =
        |label: &str| requests.iter().filter(|(name, _)| name.contains(label)).map(|(_, value)| **value).sum::<f64>();
    assert_eq!(of("kind=\"Ingress\",route=\"shop\",service=\"a\""), 1.0, "{requests:?}");
    assert_eq!(of("reason=\"no_route\""), 200.0, "{requests:?}");
    assert!(requests.len() < 10, "series do not grow with hosts: {requests:?}");
    for name in [
        "tidegate_build_info",
        "tidegate_config_generation",
        "tidegate_upstream_endpoints",
        "tidegate_certificate_expiry_timestamp_seconds",
    ] {
        assert!(metrics.keys().any(|series| series.starts_with(name)), "{name} is missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_what_the_data_plane_does() {
    let proxy = proxy_with_a_route().await;
    let admin = proxy.running.admin().unwrap();
    let explained = get(admin, "localhost", "/api/v1/explain?method=GET&url=http://shop.test/x/../y").await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    let text = explained.text();
    assert!(text.contains("default/shop") && text.contains("default/a:80"), "{text}");
    let missing = get(admin, "localhost", "/api/v1/explain?method=GET&url=http://nobody.test/").await;
    assert!(missing.text().contains("no_route"), "{}", missing.text());
    let routes = get(admin, "localhost", "/api/v1/routes").await;
    assert!(routes.text().contains("shop.test"), "{}", routes.text());
    let refused = request(
        admin,
        "POST /api/v1/routes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(refused.status, 405, "the admin API is read-only");
    assert_eq!(get(admin, "evil.test", "/api/v1/routes").await.status, 403, "other names for loopback are refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_port_shows_nothing_of_telemetry() {
    let proxy = proxy_with_a_route().await;
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/routes"] {
        assert_eq!(get(proxy.http(), "localhost", path).await.status, 404, "{path}");
    }
}
