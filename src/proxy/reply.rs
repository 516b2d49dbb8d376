//! Answers of tidegate's own.
//!
//! The text says the status and the request's id, never an address, a name or an error's inside.
//! Source: RFC 9110 section 15, RFC 9457 (problem JSON), gRPC over HTTP/2 (trailers-only answers).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tidegate_plugin::{GrpcStatus, ReasonCode, Reply};

use crate::reason::Reason;
use crate::snapshot::pipeline::Given;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Seconds: memory is sampled several times in one.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An answer before it is sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    /// Fields besides `Content-Length`, `Date` and the defaults.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
    /// Which plugin gives it, by position, and why.
    pub(crate) by: Option<(usize, Option<ReasonCode>)>,
    /// Whether it is in place of another one, so that its plugin is not asked about it.
    pub(crate) is_instead: bool,
}

// === impl Answer ===

impl Answer {
    /// An answer without a body.
    pub(super) fn empty(reason: Reason, status: StatusCode) -> Self {
        Self {
            status,
            reason,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            closes: false,
            by: None,
            is_instead: false,
        }
    }

    /// Says that, and why in so far as the status says it, in the form that the client reads.
    pub(super) fn of(reason: Reason, status: StatusCode, request: &HeaderMap, id: &str) -> Self {
        let answer = Self { closes: ends_connection(reason), ..Self::empty(reason, status) };
        if is_grpc(request) {
            return answer.into_grpc(None);
        }
        let title = status.canonical_reason().unwrap_or("Error");
        if accepts_json(request) {
            let problem = serde_json::json!({
                "type": "about:blank", "title": title, "status": status.as_u16(), "requestId": id,
            });
            return answer.with_body("application/problem+json", problem.to_string());
        }
        answer.with_body("text/plain; charset=utf-8", format!("{} {title}\nrequest id: {id}\n", status.as_u16()))
    }

    /// What the reason says by itself.
    pub(super) fn refusal(reason: Reason, request: &HeaderMap, id: &str) -> Self {
        let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::of(reason, status, request, id);
        if reason == Reason::Overload {
            answer.headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        answer
    }

    /// A redirect.
    pub(super) fn redirect(reason: Reason, status: StatusCode, location: &str) -> Self {
        let mut answer = Self::empty(reason, status);
        match HeaderValue::from_str(location) {
            Ok(location) => drop(answer.headers.insert(header::LOCATION, location)),
            Err(_) => return Self::empty(Reason::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        }
        answer
    }

    /// What a plugin answers; without a body it gets the status text.
    pub(super) fn plugin(given: Given, request: &HeaderMap, id: &str) -> Self {
        let Given { reply, by } = given;
        let is_bare = reply.body.is_empty() && has_body(reply.status) && !reply.status.is_redirection();
        let is_grpc = is_grpc(request) && (reply.grpc.is_some() || !reply.status.is_success());
        let reason = reason_of(&reply);
        let mut answer = match (is_grpc, is_bare && !reply.status.is_success()) {
            (true, _) => Self::empty(reason, reply.status).into_grpc(reply.grpc),
            (false, true) => Self::of(reason, reply.status, request, id),
            (false, false) => Self { body: reply.body, ..Self::empty(reason, reply.status) },
        };
        answer.by = by.map(|by| (by, reply.reason));
        let is_own = |name: &HeaderName| is_grpc && is_grpc_field(name);
        let taken = reply.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH && !is_own(name));
        for (name, value) in taken {
            match answer.headers.contains_key(name) && !reply.headers.get_all(name).iter().skip(1).any(|_| true) {
                true => drop(answer.headers.insert(name, value.clone())),
                false => drop(answer.headers.append(name, value.clone())),
            }
        }
        answer
    }

    /// Whether its body is sent to who asked with that method.
    pub(crate) fn sends_body(&self, method: &Method) -> bool {
        *method != Method::HEAD && !self.body.is_empty() && has_body(self.status)
    }

    fn with_body(mut self, content_type: &'static str, body: String) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// gRPC clients read the status from fields, whatever HTTP says, so HTTP says 200.
    fn into_grpc(mut self, status: Option<GrpcStatus>) -> Self {
        let message = self.status.canonical_reason().unwrap_or("error");
        let status = status.unwrap_or_else(|| GrpcStatus::of(self.status));
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        self.headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status.code())));
        self.headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
        self.status = StatusCode::OK;
        self
    }
}

/// The request's reason when a plugin answers so.
fn reason_of(reply: &Reply) -> Reason {
    match (reply.reason, reply.status) {
        (Some(ReasonCode::TOO_MANY_FAILURES), _) => Reason::TooManyFailures,
        (Some(ReasonCode::WORK_REFUSED), _) => Reason::WorkRefused,
        (_, StatusCode::TOO_MANY_REQUESTS) => Reason::RateLimited,
        (_, StatusCode::UNAUTHORIZED) => Reason::Unauthorized,
        (_, _) => Reason::Plugin,
    }
}

