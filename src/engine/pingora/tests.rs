mod gate;

use http::StatusCode;

use self::gate::{Gate, echo, route, scripted, target};
use crate::reason::Reason;
use crate::snapshot::route::HttpsRedirect;
use crate::snapshot::route::{Action, Redirect, Respond, Route};
use crate::upstream::{Protocol, UpstreamConfig};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_canonical_request_and_true_forwarded_fields() {
    let gate = Gate::start(route(target(&[echo().await]))).await;
    let answer = gate
        .send("GET /a/../b//c?x=1 HTTP/1.1\r\nHost: A.Example:8080\r\nX-Forwarded-For: 6.6.6.6\r\nx_evil: 1\r\nConnection: close\r\n\r\n")
        .await;
    for part in [
        "http/1.1 200 ok",
        "server: tidegate",
        "get /b/c?x=1 http/1.1",
        "\r\nhost: a.example:8080\r\n",
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
        "\r\nx-real-ip: 127.0.0.1\r\n",
        "\r\nx-forwarded-host: a.example:8080\r\n",
        "\r\nx-forwarded-port: 8080\r\n",
        "\r\nx-forwarded-proto: http\r\n",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    assert!(!answer.contains("6.6.6.6") && !answer.contains("x_evil"), "{answer}");
    let seen = gate.seen().await;
    assert_eq!(
        (seen.status, seen.reason, seen.host.as_str(), seen.path.as_str()),
        (200, Reason::Upstream, "a.example", "/b/c")
    );
    assert_eq!(seen.tries, [Reason::Upstream]);
    assert!(seen.is_timed, "connect, header and response times are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_doubtful_never_reaches_an_upstream() {
    let gate = Gate::start(route(target(&[echo().await]))).await;
    for (request, status, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, Reason::BadHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, Reason::BadHost),
        ("GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason::BadPath),
        ("GET /../a HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason::BadPath),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, Reason::BadMethod),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            Reason::BadRequest,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 400, Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n", 400, Reason::BadRequest),
    ] {
        let answer = gate.send(&request.replacen("\r\n", "\r\nx-id: 1\r\n", 1)).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(gate.seen().await.reason, reason, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_the_head_hold() {
    let gate = Gate::start(route(target(&[echo().await]))).await;
    let long = "a".repeat(20_000);
    let answer = gate.send(&format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert!(answer.starts_with("http/1.1 414 "), "{answer}");
    let answer = gate.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(210))).await;
    assert!(answer.starts_with("http/1.1 431 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configuration_nothing_is_found_or_ready() {
    let gate = Gate::empty(1).await;
    let answer = gate.send(GET).await;
    assert!(answer.starts_with("http/1.1 404 not found") && answer.contains("request id: "), "{answer}");
    assert_eq!(gate.seen().await.reason, Reason::NoRoute);
    let gate = Gate::empty(0).await;
    assert!(gate.send(GET).await.starts_with("http/1.1 503 "));
    assert_eq!(gate.seen().await.reason, Reason::NotReady);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_an_answer_of_tidegate_s_own() {
    let gate = Gate::empty(1).await;
    let head = "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = gate.send_each(&[head, GET]).await;
    assert_eq!(answer.matches("http/1.1 404 ").count(), 2, "{answer}");
    assert_eq!(answer.matches("request id: ").count(), 1, "HEAD has no body: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_passed_over() {
    let gate = Gate::start(route(target(&[gate::closed().await, echo().await]))).await;
    let mut tries = Vec::new();
    for _ in 0..2 {
        assert!(gate.send(GET).await.starts_with("http/1.1 200 "));
        tries.push(gate.seen().await.tries);
    }
    // Round robin begins anywhere, and comes to each of the two once.
    tries.sort_by_key(Vec::len);
    assert_eq!(tries, [vec![Reason::Upstream], vec![Reason::ConnectFailed, Reason::Upstream]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_endpoint_takes_the_connection_the_reason_says_so() {
    let gate = Gate::start(route(target(&[gate::closed().await]))).await;
    assert!(gate.send(GET).await.starts_with("http/1.1 502 "));
    let seen = gate.seen().await;
    assert_eq!((seen.reason, seen.tries), (Reason::ConnectFailed, vec![Reason::ConnectFailed]));
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_without_endpoints_and_invalid_ones_are_unavailable() {
    let gate = Gate::start(route(target(&[]))).await;
    assert!(gate.send(GET).await.starts_with("http/1.1 503 "));
    assert_eq!(gate.seen().await.reason, Reason::NoEndpoints);
    let upstream = target(&[echo().await]);
    upstream.set_config(UpstreamConfig { is_invalid: true, ..UpstreamConfig::default() });
    let gate = Gate::start(route(upstream)).await;
    assert!(gate.send(GET).await.starts_with("http/1.1 503 "));
    assert_eq!(gate.seen().await.reason, Reason::InvalidBackend);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_of_upstreams_have_reasons() {
    let unasked =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    for (script, status, reason) in [
        ("garbage\r\n\r\n", 502, Reason::UpstreamProtocol),
        (unasked, 502, Reason::UpstreamProtocol),
        ("", 502, Reason::UpstreamReset),
    ] {
        let gate = Gate::start(route(target(&[scripted(script).await]))).await;
        let answer = gate.send(GET).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{script}: {answer}");
        assert_eq!(gate.seen().await.reason, reason, "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_a_timeout() {
    let mut route = route(target(&[gate::silent().await]));
    std::sync::Arc::make_mut(&mut route.policy).timeouts.read = std::time::Duration::from_millis(50);
    let gate = Gate::start(route).await;
    assert!(gate.send(GET).await.starts_with("http/1.1 504 "));
    assert_eq!(gate.seen().await.reason, Reason::UpstreamTimeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_refused_announced_or_not() {
    let mut route = route(target(&[echo().await]));
    std::sync::Arc::make_mut(&mut route.policy).limits.body_bytes = Some(4);
    let gate = Gate::start(route).await;
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = gate.send(request).await;
        assert!(answer.starts_with("http/1.1 413 "), "{answer}");
        assert_eq!(gate.seen().await.reason, Reason::BodyTooLarge);
    }
    let fits = gate.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhell").await;
    assert!(fits.starts_with("http/1.1 200 "), "{fits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_to_https_but_for_acme() {
    let mut route = route(target(&[echo().await]));
    route.https_redirect = HttpsRedirect::Always;
    let gate = Gate::start(route).await;
    let answer = gate.send("GET /a//b?q HTTP/1.1\r\nhost: a.example:8080\r\nconnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("http/1.1 308 ") && answer.contains("location: https://a.example/a/b?q\r\n"),
        "{answer}"
    );
    assert_eq!(gate.seen().await.reason, Reason::HttpsRedirect);
    let acme = GET.replacen(" / ", " /.well-known/acme-challenge/x ", 1);
    assert!(gate.send(&acme).await.starts_with("http/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_fixed_answers_and_refusals_come_from_the_route() {
    let redirect = Redirect { status: StatusCode::FOUND, scheme: None, host: Some("b".into()), port: None, path: None };
    let content_type = http::HeaderValue::from_static("text/x");
    let respond = Respond { status: StatusCode::IM_A_TEAPOT, body: "tea".into(), content_type };
    for (action, status, part, reason) in [
        (Action::Redirect(Box::new(redirect)), 302, "location: http://b/\r\n", Reason::Redirect),
        (Action::Respond(Box::new(respond)), 418, "content-type: text/x\r\n", Reason::DirectResponse),
        (Action::Refuse(Reason::BrokenPolicy), 503, "request id", Reason::BrokenPolicy),
    ] {
        let gate = Gate::start(Route { action, ..route(target(&[])) }).await;
        let answer = gate.send(GET).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")) && answer.contains(part), "{answer}");
        assert_eq!(gate.seen().await.reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass() {
    let script =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi from upstream";
    let gate = Gate::start(route(target(&[scripted(script).await]))).await;
    let answer = gate
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n")
        .await;
    assert!(answer.starts_with("http/1.1 101 ") && answer.ends_with("hi from upstream"), "{answer}");
    assert_eq!((gate.seen().await.status, StatusCode::SWITCHING_PROTOCOLS.as_u16()), (101, 101));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_upgrade_field_is_no_upgrade() {
    let gate = Gate::start(route(target(&[echo().await]))).await;
    let answer = gate.send("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("http/1.1 200 ") && !answer.contains("upgrade"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_reach_http1_upstreams_in_their_form() {
    let gate = Gate::start(route(target(&[echo().await]))).await;
    let request = http::Request::get("http://A.Example:8080/x//y")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let (_, body) = gate.send_h2(request).await;
    for part in ["get /x/y http/1.1\r\n", "\r\nhost: a.example:8080\r\n", "\r\ncookie: a=1; b=2\r\n"] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_tidegate_s_own_have_http2_s_form() {
    let gate = Gate::empty(1).await;
    let request = |method: &str| http::Request::builder().method(method).uri("http://a/").body(()).unwrap();
    let (head, body) = gate.send_h2(request("GET")).await;
    assert_eq!(head.status, 404);
    assert!(body.starts_with("404 not found"), "{body}");
    let (head, body) = gate.send_h2(request("HEAD")).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (404, ""));
}

/// gRPC over HTTP/2: a trailers-only answer is one block of fields that ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_their_status_with_the_head() {
    let gate = Gate::start(route(target(&[]))).await;
    let mut request = http::Request::post("http://a/x.Y/Z").body(()).unwrap();
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let (head, body) = gate.send_h2(request).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, ""));
    assert_eq!(head.headers["grpc-status"], "14");
    assert!(head.extensions.get::<gate::EndsWithHead>().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_short_is_cut_for_the_client_too() {
    let script = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let gate = Gate::start(route(target(&[scripted(script).await]))).await;
    let answer = gate.send(GET).await;
    assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("\r\n\r\nabc"), "{answer}");
    let seen = gate.seen().await;
    assert_eq!((seen.status, seen.reason), (200, Reason::UpstreamReset));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_endpoint_closed_costs_no_request() {
    let gate = Gate::start(route(target(&[gate::once_a_connection().await]))).await;
    for tries in [vec![Reason::Upstream], vec![Reason::UpstreamReset, Reason::Upstream]] {
        let answer = gate.send(GET).await;
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert_eq!(gate.seen().await.tries, tries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_never_sent_twice() {
    let gate = Gate::start(route(target(&[gate::once_a_connection().await]))).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert!(gate.send(post).await.starts_with("http/1.1 200 "));
    assert!(gate.send(post).await.starts_with("http/1.1 502 "));
}

/// RFC 9110 section 10.1.1: the upstream says whether the body is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_hears_it_from_the_upstream() {
    let script = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let gate = Gate::start(route(target(&[scripted(script).await]))).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let answer = gate.send(post).await;
    assert!(answer.starts_with("http/1.1 100 ") && answer.contains("http/1.1 200 ok"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_are_believed() {
    let mut edge = gate::edge();
    edge.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let mut route = route(target(&[echo().await]));
    route.https_redirect = HttpsRedirect::Always;
    let gate = Gate::with(edge, route).await;
    let answer = gate
        .send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-request-id: mine\r\nconnection: close\r\n\r\n")
        .await;
    for part in ["x-forwarded-for: 6.6.6.6, 127.0.0.1\r\n", "x-real-ip: 6.6.6.6\r\n", "x-request-id: mine\r\n"] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_its_last_request() {
    let mut edge = gate::edge();
    edge.settings.limits.keep_alive_requests = Some(2);
    let gate = Gate::with(edge, route(target(&[]))).await;
    let keep = "GET / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\nx: pgrade\r\n\r\n";
    let answer = gate.send_each(&["HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", keep]).await;
    assert_eq!(answer.matches("http/1.1 503 ").count(), 2, "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_with_its_trailers() {
    let upstream = target(&[gate::grpc().await]);
    upstream.set_config(UpstreamConfig { protocol: Protocol::H2c, ..UpstreamConfig::default() });
    let gate = Gate::start(route(upstream)).await;
    let mut request = http::Request::post("http://a.example/x.Y/Z").header("te", "trailers").body(()).unwrap();
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let (head, body) = gate.send_h2(request).await;
    assert_eq!(head.status, 200);
    assert_eq!(body, "http://a.example/x.y/z trailers");
    assert_eq!(head.extensions.get::<gate::Trailers>().unwrap().0["grpc-status"], "0");
    assert_eq!(gate.seen().await.reason, Reason::Upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_arriving_is_a_timeout() {
    let mut edge = gate::edge();
    edge.settings.limits.body_timeout = crate::quantity::Duration(std::time::Duration::from_millis(50));
    let gate = Gate::with(edge, route(target(&[gate::silent().await]))).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhe";
    assert!(gate.send(post).await.starts_with("http/1.1 408 "));
    assert_eq!(gate.seen().await.reason, Reason::BodyTimeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_no_fault_of_the_upstream() {
    let gate = Gate::start(route(target(&[gate::silent().await]))).await;
    // Without `close` the sending side is shut after the half of the body.
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe";
    assert_eq!(gate.send(post).await, "");
    let seen = gate.seen().await;
    assert_eq!((seen.status, seen.reason), (499, Reason::ClientClosed));
}
