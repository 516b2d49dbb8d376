//! From model to snapshot.
//!
//! Only what was touched is compiled; the rest is shared with the previous snapshot. Backends and endpoints are put
//! under the upstreams that routes already point to, so that their changes rebuild no route. What cannot be compiled
//! becomes a diagnostic and the rest is served; a route whose plugins cannot be built is closed.
//! It must not know where the model comes from, Pingora or the time (a clock is handed in).

mod certificate;
mod edge;
mod host;
mod listener;
mod matcher;
pub(crate) mod pipeline;
mod presented;
mod route;
mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_plugin::{Definition, RouteFacts};

pub use self::certificate::load_certificate;
pub(crate) use self::listener::compile as compile_listeners;

use self::pipeline::{Clients, Instances, Lanes};
use self::presented::Store;
use self::route::RouteCompiler;
use self::upstream::Upstreams;
use crate::diagnostic::Diagnostic;
use crate::endpoint::Table;
use crate::host::HostPattern;
use crate::model::{Model, Touched};
use crate::snapshot::certificates::{Certificates, ServedCertificate};
use crate::snapshot::host_map::HostMap;
use crate::snapshot::listener::Listeners;
use crate::snapshot::router::Router;
use crate::snapshot::{Served, Snapshot};
use crate::telemetry::metrics::RouteMetrics;

/// Makes the counters of a route.
pub type RouteMetricsSource = Box<dyn Fn(&RouteFacts) -> Arc<RouteMetrics> + Send>;

/// Seconds since 1970.
pub(crate) type Clock = Box<dyn Fn() -> i64 + Send>;

/// Dependencies of a compiler.
pub struct CompilerParts {
    /// Upstreams and their endpoints.
    pub table: Arc<Table>,
    /// Plugins that configuration may name.
    pub plugins: Vec<Definition>,
    /// Folder that relative file names in plugin configuration start from.
    pub folder: PathBuf,
    /// Makes the counters of a route.
    pub route_metrics: RouteMetricsSource,
    /// The time, for warnings on certificates.
    pub now: Clock,
}

/// Compiles models, one after the other.
pub struct Compiler {
    upstreams: Upstreams,
    instances: Instances,
    route_metrics: RouteMetricsSource,
    now: Clock,
    self_signed: Arc<ServedCertificate>,
    secrets: Store,
    diagnostics: BTreeMap<Piece, Vec<Diagnostic>>,
}

/// A part of the model that is compiled, and complained about, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Edge,
    Listeners,
    Default,
    DefaultCertificate,
    Certificate(HostPattern),
    Choices,
    Host(HostPattern),
}

// === impl Compiler ===

impl Compiler {
    /// Makes a compiler, and the self-signed certificate that it falls back to.
    pub fn new(cx: CompilerParts) -> Self {
        Self {
            upstreams: Upstreams::new(cx.table),
            instances: Instances::new(cx.plugins, cx.folder),
            route_metrics: cx.route_metrics,
            now: cx.now,
            self_signed: certificate::self_signed(),
            secrets: Store::default(),
            diagnostics: BTreeMap::new(),
        }
    }

    /// Gives plugin instances threads for what takes long; without, each piece of work has a thread of its own.
    #[must_use]
    pub fn with_lanes(mut self, lanes: Lanes) -> Self {
        self.instances.set_lanes(lanes);
        self
    }

    /// Gives plugin instances a client to ask other servers with; without, their calls end at once.
    #[must_use]
    pub fn with_clients(mut self, clients: Clients) -> Self {
        self.instances.set_clients(clients);
        self
    }

    /// The snapshot before anything was loaded: generation 0, no routes, self-signed default certificate.
    pub fn empty(&self) -> Snapshot {
        Snapshot {
            generation: 0,
            listeners: Listeners::default(),
            common: Arc::new(Served {
                router: Router::default(),
                default: None,
                certificates: Certificates { hosts: HostMap::default(), default: Arc::clone(&self.self_signed) },
            }),
            edge: Arc::new(edge::compile(&crate::edge::Edge::default()).0),
        }
    }

    /// Compiles what was touched, sharing the rest with `previous`, which must be what this compiler gave last.
    ///
    /// Applies upstream settings and endpoints to the table at once, before the snapshot is published.
    pub fn compile(&mut self, model: &Model, touched: &Touched, previous: &Snapshot) -> Snapshot {
        self.upstreams.apply(model, touched);
        let snapshot = Snapshot {
            generation: previous.generation + 1,
            listeners: self.compile_listeners(model, touched, &previous.listeners),
            common: Arc::new(Served {
                router: self.compile_hosts(model, touched, &previous.common.router),
                default: self.compile_default(model, touched, &previous.common),
                certificates: self.compile_certificates(model, touched, &previous.common.certificates),
            }),
            edge: self.compile_edge(model, touched, previous),
        };
        self.upstreams.sweep();
        self.instances.sweep();
        let missing = self.instances.missing_upstreams(|id| self.upstreams.has(id));
        self.report(Piece::Choices, missing);
        snapshot
    }

