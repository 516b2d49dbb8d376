//! What is known of a request through its whole life.

use std::any::{Any, TypeId};
use std::fmt;
use std::net::IpAddr;
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
pub struct Identity {
    /// User, subject or key name.
    pub name: Arc<str>,
    /// Name of the plugin instance that says so.
    pub source: Arc<str>,
}

/// The request in canonical form: the form that was routed and that the upstream gets.
#[derive(Clone, Copy, Debug)]
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
    /// The request's id.
    pub request_id: &'a str,
    /// TLS facts, on TLS connections.
    pub tls: Option<&'a TlsFacts>,
}

/// Facts of the client's TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Server name that the client asked for.
    pub server_name: Option<Arc<str>>,
    /// Protocol version: `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite.
    pub cipher: &'static str,
}

/// The matched route. From configuration, so it is the same for each request of the route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

// === impl RouteFacts ===

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
