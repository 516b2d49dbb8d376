//! Reason codes: why tidegate answered a request itself, or ended it.
//!
//! A leaf module. The code stands in the access log, in metrics and in `explain`, so that no failure is a riddle.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal;)+) => {
        /// Reason code of a request: where its response is from, or why it failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in declared order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The status that goes with it by default; 0 where nothing can be answered any more.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

reasons! {
    /// The upstream's answer was passed on.
    Upstream = "upstream", 200;
    /// A redirect that the route asks for.
    Redirect = "redirect", 302;
    /// Plain HTTP on a host that wants HTTPS.
    HttpsRedirect = "https_redirect", 308;
    /// A fixed answer that the route asks for.
    DirectResponse = "direct_response", 200;
    /// A plugin answered.
    Plugin = "plugin", 403;
    /// No host or path matches.
    NoRoute = "no_route", 404;
    /// The route's backend is invalid: no such Service or port, or a resource backend.
    InvalidBackend = "invalid_backend", 503;
    /// The backend has no ready endpoint.
    NoEndpoints = "no_endpoints", 503;
    /// The upstream, or its namespace, has its share of the descriptors, connections or requests that all need.
    OverShare = "over_share", 503;
    /// The memory that there may be is nearly used up, so that nothing new is begun.
    Overload = "overload", 503;
    /// A security rule of the route cannot be built, so the route is closed.
    BrokenPolicy = "broken_policy", 503;
    /// Not ready: no configuration was loaded yet.
    NotReady = "not_ready", 503;
    /// No connection to any endpoint tried.
    ConnectFailed = "connect_failed", 502;
    /// The endpoint's TLS handshake failed, for another reason than its certificate.
    UpstreamTls = "upstream_tls", 502;
    /// The endpoint's certificate has expired, or is not valid yet.
    UpstreamCertificateExpired = "upstream_certificate_expired", 502;
    /// The endpoint's certificate is of none of the authorities that are trusted.
    UpstreamCertificateUntrusted = "upstream_certificate_untrusted", 502;
    /// The endpoint's certificate is for other names.
    UpstreamCertificateName = "upstream_certificate_name", 502;
    /// The endpoint's certificate cannot be verified at all: X.509 v1, a key or signature that is not known, an
    /// authority in the place of a server.
    UpstreamCertificateUnusable = "upstream_certificate_unusable", 502;
    /// The endpoint closed or reset before its answer was complete.
    UpstreamReset = "upstream_reset", 502;
    /// The endpoint said that it did not process the request (GOAWAY, REFUSED_STREAM), at every try.
    UpstreamRefused = "upstream_refused", 502;
    /// The endpoint's answer is not HTTP, or is not allowed.
    UpstreamProtocol = "upstream_protocol", 502;
    /// The endpoint took too long to accept a connection.
    ConnectTimeout = "connect_timeout", 504;
    /// The endpoint took too long to answer.
    UpstreamTimeout = "upstream_timeout", 504;
    /// The request is malformed.
    BadRequest = "bad_request", 400;
    /// Host missing, repeated or not a host.
    BadHost = "bad_host", 400;
    /// The path is not acceptable: encoded slash, backslash, NUL, above the root, or `;` that hides another
    /// route or a dot segment.
    BadPath = "bad_path", 400;
    /// The method is not acceptable (CONNECT, TRACE, over 32 bytes).
    BadMethod = "bad_method", 405;
    /// The request's head did not arrive in time.
    HeaderTimeout = "header_timeout", 408;
    /// The request's body did not arrive in time.
    BodyTimeout = "body_timeout", 408;
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", 413;
    /// The request target is longer than allowed.
    UriTooLong = "uri_too_long", 414;
    /// The head is larger than allowed.
    HeadersTooLarge = "headers_too_large", 431;
    /// The request has come by too often already: it goes round.
    LoopDetected = "loop_detected", 508;
    /// The client did not say who it is, or not rightly.
    Unauthorized = "unauthorized", 401;
    /// The client's address has given too many wrong passwords.
    TooManyFailures = "too_many_failures", 429;
    /// Work that a plugin's answer depends on, such as a password's hash, would have waited too long.
    WorkRefused = "work_refused", 503;
    /// Over a rate limit.
    RateLimited = "rate_limited", 429;
    /// The client went away before the answer was complete.
    ClientClosed = "client_closed", 499;
    /// A fault of tidegate's own.
    Internal = "internal", 500;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
