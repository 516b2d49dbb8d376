//! One health probe: what is sent to an endpoint and what counts as an answer.
//!
//! Checks implement Pingora's [`HealthCheck`]. Plain TCP is Pingora's own [`TcpHealthCheck`]. Its HTTP check cannot
//! be used here: it holds a connector of its own, with a copy of the system's authorities and a connection pool, and
//! one `Host` header, which differs by endpoint when none is configured. The checks below share one connector.
//! It must not know when probes happen.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Uri, Version};
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector as HttpConnector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use pingora::{Error, ErrorType, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};
use tokio::sync::OnceCell;

use super::health::{Spec, Target};
use crate::upstream::{HttpProbe, Protocol};

/// A check of one endpoint.
pub(super) type Check = Arc<dyn HealthCheck + Send + Sync>;

/// Connectors shared by all health checks.
pub(super) struct Connectors {
    tcp: Arc<TcpHealthCheck>,
    tls: TransportConnector,
    http: HttpConnector,
}

/// Opens a TLS connection.
struct TlsCheck {
    connectors: Arc<Connectors>,
    peer: HttpPeer,
}

/// Sends a GET and looks at the status.
struct HttpCheck {
    connectors: Arc<Connectors>,
    peer: HttpPeer,
    request: RequestHeader,
    statuses: Vec<u16>,
}

/// Makes the check of an endpoint.
///
/// # Errors
/// What is wrong with its settings: authorities or a path that cannot be used.
pub(super) fn check(target: &Target, connectors: &Arc<Connectors>) -> Result<Check, String> {
    let spec = target.spec();
    match &spec.check.http {
        None if spec.tls.is_none() => Ok(Arc::clone(&connectors.tcp) as Check),
        None => {
            let peer = peer(target.address(), spec, None)?;
            Ok(Arc::new(TlsCheck { connectors: Arc::clone(connectors), peer }))
        }
        Some(HttpProbe { path, host, statuses }) => {
            let peer = peer(target.address(), spec, host.as_deref())?;
            let host = host.as_deref().map_or_else(|| target.address().to_string(), str::to_owned);
            let request = request(spec.protocol, path, &host)?;
            let connectors = Arc::clone(connectors);
            Ok(Arc::new(HttpCheck { connectors, peer, request, statuses: statuses.clone() }))
        }
    }
}

/// Runs a check once.
///
/// # Errors
/// Why the endpoint failed it.
pub(super) async fn run(check: &Check, address: SocketAddr) -> Result<(), String> {
    let backend = Backend { addr: address.into(), weight: 1, ext: http::Extensions::new() };
    check.check(&backend).await.map_err(|error| error.to_string())
}

/// Where and how to connect. Timeouts are left to the caller, who limits the probe as a whole.
fn peer(address: SocketAddr, spec: &Spec, host: Option<&str>) -> Result<HttpPeer, String> {
    let server_name = spec.tls.as_ref().map_or_else(String::new, |tls| {
        let name = tls.server_name.as_deref().or_else(|| host.map(name_of));
        // Pingora does not verify when there is no name at all. An address as the name is not sent.
        name.map_or_else(|| address.ip().to_string(), str::to_owned)
    });
    let mut peer = HttpPeer::new(address, spec.tls.is_some(), server_name);
    if spec.protocol.is_h2() {
        peer.options.alpn = ALPN::H2;
    }
    if let Some(tls) = &spec.tls {
        peer.options.verify_cert = tls.verify;
        // Without a name the request's host would be verified, which a probe does not have.
        peer.options.verify_hostname = tls.verify && (tls.server_name.is_some() || host.is_some());
        peer.options.ca = tls.ca.as_ref().map(|bundle| authorities(&bundle.0)).transpose()?;
    }
    Ok(peer)
}

/// Authorities as Pingora wants them; it panics on what is no certificate.
fn authorities(ca: &[Vec<u8>]) -> Result<Arc<CaType>, String> {
    let parse = |der: &Vec<u8>| match x509_parser::parse_x509_certificate(der) {
        Ok(_) => Ok(WrappedX509::new(der.clone(), parse_x509)),
        Err(error) => Err(format!("an authority is no certificate: {error}")),
    };
    ca.iter().map(parse).collect()
}