/// Whether clients that speak gRPC know an answer of theirs by such a field.
fn is_grpc_field(name: &HeaderName) -> bool {
    [header::CONTENT_TYPE, GRPC_STATUS, GRPC_MESSAGE].contains(name)
}

/// Whether a status may come with a body.
pub(super) fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// After these nobody knows where the next request begins, or whether the client stops sending this one.
fn ends_connection(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::BadRequest
            // What follows CONNECT may be meant for the other end of a tunnel.
            | R::BadMethod
            | R::BodyTooLarge
            | R::HeadersTooLarge
            | R::UriTooLong
            | R::BodyTimeout
            | R::HeaderTimeout
            // Its connection is one of what there is too little of.
            | R::OverShare
            | R::Overload
    )
}

fn is_grpc(request: &HeaderMap) -> bool {
    request.get(header::CONTENT_TYPE).is_some_and(|value| {
        // Not gRPC-Web, which reads HTTP's status.
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

fn accepts_json(request: &HeaderMap) -> bool {
    request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        let mut types = value.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        types.any(|name| matches!(name, "application/json" | "application/problem+json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_refusal_says_status_and_request_id() {
        let answer = Answer::refusal(Reason::NoRoute, &HeaderMap::new(), "abc");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.body, "404 Not Found\nrequest id: abc\n");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }

    /// RFC 9457 section 3.
    #[test]
    fn clients_that_accept_json_get_a_problem() {
        for accept in ["application/json", "text/html, application/problem+json;q=0.5"] {
            let answer = Answer::refusal(Reason::NoEndpoints, &request(header::ACCEPT, accept), "abc");
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(problem["status"], 503);
            assert_eq!(problem["requestId"], "abc");
        }
    }

    #[test]
    fn grpc_clients_get_a_status_of_theirs() {
        let answer = Answer::refusal(Reason::NoEndpoints, &request(header::CONTENT_TYPE, "application/grpc+proto"), "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["grpc-status"], "14");
        assert_eq!(answer.headers["grpc-message"], "Service Unavailable");
        assert!(answer.body.is_empty());
        let web = Answer::refusal(Reason::NoEndpoints, &request(header::CONTENT_TYPE, "application/grpc-web"), "");
        assert_eq!(web.status, 503);
    }

    #[test]
    fn a_plugin_s_bare_refusal_gets_a_text_and_keeps_its_fields() {
        let reply = Reply::new(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
            .header(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
        let given = |reply| Given { reply, by: Some(0) };
        let answer = Answer::plugin(given(reply), &HeaderMap::new(), "id");
        assert_eq!(answer.body, "401 Unauthorized\nrequest id: id\n");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Basic");
        assert!(!answer.headers.contains_key(header::CONTENT_LENGTH));
        let own = Answer::plugin(given(Reply::new(StatusCode::FORBIDDEN).body("no")), &HeaderMap::new(), "id");
        assert_eq!(own.body, "no");
    }

    #[test]
    fn a_plugin_s_refusal_of_grpc_has_a_status_of_grpc_and_no_body() {
        let grpc = request(header::CONTENT_TYPE, "application/grpc");
        let refusal =
            || Reply::new(StatusCode::FORBIDDEN).header(header::CONTENT_TYPE, HeaderValue::from_static("x/y"));
        for (reply, expected) in [
            (refusal(), "7"),
            (refusal().body("no"), "7"),
            (refusal().grpc(GrpcStatus::ResourceExhausted), "8"),
            (Reply::new(StatusCode::FOUND), "2"),
            (Reply::new(StatusCode::OK).grpc(GrpcStatus::NotFound), "5"),
        ] {
            let answer = Answer::plugin(Given { reply, by: Some(0) }, &grpc, "id");
            assert_eq!(
                (answer.status.as_u16(), &answer.headers["grpc-status"]),
                (200, &HeaderValue::from_static(expected))
            );
            assert!(answer.body.is_empty() && answer.headers[header::CONTENT_TYPE] == "application/grpc");
        }
        let other = Answer::plugin(Given { reply: refusal(), by: Some(0) }, &HeaderMap::new(), "id");
        assert!(other.status == 403 && !other.headers.contains_key("grpc-status"));
    }

    #[test]
    fn a_location_that_is_no_field_value_is_our_fault() {
        let answer = Answer::redirect(Reason::Redirect, StatusCode::FOUND, "http://a/\n");
        assert_eq!(answer.status, 500);
    }
}
