//! What is known of a request through its whole life.

use std::any::{Any, TypeId};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Facts that live as long as the request, and what plugins leave for each other.
#[derive(Debug, Default)]
pub struct Shared {
    /// Who the client is, once a plugin has found out.
    pub identity: Option<Identity>,
    failed: AtomicBool,
    slots: Vec<(TypeId, Box<dyn Any + Send + Sync>)>,
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// User, subject or key name.
    pub name: Arc<str>,
    /// Name of the plugin instance that says so.
    pub source: Arc<str>,
}

/// The request in canonical form: the form that was routed and that authentication saw.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestFacts<'a> {
    /// Method.
    pub method: &'a http::Method,
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// Host, lower case, without port.
    pub host: &'a str,
    /// Canonical path.
    pub path: &'a str,
    /// Query, without `?`.
    pub query: Option<&'a str>,
    /// The client: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// Who connected: the other end of the socket.
    pub peer: SocketAddr,
    /// For whom the peer says that it connected, in the connection's first words (PROXY protocol), where it may.
    pub announced: Option<SocketAddr>,
    /// Name of the listener; empty where there is none.
    pub listener: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// TLS facts, on TLS connections.
    pub tls: Option<&'a TlsFacts>,
}

/// Facts of the client's TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// Server name that the client asked for.
    pub server_name: Option<Arc<str>>,
    /// Protocol version: `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite.
    pub cipher: &'static str,
    /// The client's certificate, where it was asked for one, gave it and it was verified: DER, without the rest of the
    /// chain.
    pub client_certificate: Option<Arc<[u8]>>,
}

/// The matched route. From configuration, so it is the same for each request of the route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteFacts {
    /// Kind of the object that it is part of: `Ingress`, or `Conf` for a route of the conf.
    pub kind: &'static str,
    /// Namespace of the object; empty for conf routes.
    pub namespace: Arc<str>,
    /// Name of the object, or of the conf route. It tells routes apart together with kind and namespace only.
    pub name: Arc<str>,
    /// The backend that the request goes to: a Service, with its namespace in front when that is another one than the
    /// route's, or an upstream of the conf. Before one of several is chosen, and where there is none, it is empty.
    pub service: Arc<str>,
    /// The rule's path.
    pub path: Arc<str>,
}

// === impl Identity, RequestFacts, TlsFacts ===

impl Identity {
    /// Who it is, and the name of the plugin instance that says so.
    pub fn new(name: impl Into<Arc<str>>, source: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), source: source.into() }
    }
}

impl<'a> RequestFacts<'a> {
    /// A request over plain HTTP, of nobody known; the fields can be set.
    pub fn new(method: &'a http::Method, host: &'a str, path: &'a str) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            method,
            scheme: "http",
            host,
            path,
            query: None,
            client: nowhere,
            peer: SocketAddr::new(nowhere, 0),
            announced: None,
            listener: "",
            request_id: "",
            tls: None,
        }
    }
}

impl TlsFacts {
    /// What a handshake agreed on.
    pub fn new(server_name: Option<Arc<str>>, version: &'static str, cipher: &'static str) -> Self {
        Self { server_name, version, cipher, client_certificate: None }
    }
}

// === impl RouteFacts ===

impl RouteFacts {
    /// A route of an object, without backend and path.
    pub fn new(kind: &'static str, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into(), ..Self::default() }
    }

    /// The same with this backend.
    #[must_use]
    pub fn service(mut self, service: impl Into<Arc<str>>) -> Self {
        self.service = service.into();
        self
    }

    /// The same with this path.
    #[must_use]
    pub fn path(mut self, path: impl Into<Arc<str>>) -> Self {
        self.path = path.into();
        self
    }
}

impl fmt::Display for RouteFacts {
    /// `namespace/name`, or the conf route's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Leaves a value for later hooks; one a type.
    pub fn put<T: Any + Send + Sync>(&mut self, value: T) {
        self.slots.retain(|(id, _)| *id != TypeId::of::<T>());
        self.slots.push((TypeId::of::<T>(), Box::new(value)));
    }

    /// Marks the request as failed by a plugin: it must not reach the upstream any more.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether a hook without a result of its own has failed; the proxy then answers 500.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The value of that type, when a hook has left one.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.slots.iter().find(|(id, _)| *id == TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref())
    }
}
