//! Calls that plugins make: to a URL, or to an upstream of the conf.
//!
//! By the engine's connector, so that connections are kept and TLS is made as it is for requests. Every call has a
//! deadline and a bound on what it takes in; what is kept (connections, addresses of names) has a bound too.
//! Addresses are held to the rules for endpoints: an instance of a cluster object, and an answer of DNS, never lead to
//! this machine. Only instances of the conf may call upstreams of the conf.

mod address;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tidegate_plugin::{BoxFuture, CallError, CallLimits, Caller, HttpClient};

use self::address::Addresses;
use super::authorities::Authorities;
use super::peer;
use crate::endpoint::{Pick, Table, Tried};
use crate::proxy::upstream::Aim;
use crate::telemetry::metrics::{Emit, Sample, family};
use crate::upstream::{Protocol, UpstreamConfig, UpstreamTls};

/// Connections that are kept for a next call, of all plugins together.
const MAX_IDLE: usize = 128;
/// How long they are.
const IDLE: Duration = Duration::from_secs(60);
/// Tries at connections that were kept, and may have been closed meanwhile.
const MAX_TRIES: usize = 3;
/// Fields that are the client's own business.
const OWN: [HeaderName; 6] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::HOST, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// What calls are made with.
pub(crate) struct Outbound {
    connector: Connector,
    table: Arc<Table>,
    addresses: Addresses,
    authorities: Authorities,
    meters: Mutex<Vec<Weak<Calls>>>,
}

/// What is counted of the calls of one plugin instance.
#[derive(Debug)]
struct Calls {
    /// Name of the instance.
    plugin: Arc<str>,
    counts: [AtomicU64; Calls::RESULTS.len()],
}

/// The calls of one plugin instance.
struct Lane {
    outbound: Arc<Outbound>,
    /// Namespace of the object that defines it; empty for conf.
    namespace: Arc<str>,
    calls: Arc<Calls>,
}

/// Where a call goes.
struct To {
    peer: HttpPeer,
    protocol: Protocol,
    /// Counts the call among those of its endpoint, while it lives.
    _pick: Option<Pick>,
}

// === impl Outbound ===

impl Outbound {
    /// Calls upstreams of this table, and any URL.
    pub(crate) fn new(table: Arc<Table>) -> Arc<Self> {
        Arc::new(Self {
            connector: Connector::new(Some(ConnectorOptions::new(MAX_IDLE))),
            addresses: Addresses::new(Arc::clone(&table)),
            table,
            authorities: Authorities::default(),
            meters: Mutex::default(),
        })
    }

    /// The client of a plugin instance.
    pub(crate) fn client(self: &Arc<Self>, plugin: &str, namespace: &str) -> HttpClient {
        let calls = Arc::new(Calls { plugin: plugin.into(), counts: Default::default() });
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() == meters.capacity() {
            meters.retain(|calls| calls.strong_count() > 0);
        }
        meters.push(Arc::downgrade(&calls));
        HttpClient::new(Arc::new(Lane { outbound: Arc::clone(self), namespace: namespace.into(), calls }))
    }

    /// Calls by instance and result; instances of one name are summed.
    pub(crate) fn observe(&self, emit: Emit<'_>) {
        let calls: Vec<_> =
            self.meters.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (calls, (result, count)) in calls.iter().flat_map(|calls| calls.counted().map(move |it| (calls, it))) {
            *sums.entry((&calls.plugin, result)).or_default() += count;
        }
        for ((plugin, result), count) in sums.into_iter().filter(|(_, count)| *count > 0) {
            emit(Sample { family: &family::PLUGIN_CALLS, labels: &[plugin, result], value: count as f64 });
        }
    }

    async fn exchange(&self, call: &Request<Bytes>, namespace: &str, max: usize) -> Result<Response<Bytes>, CallError> {
        let head = head(call)?;
        for _ in 0..MAX_TRIES {
            let to = self.to(call.uri(), namespace).await?;
            let head = spoken(&head, to.protocol)?;
            let session = self.connector.get_http_session(&to.peer).await;
            let (mut session, is_kept) = session.map_err(|_| CallError::NoConnection)?;
            match ask(&mut session, head, call.body(), max).await {
                Ok(response) => {
                    self.connector.release_http_session(session, &to.peer, Some(IDLE)).await;
                    return Ok(response);
                }
                // It was closed while it was kept; the next one may be another or a fresh one.
                Err(CallError::Broken) if is_kept && call.method().is_idempotent() => session.shutdown().await,
                Err(error) => {
                    session.shutdown().await;
                    return Err(error);
                }
            }
        }
        Err(CallError::Broken)
    }

    async fn to(&self, uri: &Uri, namespace: &str) -> Result<To, CallError> {
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(CallError::Url)?;
        match uri.scheme_str() {
            Some("http") => self.to_url(host, uri.port_u16().unwrap_or(80), Protocol::Http, namespace).await,
            Some("https") => self.to_url(host, uri.port_u16().unwrap_or(443), Protocol::Https, namespace).await,
            Some("upstream") if namespace.is_empty() => self.to_upstream(host),
            Some("upstream") => Err(CallError::NoUpstream),
            _ => Err(CallError::Url),
        }
    }

