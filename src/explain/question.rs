//! The request that is asked about.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::proxy::canonical::HeadView;

/// The request to explain, as a client would send it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Method.
    pub method: Method,
    /// Absolute URL.
    pub uri: Uri,
    /// Fields, `Host` included.
    pub headers: HeaderMap,
    /// The client's address.
    pub from_ip: IpAddr,
    /// The target as it was written: the URL parser must not tidy it.
    target: String,
}

/// Error of a request that cannot be explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    /// Not a method.
    #[error("`{0}` is not a method")]
    Method(String),
    /// Not an absolute http or https URL.
    #[error("`{0}` is not an http or https URL (try `https://shop.example/cart`)")]
    Url(String),
    /// Not a header field.
    #[error("`{0}` is not a header field (try `Name: value`)")]
    Header(String),
}

// === impl Question ===

impl Question {
    /// Reads a question as users write it.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub(crate) fn new(method: &str, url: &str, fields: &[String], from_ip: IpAddr) -> Result<Self, QuestionError> {
        let bad_url = || QuestionError::Url(url.to_owned());
        let method = method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method(method.clone()))?;
        let (scheme, rest) = url.split_once("://").ok_or_else(bad_url)?;
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(split);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if !matches!(scheme, "http" | "https") || authority.is_empty() {
            return Err(bad_url());
        }
        let uri: Uri = format!("{scheme}://{authority}/").parse().map_err(|_| bad_url())?;
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, HeaderValue::from_str(authority).map_err(|_| bad_url())?);
        for field in fields {
            let (name, value) = parse_field(field).ok_or_else(|| QuestionError::Header(field.clone()))?;
            if name == http::header::HOST {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        Ok(Self { method, uri, headers, from_ip, target })
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or("http")
    }

    /// Whether it comes over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme() == "https"
    }

    /// Path and query of the admin API that ask the same of a running proxy.
    pub(crate) fn to_path(&self) -> String {
        let url = format!("{}://{}{}", self.scheme(), self.authority(), self.target);
        let mut path = format!("/api/v1/explain?method={}&url={}&from={}", self.method, encode(&url), self.from_ip);
        for (name, value) in &self.headers {
            let field = format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
            path += &format!("&header={}", encode(&field));
        }
        path
    }

    /// The head as the guard checks it.
    pub(super) fn to_head(&self) -> HeadView<'_> {
        let (peer, is_tls) = (self.from_ip, self.is_tls());
        HeadView { method: &self.method, target: &self.target, headers: &self.headers, peer, is_tls }
    }

    fn authority(&self) -> &str {
        self.uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}://{}{}", self.method, self.scheme(), self.authority(), self.target)
    }
}

fn parse_field(field: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = field.split_once(':')?;
    Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_the_target_as_written() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let question = Question::new("get", "https://A.test:8443/x/../%2e?q=1", &["X-A: b".into()], local).unwrap();
        assert_eq!(question.to_string(), "GET https://A.test:8443/x/../%2e?q=1");
        assert!(question.is_tls());
        assert_eq!(question.headers["x-a"], "b");
        assert_eq!(question.headers["host"], "A.test:8443");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!(Question::new("G T", "http://a/", &[], local).is_err());
        assert!(Question::new("GET", "a/b", &[], local).is_err());
        assert!(Question::new("GET", "ftp://a/b", &[], local).is_err());
        assert!(Question::new("GET", "http://a/b", &["nonsense".into()], local).is_err());
    }
}
