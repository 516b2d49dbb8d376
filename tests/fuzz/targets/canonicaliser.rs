//! Any head: it is refused, or its canonical form is one, and stays so when it is read again.

#![no_main]

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use libfuzzer_sys::fuzz_target;
use tidegate::bench::path::canonical_path;
use tidegate::bench::proxy::guard::{Changes, Head, Limits, Rules, check};
use tidegate::bench::snapshot::Claims;

const LIMITS: Limits = Limits { header_bytes: 65_536, header_count: 200, uri_bytes: 16_384 };

static CLAIMS: OnceLock<Arc<Claims>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return };
    let mut words = first.splitn(2, |byte| *byte == b' ');
    let Ok(method) = Method::from_bytes(words.next().unwrap_or_default()) else { return };
    let target = words.next().unwrap_or_default();
    let Ok(uri) = Uri::try_from(target) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let Ok(changes) = checked(&method, &uri, target, &headers) else { return };
    let (uri, headers) = applied(&uri, &headers, &changes);
    let path = uri.path();
    assert!(changes.is_asterisk || path.starts_with('/'), "{path}");
    let segments: Vec<&str> = path.split('/').collect();
    assert!(!segments.iter().any(|it| matches!(*it, "." | "..")), "dot segments in {path}");
    assert!(!path.contains("//"), "empty segments in {path}");
    let lower = path.to_ascii_lowercase();
    assert!(!["%2f", "%5c", "%00", "\\"].iter().any(|it| lower.contains(it)), "hidden separators in {path}");
    assert_eq!(headers.get_all(header::HOST).iter().count(), 1);
    assert!(!headers.keys().any(|name| name.as_str().contains('_')), "names with `_` are dropped");
    assert!(canonical_path(path).is_ok_and(|again| again == path) || changes.is_asterisk, "{path} changes again");
    let target = uri.to_string();
    let again = checked(&method, &uri, target.as_bytes(), &headers).expect("a canonical head is no more refused");
    assert!(again.target.is_none() && again.host.is_none(), "{target} changes again: {again:?}");
    assert_eq!(again.host_len, changes.host_len);
});

fn checked(method: &Method, uri: &Uri, target: &[u8], headers: &HeaderMap) -> Result<Changes, tidegate::Reason> {
    let head = Head { method, uri, target, headers, version: http::Version::HTTP_11, has_both_lengths: false, is_trusted: false };
    let claims = CLAIMS.get_or_init(Claims::known);
    check(&head, &Rules { limits: LIMITS, claims, loop_id: b"tidegate", max_hops: 8 })
}

/// As the proxy does it.
fn applied(uri: &Uri, headers: &HeaderMap, changes: &Changes) -> (Uri, HeaderMap) {
    let mut headers = headers.clone();
    for name in &changes.drop {
        headers.remove(name);
    }
    if let Some(host) = &changes.host {
        headers.insert(header::HOST, host.clone());
    }
    (changes.target.clone().unwrap_or_else(|| uri.clone()), headers)
}