    async fn to_url(&self, host: &str, port: u16, protocol: Protocol, namespace: &str) -> Result<To, CallError> {
        let address = self.addresses.of(host, port, namespace).await?;
        let tls = UpstreamTls { verify: true, ..UpstreamTls::default() };
        let config = UpstreamConfig { protocol, tls: Some(tls), ..UpstreamConfig::default() };
        Ok(To { peer: self.peer(address, Arc::new(config), host)?, protocol, _pick: None })
    }

    fn to_upstream(&self, name: &str) -> Result<To, CallError> {
        let upstream = self.table.get(&format!("upstream/{name}")).ok_or(CallError::NoUpstream)?;
        let config = upstream.config();
        if config.is_invalid {
            return Err(CallError::NoUpstream);
        }
        let pick = upstream.pick(&mut Tried::default()).map_err(|_| CallError::NoEndpoint)?;
        let protocol = config.protocol;
        let peer = self.peer(pick.address(), config, name)?;
        Ok(To { peer, protocol, _pick: Some(pick) })
    }

    fn peer(&self, address: SocketAddr, config: Arc<UpstreamConfig>, host: &str) -> Result<HttpPeer, CallError> {
        let aim = Aim { address, config, policy: Arc::default() };
        let mut peer = peer::plain(&aim, true);
        let tls = aim.tls(host).map_err(|_| CallError::NoConnection)?;
        if let Some(tls) = tls {
            peer::set_tls(&mut peer, &tls, &self.authorities).map_err(|_| CallError::NoConnection)?;
        }
        Ok(peer)
    }
}

// === impl Lane ===

impl Caller for Lane {
    fn call(
        &self,
        request: Request<Bytes>,
        limits: CallLimits,
    ) -> BoxFuture<'static, Result<Response<Bytes>, CallError>> {
        let (outbound, namespace, calls) =
            (Arc::clone(&self.outbound), Arc::clone(&self.namespace), Arc::clone(&self.calls));
        Box::pin(async move {
            let asking = outbound.exchange(&request, &namespace, limits.max_response);
            let result = tokio::time::timeout(limits.timeout, asking).await.unwrap_or(Err(CallError::Timeout));
            calls.count(result.as_ref().err());
            result
        })
    }
}

// === impl Calls ===

impl Calls {
    /// As they stand in metrics.
    const RESULTS: [&'static str; 6] = ["done", "timeout", "too_large", "no_endpoint", "no_connection", "broken"];

    fn count(&self, error: Option<&CallError>) {
        let result = match error {
            None => 0,
            Some(CallError::Timeout) => 1,
            Some(CallError::TooLarge) => 2,
            Some(CallError::NoUpstream | CallError::NoEndpoint | CallError::NoAddress | CallError::Url) => 3,
            Some(CallError::NoConnection) => 4,
            Some(_) => 5,
        };
        if let Some(count) = self.counts.get(result) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many calls ended how.
    fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::RESULTS.into_iter().zip(&self.counts).map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }
}

// === private functions ===

/// The head of a call, without what is the client's own business.
fn head(call: &Request<Bytes>) -> Result<RequestHeader, CallError> {
    let target = call.uri().path_and_query().map_or("/", |target| target.as_str());
    let bad = |_| CallError::Url;
    let mut head = RequestHeader::build(call.method().clone(), target.as_bytes(), None).map_err(bad)?;
    for (name, value) in call.headers().iter().filter(|(name, _)| !OWN.contains(name)) {
        head.append_header(name.clone(), value.clone()).map_err(bad)?;
    }
    // Without credentials that a URL may have.
    let authority = call.uri().authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A plugin that names an upstream may say for which host it asks.
    let host = match call.headers().get(header::HOST) {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(host).map_err(|_| CallError::Url)?,
    };
    head.insert_header(header::HOST, host).map_err(bad)?;
    let has_length = !call.body().is_empty() || matches!(*call.method(), Method::POST | Method::PUT | Method::PATCH);
    if has_length {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(call.body().len())).map_err(bad)?;
    }
    Ok(head)
}

/// The head as the protocol has it: HTTP/2 has the host in its target (RFC 9113 section 8.3.1).
fn spoken(head: &RequestHeader, protocol: Protocol) -> Result<RequestHeader, CallError> {
    let mut head = head.clone();
    if protocol.is_h2() {
        let host = head.remove_header(&header::HOST).ok_or(CallError::Url)?;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let scheme = if protocol.is_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build();
        head.set_uri(uri.map_err(|_| CallError::Url)?);
        head.set_version(http::Version::HTTP_2);
    }
    Ok(head)
}

async fn ask(
    session: &mut HttpSession,
    head: RequestHeader,
    body: &Bytes,
    max: usize,
) -> Result<Response<Bytes>, CallError> {
    let broken = |_| CallError::Broken;
    session.write_request_header(Box::new(head)).await.map_err(broken)?;
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await.map_err(broken)?;
    }
    session.finish_request_body().await.map_err(broken)?;
    loop {
        session.read_response_header().await.map_err(broken)?;
        let Some(head) = session.response_header() else { return Err(CallError::Broken) };
        if !head.status.is_informational() {
            break;
        }
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(CallError::Broken);
        }
    }
    let mut read = BytesMut::new();
    while let Some(piece) = session.read_response_body().await.map_err(broken)? {
        if read.len() + piece.len() > max {
            return Err(CallError::TooLarge);
        }
        read.extend_from_slice(&piece);
    }
    let Some(head) = session.response_header() else { return Err(CallError::Broken) };
    let mut response = Response::new(read.freeze());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers.clone();
    Ok(response)
}
