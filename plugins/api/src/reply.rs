//! An answer of a plugin's own, and why it is given.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// An answer of a plugin's own. An empty body becomes the status text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Fields besides `Content-Length`, `Date` and the defaults.
    pub headers: HeaderMap,
    /// Body. Clients that speak gRPC get none.
    pub body: Bytes,
    /// Why, where the status does not say it; stands in log and metrics.
    pub reason: Option<ReasonCode>,
    /// What a client that speaks gRPC is told; else what the status stands for.
    pub grpc: Option<GrpcStatus>,
}

/// Why a plugin answers: a word of its own, of 1 to 32 letters from `a` to `z`, digits and `_`.
///
/// The log has it as `plugin.reason`, beside the name of the instance, and `tidegate_plugin_replies_total` counts by it.
/// It is written where it is compiled, so that its number has a bound:
///
/// ```
/// # use tidegate_plugin::ReasonCode;
/// const DENIED: ReasonCode = ReasonCode::new("ip_denied");
/// assert_eq!(DENIED.as_str(), "ip_denied");
/// ```
///
/// A word that is none does not compile:
///
/// ```compile_fail
/// const BAD: tidegate_plugin::ReasonCode = tidegate_plugin::ReasonCode::new("IP denied!");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReasonCode(&'static str);

/// A status of gRPC (`statuscodes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GrpcStatus {
    /// Not an error.
    Ok = 0,
    /// The call was cancelled.
    Cancelled = 1,
    /// Nobody knows what went wrong.
    Unknown = 2,
    /// The client's argument is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// What should be made is there already.
    AlreadyExists = 6,
    /// The client, who is known, may not.
    PermissionDenied = 7,
    /// A quota is used up.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// It was broken off, as by a conflict.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// There is no such method.
    Unimplemented = 12,
    /// A fault inside.
    Internal = 13,
    /// Not now; trying again may help.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The client has not said who it is.
    Unauthenticated = 16,
}

// === impl Reply ===

impl Reply {
    /// A status and its text.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), reason: None, grpc: None }
    }

    /// Sets a field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a field, keeping others of its name.
    #[must_use]
    pub fn append(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, reason: ReasonCode) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Says what a client that speaks gRPC is told.
    #[must_use]
    pub fn grpc(mut self, status: GrpcStatus) -> Self {
        self.grpc = Some(status);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

// === impl ReasonCode, GrpcStatus ===

impl ReasonCode {
    /// The client has given too many wrong passwords. It is the request's reason too.
    pub const TOO_MANY_FAILURES: Self = Self::new("too_many_failures");
    /// Work that the answer depends on would have waited too long. It is the request's reason too.
    pub const WORK_REFUSED: Self = Self::new("work_refused");

    /// A word of one's own; best kept in a constant, which is checked when it is compiled.
    ///
    /// # Panics
    /// When it is not 1 to 32 of `a` to `z`, `0` to `9` and `_`.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        assert!(is_code(code.as_bytes()), "a reason code is 1 to 32 of a-z, 0-9 and _");
        Self(code)
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl GrpcStatus {
    /// What a status of HTTP stands for, as gRPC itself has it (`http-grpc-status-mapping.md`).
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The number that `grpc-status` has.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

// === private functions ===

const fn is_code(code: &[u8]) -> bool {
    if code.is_empty() || code.len() > 32 {
        return false;
    }
    let mut rest = code;
    while let [first, after @ ..] = rest {
        if !matches!(first, b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_are_short_words_of_few_letters() {
        for good in ["a", "ip_denied", "rule_949110", "abcdefghijklmnopqrstuvwxyz012345"] {
            assert!(is_code(good.as_bytes()), "{good}");
        }
        for bad in ["", "Denied", "a-b", "a b", "ä", "a\"", "abcdefghijklmnopqrstuvwxyz0123456"] {
            assert!(!is_code(bad.as_bytes()), "{bad}");
        }
    }
}