fn request(protocol: Protocol, path: &str, host: &str) -> Result<RequestHeader, String> {
    let invalid = |error: Box<Error>| format!("the path or host cannot be asked for: {error}");
    let mut request = RequestHeader::build("GET", path.as_bytes(), None).map_err(invalid)?;
    if protocol.is_h2() {
        // RFC 9113, 8.3.1: :scheme and :authority in place of Host.
        let scheme = if protocol.is_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
        request.set_uri(uri.map_err(|error| format!("the path or host cannot be asked for: {error}"))?);
        request.set_version(Version::HTTP_2);
    } else {
        request.insert_header(http::header::HOST, host).map_err(invalid)?;
    }
    request.insert_header(http::header::USER_AGENT, "tidegate-health-check").map_err(invalid)?;
    Ok(request)
}

/// The name in a host header: no port, no brackets.
fn name_of(host: &str) -> &str {
    let port = host.rfind(':').filter(|colon| !host.get(*colon..).unwrap_or_default().contains(']'));
    let name = port.and_then(|colon| host.get(..colon)).unwrap_or(host);
    name.trim_start_matches('[').trim_end_matches(']')
}

// === impl Connectors ===

impl Connectors {
    /// The connectors in the cell; made now if they are not there.
    ///
    /// # Errors
    /// The system's authorities could not be read. The next call tries again.
    pub(super) async fn shared(cell: &OnceCell<Arc<Self>>) -> Result<Arc<Self>, String> {
        // Reads files, and panics when one of them is broken.
        let make = || async { tokio::task::spawn_blocking(|| Arc::new(Self::new())).await };
        let shared = cell.get_or_try_init(make).await;
        shared.cloned().map_err(|_| "the system's certificate authorities cannot be read".to_owned())
    }

    fn new() -> Self {
        let mut tcp = TcpHealthCheck::default();
        tcp.peer_template.options.connection_timeout = None;
        Self { tcp: Arc::new(tcp), tls: TransportConnector::new(None), http: HttpConnector::new(None) }
    }
}

impl std::fmt::Debug for Connectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connectors").finish_non_exhaustive()
    }
}

// === impl TlsCheck ===

#[async_trait]
impl HealthCheck for TlsCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut peer = self.peer.clone();
        peer._address = target.addr.clone();
        self.connectors.tls.new_stream(&peer).await.map(drop)
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

// === impl HttpCheck ===

#[async_trait]
impl HealthCheck for HttpCheck {
    async fn check(&self, target: &Backend) -> Result<()> {
        let mut peer = self.peer.clone();
        peer._address = target.addr.clone();
        let (mut session, _) = self.connectors.http.get_http_session(&peer).await?;
        session.write_request_header(Box::new(self.request.clone())).await?;
        session.finish_request_body().await?;
        let mut status = 100;
        // RFC 9110, 15.2: any number of interim answers may come first.
        while (100..200).contains(&status) {
            session.read_response_header().await?;
            status = session.response_header().map_or(0, |header| header.status.as_u16());
        }
        // The body is of no interest, and may be endless.
        session.shutdown().await;
        self.accept(status)
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

impl HttpCheck {
    fn accept(&self, status: u16) -> Result<()> {
        let is_accepted =
            if self.statuses.is_empty() { (200..400).contains(&status) } else { self.statuses.contains(&status) };
        if is_accepted {
            return Ok(());
        }
        Error::e_explain(ErrorType::Custom("unexpected response"), format!("status {status} is not accepted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_name_is_the_host_without_port_and_brackets() {
        let names = ["a.test", "a.test:8443", "[2001:db8::1]", "[2001:db8::1]:8443", "192.0.2.1:1"].map(name_of);
        assert_eq!(names, ["a.test", "a.test", "2001:db8::1", "2001:db8::1", "192.0.2.1"]);
    }

    #[test]
    fn a_path_that_cannot_be_asked_for_is_an_error() {
        assert!(request(Protocol::Http, "/a", "b\r\nc").unwrap_err().contains("cannot be asked for"));
        assert!(request(Protocol::H2c, "/a b", "b").unwrap_err().contains("cannot be asked for"));
    }
}
