//! Where redirects lead.
//!
//! Pure. Source: Gateway API `HTTPRequestRedirectFilter` and `HTTPPathModifier`.

use std::fmt::Write;

use tidegate_plugin::RequestFacts;

use crate::snapshot::route::{Redirect, RedirectPath};

/// The value of `Location`. `port` is the one that the client named in `Host`.
pub(crate) fn location(redirect: &Redirect, facts: &RequestFacts<'_>, port: Option<u16>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(facts.scheme);
    let host = redirect.host.as_deref().unwrap_or(facts.host);
    // A port belongs to a scheme: a new scheme without a port means the scheme's own.
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => port,
    };
    write(scheme, host, port, &path(redirect.path.as_ref(), facts.path), facts.query)
}

/// The same address over https, on its own port.
pub(crate) fn https_location(facts: &RequestFacts<'_>) -> String {
    write("https", facts.host, None, facts.path, facts.query)
}

fn write(scheme: &str, host: &str, port: Option<u16>, path: &str, query: Option<&str>) -> String {
    let mut out = String::with_capacity(scheme.len() + host.len() + path.len() + query.map_or(0, str::len) + 12);
    out.extend([scheme, "://", host]);
    if let Some(port) = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443))) {
        // Writing to a string cannot fail.
        let _ = write!(out, ":{port}");
    }
    out.push_str(path);
    if let Some(query) = query {
        out.extend(["?", query]);
    }
    out
}

fn path(change: Option<&RedirectPath>, path: &str) -> String {
    match change {
        None => path.to_owned(),
        Some(RedirectPath::Full(full)) if full.starts_with('/') => full.to_string(),
        Some(RedirectPath::Full(full)) => format!("/{full}"),
        Some(RedirectPath::Prefix { replacement, matched }) => replace(replacement, path.get(*matched..).unwrap_or("")),
    }
}

fn replace(replacement: &str, rest: &str) -> String {
    let rest = rest.strip_prefix('/').map_or_else(|| (rest, !rest.is_empty()), |rest| (rest, true));
    let start = replacement.trim_start_matches('/');
    match rest {
        (_, false) => format!("/{start}"),
        (rest, true) => match start.trim_end_matches('/') {
            "" => format!("/{rest}"),
            start => format!("/{start}/{rest}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;

    const PLAIN: Redirect = Redirect { status: StatusCode::FOUND, scheme: None, host: None, port: None, path: None };

    fn facts(path: &'static str) -> RequestFacts<'static> {
        let mut facts = RequestFacts::new(&Method::GET, "a.example", path);
        facts.query = Some("q=1");
        facts
    }

    #[test]
    fn parts_that_are_not_given_stay() {
        assert_eq!(location(&PLAIN, &facts("/x"), Some(8080)), "http://a.example:8080/x?q=1");
    }

    #[test]
    fn ports_that_the_scheme_has_anyway_are_not_written() {
        let to = |scheme: Option<&str>, port| {
            let redirect = Redirect { scheme: scheme.map(Into::into), port, host: Some("b".into()), ..PLAIN };
            location(&redirect, &facts("/"), Some(8080))
        };
        assert_eq!(to(Some("https"), None), "https://b/?q=1");
        assert_eq!(to(Some("https"), Some(443)), "https://b/?q=1");
        assert_eq!(to(Some("https"), Some(8443)), "https://b:8443/?q=1");
        assert_eq!(to(None, Some(80)), "http://b/?q=1");
        assert_eq!(to(None, Some(443)), "http://b:443/?q=1");
        assert_eq!(https_location(&facts("/x")), "https://a.example/x?q=1");
    }

    /// The table of Gateway API `HTTPPathModifier.replacePrefixMatch`.
    #[test]
    fn a_replaced_prefix_joins_with_one_slash() {
        for (path_in, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
        ] {
            let change = RedirectPath::Prefix { replacement: replacement.into(), matched: prefix.len() };
            assert_eq!(path(Some(&change), path_in), expected, "{path_in} {prefix} {replacement}");
        }
        assert_eq!(path(Some(&RedirectPath::Full("/new".into())), "/old"), "/new");
    }
}
