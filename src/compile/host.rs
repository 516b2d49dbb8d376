//! Virtual hosts: all routes of one host pattern.

use std::sync::Arc;

use super::matcher::Matchers;
use super::route::RouteCompiler;
use crate::diagnostic::Diagnostic;
use crate::model;
use crate::snapshot::router::{Entry, HostRoutes};

impl RouteCompiler<'_> {
    /// Compiles a host. Routes that cannot be compiled are left out and named in a diagnostic.
    pub(super) fn host(&mut self, host: &model::VirtualHost) -> (Arc<HostRoutes>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let mut matchers = Matchers::default();
        let mut ranked: Vec<&Arc<model::Route>> = host.routes.iter().collect();
        ranked.sort_by(|a, b| a.rank.cmp(&b.rank));
        let mut entries = Vec::with_capacity(ranked.len());
        for route in ranked {
            match matchers.compile(&route.matcher, &route.origin) {
                Ok((path, conditions)) => {
                    entries.push(Entry::new(path, conditions, self.route(route, &mut diagnostics)));
                }
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
        let fallback = host.fallback.as_ref().map(|route| self.route(route, &mut diagnostics));
        let is_rest_older = host.oldest().zip(host.fallback.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        (Arc::new(HostRoutes::new(entries, fallback, is_rest_older)), diagnostics)
    }
}
