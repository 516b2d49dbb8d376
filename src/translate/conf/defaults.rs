//! The global default backend and the default certificate.

use std::sync::Arc;

use super::reference;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Action, HttpsRedirect, Match, Rank, Route, WeightedBackend};
use crate::origin::Origin;
use crate::resources::conf::Conf;
use crate::translate::contribution::Draft;
use crate::translate::options::Options;

/// The route that takes what nobody else wants.
pub(crate) fn backend(conf: &Conf, options: &Options, origin: &Origin, out: &mut Draft) {
    let Some(text) = &conf.defaults.backend else { return };
    let origin = origin.at("defaults.backend");
    let Some(id) = reference::service(text) else {
        let message = format!("`{text}` is not a Service");
        let diagnostic = Diagnostic::error(Code::InvalidBackend, &origin, message);
        out.diagnostics.push(diagnostic.hint("write `namespace/name:port`"));
        return;
    };
    let backend = out.backend(id, &Arc::default(), origin.clone());
    let action = Action::Forward([WeightedBackend { backend, weight: 1 }].into());
    out.conf().default = Some(Arc::new(Route {
        name: "default-backend".into(),
        origin,
        matcher: Match::default(),
        rank: Rank::default(),
        action,
        https_redirect: HttpsRedirect::Off,
        plugins: Vec::new(),
        policy: Arc::clone(&options.policy),
    }));
}

/// The Secret of the certificate for clients that name no known host.
pub(crate) fn certificate(conf: &Conf, origin: &Origin, out: &mut Draft) {
    let Some(text) = &conf.defaults.certificate else { return };
    let origin = origin.at("defaults.certificate");
    match reference::object(text) {
        Some(name) => {
            out.secrets.entry(name.clone()).or_default().push(origin);
            out.conf().default_certificate = Some(name);
        }
        None => {
            let message = format!("`{text}` is not a Secret");
            out.diagnostics
                .push(Diagnostic::error(Code::InvalidSecret, &origin, message).hint("write `namespace/name`"));
        }
    }
}
