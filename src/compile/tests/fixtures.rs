//! Models in a few words.

use std::sync::Arc;

use crate::compile::{Compiler, CompilerParts};
use crate::host::HostPattern;
use crate::model::*;
use crate::origin::Origin;
use crate::snapshot::Snapshot;
use crate::upstream::UpstreamConfig;

/// A day in 2026.
pub(super) const NOW: i64 = 1_790_000_000;

pub(super) fn compiler() -> Compiler {
    Compiler::new(CompilerParts {
        table: Arc::default(),
        plugins: Vec::new(),
        folder: ".".into(),
        route_metrics: Box::new(|_| Arc::default()),
        now: Box::new(|| NOW),
    })
}

/// A first compile of the whole model.
pub(super) fn full(model: &Model) -> (Snapshot, Compiler) {
    let mut compiler = compiler();
    let snapshot = compiler.compile(model, &Touched::all(model), &compiler.empty());
    (snapshot, compiler)
}

pub(super) fn codes(compiler: &Compiler) -> Vec<&'static str> {
    compiler.diagnostics().iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}

pub(super) fn route(name: &str, path: PathMatch) -> Route {
    Route {
        name: name.into(),
        origin: Origin::new("Conf", "", name, None),
        matcher: Match { path, ..Match::default() },
        rank: Rank { name: name.into(), ..Rank::default() },
        action: Action::Forward([WeightedBackend { backend: BackendId::upstream("u"), weight: 1 }].into()),
        https_redirect: HttpsRedirect::Off,
        plugins: Vec::new(),
        policy: Arc::default(),
    }
}

pub(super) fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

pub(super) fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

pub(super) fn regex(path: &str) -> PathMatch {
    PathMatch::Regex(path.into())
}

pub(super) fn host(pattern: &str, routes: Vec<Route>) -> VirtualHost {
    let pattern = HostPattern::parse(pattern).unwrap();
    VirtualHost { pattern, routes: routes.into_iter().map(Arc::new).collect(), fallback: None }
}

pub(super) fn model(hosts: Vec<VirtualHost>) -> Model {
    Model { hosts: hosts.into_iter().map(|host| (host.pattern.clone(), Arc::new(host))).collect(), ..Model::default() }
}

pub(super) fn backend(name: &str) -> Backend {
    Backend::new(BackendId::upstream(name), Origin::new("Conf", "", name, None), UpstreamConfig::default())
}
