use super::*;
use crate::code::Code;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::telemetry::record::Attempt;
use crate::telemetry::record::testing::record;

fn facts() -> RouteFacts {
    RouteFacts::new("Ingress", "shop", "web").service("api").path("/v1\"\\")
}

fn lines<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(prefix)).collect()
}

#[test]
fn recorded_requests_are_rendered_as_text() {
    let metrics = Metrics::new().unwrap();
    let route = metrics.route(&facts());
    let failed = Attempt {
        address: "10.0.0.1:80".parse().unwrap(),
        connect: None,
        header: None,
        response: None,
        is_reused: false,
        outcome: Reason::ConnectFailed,
    };
    let millis = |ms| Some(Duration::from_millis(ms));
    let good =
        Attempt { connect: millis(1), header: millis(7), response: millis(20), outcome: Reason::Upstream, ..failed };
    let base = RequestRecord { duration: Duration::from_millis(30), metrics: Some(&route), ..record() };
    metrics.record(&RequestRecord { attempts: &[failed, good], response_bytes: 100_000, ..base });
    metrics.record(&RequestRecord { method: "BREW", status: 418, reason: Reason::Plugin, ..base });
    metrics.record(&RequestRecord { metrics: None, status: 404, reason: Reason::NoRoute, ..base });

    let text = metrics.render().unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("process_") && !line.contains("build_info") && !line.contains("_config_"))
        .filter(|line| !line.contains("unmatched") || line.starts_with("tidegate_requests_total"))
        .collect();
    let told = told.join("\n") + "\n";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry/metrics/golden.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn random_hosts_add_no_series() {
    let metrics = Metrics::new().unwrap();
    let count = |metrics: &Metrics| {
        let text = metrics.render().unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let none = RequestRecord { status: 404, reason: Reason::NoRoute, ..record() };
    metrics.record(&none);
    let before = count(&metrics);
    for _ in 0..10_000 {
        let host = format!("{:x}.example", fastrand::u64(..));
        metrics.record(&RequestRecord { host: &host, path: &host, user_agent: Some(host.as_bytes()), ..none });
    }
    assert_eq!(count(&metrics), before);
    assert_eq!(
        lines(&metrics.render().unwrap(), "tidegate_requests_total"),
        [concat!(
            "tidegate_requests_total{namespace=\"\",kind=\"\",route=\"unmatched\",service=\"\",path=\"\",",
            "method=\"GET\",code=\"404\",reason=\"no_route\"} 10001"
        )]
    );
}

#[test]
fn series_disappear_with_the_last_handle() {
    let metrics = Metrics::new().unwrap();
    let (old, new) = (metrics.route(&facts()), metrics.route(&facts()));
    metrics.record(&RequestRecord { metrics: Some(&old), ..record() });
    drop(old);
    assert_eq!(lines(&metrics.render().unwrap(), "tidegate_requests_total").len(), 1, "a snapshot still refers to it");
    drop(new);
    assert_eq!(lines(&metrics.render().unwrap(), "tidegate_requests_total").len(), 0);
}

#[test]
fn configuration_is_told() {
    let metrics = Metrics::new().unwrap();
    let published = Published {
        generation: 7,
        compile: Duration::from_millis(4),
        propagation: Some(Duration::from_millis(40)),
        time: UNIX_EPOCH + Duration::from_millis(1_500),
    };
    metrics.published(&published);
    metrics.published(&Published { generation: 8, propagation: None, ..published });
    let origin = Origin::new("Ingress", "a", "b", None);
    metrics.diagnostics(&[
        Diagnostic::error(Code::Internal, &origin, "x"),
        Diagnostic::error(Code::InvalidHost, &origin, "y"),
    ]);
    metrics.diagnostics(&[Diagnostic::warning(Code::NoEndpoints, &origin, "x")]);
    let text = metrics.render().unwrap();
    for expected in [
        "tidegate_config_generation 8",
        "tidegate_config_compile_duration_seconds_count 2",
        "tidegate_config_compile_duration_seconds_bucket{le=\"0.005\"} 2",
        "tidegate_config_propagation_seconds_count 1",
        "tidegate_config_propagation_seconds_sum 0.04",
        "tidegate_config_last_success_timestamp_seconds 1.5",
        "tidegate_config_diagnostics{severity=\"error\"} 0",
        "tidegate_config_diagnostics{severity=\"warning\"} 1",
        "tidegate_build_info{version=\"0.1.0\"",
    ] {
        assert!(text.lines().any(|line| line.starts_with(expected)), "{expected} is not in\n{text}");
    }
}

#[test]
fn sources_are_asked_at_each_scrape_and_equal_labels_are_summed() {
    let metrics = Metrics::new().unwrap();
    let open = |emit: &mut dyn FnMut(Sample<'_>)| {
        emit(Sample { family: &family::CONNECTIONS, labels: &["http", "active"], value: 2.0 });
        emit(Sample { family: &family::CONNECTIONS, labels: &["wrong number"], value: 9.0 });
    };
    metrics.observe(Box::new(open));
    metrics.observe(Box::new(open));
    assert_eq!(
        lines(&metrics.render().unwrap(), "tidegate_connections"),
        ["tidegate_connections{listener=\"http\",state=\"active\"} 4"]
    );
}
