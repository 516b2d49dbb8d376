//! The guard for those who ask what would become of a request: the same check, without a connection.

use std::net::IpAddr;

use http::{HeaderMap, Method, Uri, header};

use super::forwarded;
use super::guard::{self, Head, Rules};
use super::request::is_acme_challenge;
use crate::reason::Reason;
use crate::snapshot::edge::Edge;

/// A head as somebody would send it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadView<'a> {
    /// Method.
    pub(crate) method: &'a Method,
    /// The request target, in origin form.
    pub(crate) target: &'a str,
    /// Fields, `Host` included.
    pub(crate) headers: &'a HeaderMap,
    /// Whoever sends it: a client, or a proxy that may be trusted.
    pub(crate) peer: IpAddr,
    /// Whether it comes over TLS.
    pub(crate) is_tls: bool,
}

/// What is routed and forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Host, lower case, without port.
    pub(crate) host: String,
    /// Path.
    pub(crate) path: String,
    /// Query, without `?`.
    pub(crate) query: Option<String>,
    /// `http` or `https`, as the client asked.
    pub(crate) scheme: &'static str,
    /// The client.
    pub(crate) client: IpAddr,
}

/// Checks a head as the proxy does and returns its canonical form.
///
/// # Errors
/// The reason for which it is refused.
pub(crate) fn canonicalize(view: &HeadView<'_>, edge: &Edge) -> Result<Canonical, Reason> {
    let peer = view.peer.to_canonical();
    let is_trusted = edge.trusts(peer);
    let uri: Uri = view.target.parse().map_err(|_| Reason::BadPath)?;
    let head = Head {
        method: view.method,
        uri: &uri,
        target: view.target.as_bytes(),
        headers: view.headers,
        version: http::Version::HTTP_11,
        has_both_lengths: false,
        is_trusted,
    };
    let changes = guard::check(&head, &Rules::of(edge))?;
    let host = changes.host.as_ref().or_else(|| view.headers.get(header::HOST)).and_then(|value| value.to_str().ok());
    let host = host.and_then(|host| host.get(..changes.host_len)).ok_or(Reason::BadHost)?;
    let target = changes.target.as_ref().unwrap_or(&uri);
    let (scheme, client) = forwarded::seen(is_trusted.then_some(view.headers), peer, view.is_tls, edge);
    let (path, query) = (target.path().to_owned(), target.query().map(str::to_owned));
    Ok(Canonical { host: host.to_owned(), path, query, scheme, client })
}

// === impl Canonical ===

impl Canonical {
    /// Path and query.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Whether plain HTTP is let through for the certificate authority's sake (RFC 8555 section 8.3).
    pub(crate) fn is_acme_challenge(&self) -> bool {
        is_acme_challenge(&self.path)
    }
}
