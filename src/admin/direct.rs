//! Whether a request came from who asks, and not through a proxy.

use http::Request;

/// The beginning of the fields by which proxies tell about their clients.
const X_FORWARDED: &str = "x-forwarded";
/// Others that proxies add (RFC 7239, RFC 9110 section 7.6.3, RFC 8586).
const OTHERS: [&str; 4] = ["forwarded", "via", "cdn-loop", "x-real-ip"];

/// Whether no proxy says that it sent the request on.
///
/// The API is for whoever is on this machine. A route that leads here, of this proxy or another, would give it to
/// everybody.
pub(super) fn is_direct(request: &Request<()>) -> bool {
    let mut names = request.headers().keys().map(http::HeaderName::as_str);
    !names.any(|name| name.starts_with(X_FORWARDED) || OTHERS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_add_gives_them_away() {
        let with = |name: &str| is_direct(&Request::builder().header(name, "x").body(()).unwrap());
        for name in ["X-Forwarded-For", "x-forwarded-host", "X-Forwarded", "Forwarded", "Via", "CDN-Loop", "X-Real-IP"]
        {
            assert!(!with(name), "{name}");
        }
        for name in ["Host", "User-Agent", "X-Request-ID", "Accept"] {
            assert!(with(name), "{name}");
        }
    }
}
