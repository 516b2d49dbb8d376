//! The conf: what holds for all, and routes and upstreams of its own.
//!
//! A dialect like any other, and the one whose word holds for the others: its [`Options`]. It must not know them.

mod defaults;
mod edge;
mod invalid;
mod listener;
mod options;
mod policy;
mod reference;
mod route;
mod upstream;

use std::sync::Arc;

use super::contribution::{Contribution, Draft};
use super::options::Options;
use super::plugins;
use crate::origin::Origin;
use crate::resources::conf::Conf;
use crate::resources::{Kind, Resources, Sourced};

pub(crate) use listener::listeners;

/// Translates it; without one, everything is as it is by default.
pub(crate) fn translate(resources: &Resources) -> (Options, Contribution) {
    let mut out = Draft::default();
    let Some(sourced) = &resources.conf else {
        let origin = Origin::new(Kind::Conf.as_str(), "", "", None);
        let options = options::read(&Conf::default(), &origin, resources, &mut out.diagnostics);
        return (options, out.finish());
    };
    let (conf, origin) = (&*sourced.object, Sourced::origin(sourced));
    let options = options::read(conf, &origin, resources, &mut out.diagnostics);
    out.plugins.secrets.extend(conf.plugins.values().flat_map(|spec| plugins::secrets(spec, "", resources)));
    for (name, spec) in &conf.upstreams {
        let (backend, endpoints) = upstream::translate(name, spec, &options, &origin, &mut out.diagnostics);
        out.conf().upstreams.insert(backend.id.clone(), (Arc::new(backend), Arc::new(endpoints)));
    }
    route::translate_all(conf, &origin, resources, &options, &mut out);
    defaults::backend(conf, &options, &origin, &mut out);
    defaults::certificate(conf, &origin, &mut out);
    (options, out.finish())
}
