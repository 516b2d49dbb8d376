//! Answers that no request stands behind are in log and metrics as well, and missed deadlines have their reasons.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_answers_are_logged_and_counted() {
    let (proxy, _recorder) = start(OPEN).await;
    for (bytes, status, reason, method) in [
        ("nonsense\r\n\r\n", 400, "bad_request", "OTHER"),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405, "bad_method", "CONNECT"),
        ("GET /half HTTP/1.1\r\nHost: a", 408, "header_timeout", "OTHER"),
        ("POST /stalls HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhalf", 408, "body_timeout", "POST"),
    ] {
        let answers = exchange(proxy.http(), bytes.as_bytes()).await;
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [status], "{bytes:?}");
        assert_eq!(answers[0].headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("server")).count(), 1);
        assert_eq!(answers[0].header("server"), Some("tidegate"), "{bytes:?}");
        let line = proxy.log_line(|line| line["reason"] == reason).await;
        assert_eq!(line["http.response.status_code"], status, "{line}");
        let counted = metrics(&proxy).await;
        let labels = [format!("code=\"{status}\""), format!("reason=\"{reason}\""), format!("method=\"{method}\"")];
        let fits =
            |name: &str| name.starts_with("tidegate_requests_total") && labels.iter().all(|label| name.contains(label));
        let found: Vec<_> = counted.iter().filter(|(name, _)| fits(name)).collect();
        assert!(matches!(found[..], [(_, value)] if *value == 1.0), "{bytes:?} {labels:?}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_answers_have_the_server_that_the_conf_says() {
    for (option, expected) in [("edge-7", Some("edge-7")), ("\"off\"", None)] {
        let conf = format!(
            "defaults: {{ serverHeader: {option}, limits: {{ headerTimeout: 300ms }} }}\nroutes: [ {{ respond: {{ body: hello }} }} ]\n"
        );
        let proxy = Proxy::start(&conf, &[]).await;
        for bytes in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nA b: c\r\n\r\n", "GET /half HTTP/1.1\r\nHost: a"] {
            let answers = exchange(proxy.http(), bytes.as_bytes()).await;
            assert_eq!(answers[0].header("server"), expected, "{bytes:?}");
        }
    }
}
