//! From what is asked for to what routes get: the same for every dialect.

use std::sync::{Arc, LazyLock};

use super::asked::Asked;
use super::asked::backend::BackendPatch;
use super::contribution::Draft;
use super::options::Options;
use super::plugins;
use crate::model::PluginUse;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::resources::Resources;

/// Policy, plugins and backends that the routes of one object share.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub policy: Arc<Policy>,
    pub plugins: Vec<PluginUse>,
    /// Settings of the backends.
    pub patch: Arc<BackendPatch>,
    /// The text that tells the settings from others, in the ids of backends.
    pub variant: Arc<str>,
    /// Why the routes are closed.
    pub closed: Option<Reason>,
}

/// Finds plugins, and lays what is asked for over the defaults. What cannot be kept closes the routes.
///
/// `owner`: whose plugins those are that are not of the conf. What is to be said, and which Secrets are needed, goes
/// to `out`.
pub(crate) fn resolve(
    mut asked: Asked,
    owner: &str,
    options: &Options,
    resources: &Resources,
    out: &mut Draft,
) -> Resolved {
    let plugins = plugins::find(&mut asked, owner, options, resources, &mut out.plugins);
    out.diagnostics.append(&mut asked.diagnostics);
    Resolved {
        policy: asked.policy.over(&options.policy),
        plugins,
        variant: asked.backend.variant().into(),
        patch: shared(asked.backend),
        closed: asked.closed,
    }
}

/// Most ask for nothing, and share that.
fn shared(patch: BackendPatch) -> Arc<BackendPatch> {
    static NONE: LazyLock<Arc<BackendPatch>> = LazyLock::new(Arc::default);
    if patch == BackendPatch::default() { Arc::clone(&NONE) } else { Arc::new(patch) }
}