    /// Forgets what was compiled, as after a panic. What comes next is compiled whole, after [`Self::empty`].
    pub fn restart(&mut self) {
        self.upstreams.restart();
        self.secrets = Store::default();
        self.diagnostics.clear();
    }

    /// What is wrong with the model compiled last, sorted, each finding once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all: Vec<Diagnostic> = self.diagnostics.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    fn compile_hosts(&mut self, model: &Model, touched: &Touched, previous: &Router) -> Router {
        if touched.hosts.is_empty() {
            return previous.clone();
        }
        let mut changes = Vec::with_capacity(touched.hosts.len());
        for pattern in &touched.hosts {
            let compiled = model.hosts.get(pattern).map(|host| self.host_compiler().host(host));
            let (routes, diagnostics) = compiled.map_or((None, Vec::new()), |(routes, found)| (Some(routes), found));
            if let Some(routes) = &routes {
                self.upstreams.acquire(routes.routes());
            }
            if let Some(old) = previous.host(pattern) {
                self.upstreams.release(old.routes());
            }
            self.report(Piece::Host(pattern.clone()), diagnostics);
            changes.push((pattern.clone(), routes));
        }
        previous.with(changes)
    }

    fn compile_default(
        &mut self,
        model: &Model,
        touched: &Touched,
        previous: &Served,
    ) -> Option<Arc<crate::snapshot::route::Route>> {
        if !touched.default {
            return previous.default.clone();
        }
        let mut diagnostics = Vec::new();
        let compiled = model.default.as_ref().map(|route| self.host_compiler().route(route, &mut diagnostics));
        self.upstreams.acquire(compiled.iter());
        self.upstreams.release(previous.default.iter());
        self.report(Piece::Default, diagnostics);
        compiled
    }

    fn compile_certificates(&mut self, model: &Model, touched: &Touched, previous: &Certificates) -> Certificates {
        let now = (self.now)();
        let mut changes = Vec::with_capacity(touched.certificates.len());
        for pattern in &touched.certificates {
            let mut diagnostics = Vec::new();
            let claims = model.certificates.get(pattern);
            let presented = claims.map(|claims| self.secrets.choose(pattern, claims, now, &mut diagnostics));
            self.report(Piece::Certificate(pattern.clone()), diagnostics);
            changes.push((pattern.clone(), presented));
        }
        let hosts = if changes.is_empty() { previous.hosts.clone() } else { previous.hosts.with(changes) };
        let default = self.compile_default_certificate(model, touched, now);
        if !touched.certificates.is_empty() || touched.default_certificate {
            self.secrets.sweep();
        }
        Certificates { hosts, default: default.unwrap_or_else(|| Arc::clone(&previous.default)) }
    }

    /// The default certificate, where it may be another one than before.
    fn compile_default_certificate(
        &mut self,
        model: &Model,
        touched: &Touched,
        now: i64,
    ) -> Option<Arc<ServedCertificate>> {
        if !touched.default_certificate {
            return None;
        }
        let mut diagnostics = Vec::new();
        let wanted = model.default_certificate.as_ref();
        let default = wanted.and_then(|certificate| self.secrets.load(certificate, now, &mut diagnostics));
        self.report(Piece::DefaultCertificate, diagnostics);
        Some(default.unwrap_or_else(|| Arc::clone(&self.self_signed)))
    }

    /// Without a conf nobody says where to listen, and what listens stays.
    fn compile_listeners(&mut self, model: &Model, touched: &Touched, previous: &Listeners) -> Listeners {
        let Some(wanted) = model.listeners.as_ref().filter(|_| touched.listeners) else {
            return Arc::clone(previous);
        };
        let (listeners, diagnostics) = listener::compile(wanted, previous);
        self.report(Piece::Listeners, diagnostics);
        listeners
    }

    fn compile_edge(
        &mut self,
        model: &Model,
        touched: &Touched,
        previous: &Snapshot,
    ) -> Arc<crate::snapshot::edge::Edge> {
        if !touched.edge {
            return Arc::clone(&previous.edge);
        }
        let (edge, mut diagnostics) = edge::compile(&model.edge);
        diagnostics.extend(edge::unkept(&model.edge, self.upstreams.capacity().max_connections(edge.capacity())));
        self.report(Piece::Edge, diagnostics);
        Arc::new(edge)
    }

    fn host_compiler(&mut self) -> RouteCompiler<'_> {
        RouteCompiler {
            upstreams: &mut self.upstreams,
            instances: &mut self.instances,
            route_metrics: &self.route_metrics,
        }
    }

    fn report(&mut self, piece: Piece, diagnostics: Vec<Diagnostic>) {
        if diagnostics.is_empty() {
            self.diagnostics.remove(&piece);
        } else {
            self.diagnostics.insert(piece, diagnostics);
        }
    }
}

#[cfg(test)]
mod tests;
