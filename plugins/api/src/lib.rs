//! What a tidegate plugin is.
//!
//! A plugin is one Rust type: [`Define`] says what it is called, where it stands and how it is built
//! from configuration; [`Plugin`] says what it does to requests. Hooks are synchronous; a plugin that
//! must wait for something returns [`Flow::Wait`] and does so in [`Plugin::wait`]. Contexts borrow plain
//! HTTP parts and know no proxy engine, so a plugin is tested without one (see [`testing`]).
//!
//! A whole plugin, with its test:
//!
//! ```
//! use http::StatusCode;
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use tidegate_plugin::testing::{Outcome, Request};
//! use tidegate_plugin::{BuildContext, BuildError, Define, Flow, Plugin, RequestContext, Stage, plugin};
//!
//! /// Which paths are closed.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(rename_all = "camelCase")]
//! struct Config {
//!     /// Beginning of the paths that answer 403.
//!     prefix: String,
//! }
//!
//! struct Closed(Config);
//!
//! impl Define for Closed {
//!     const NAME: &'static str = "closed";
//!     const STAGE: Stage = Stage::Access;
//!     type Config = Config;
//!     fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
//!         if !config.prefix.starts_with('/') {
//!             return Err(BuildError::invalid("prefix", "must begin with `/`"));
//!         }
//!         Ok(Self(config))
//!     }
//! }
//!
//! #[plugin]
//! impl Plugin for Closed {
//!     fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
//!         if cx.path.starts_with(&self.0.prefix) { Flow::reply(StatusCode::FORBIDDEN) } else { Flow::Continue }
//!     }
//! }
//!
//! let closed = Closed(Config { prefix: "/internal".into() });
//! assert!(matches!(Request::get("/internal/x").run(&closed), Outcome::Reply(reply) if reply.status == 403));
//! assert!(matches!(Request::get("/").run(&closed), Outcome::Continue));
//! ```

mod blocking;
mod build;
mod client;
mod clock;
mod context;
mod flow;
mod headers;
mod hooks;
mod inputs;
mod reply;
mod schema;
mod shared;
mod target;
pub mod testing;

pub use blocking::{Blocking, NotDone, Ticket, Turn, Waiting, Work, Workers, network};
pub use build::{BuildContext, BuildError, BuildOrigin, Finding};
pub use client::{CallError, CallLimits, Caller, HttpClient};
pub use clock::Clock;
pub use context::{BackendFacts, Backends, LogRecord, RequestContext, ResponseContext, RouteContext, UpstreamRequest};
pub use flow::{BodyChunk, BodyFlow, BodyVerdict, BoxFuture, Choice, Flow, ResponseFlow, ResponseVerdict, Verdict};
pub use headers::{Editable, Headers};
pub use hooks::{Hooks, Stage, Written};
pub use inputs::{Data, FileSource, Inputs, SecretSource, Source};
pub use reply::{GrpcStatus, ReasonCode, Reply};
pub use shared::{Identity, RequestFacts, RouteFacts, Shared, TlsFacts};
pub use target::{Target, TargetError};
/// Stands before `impl Plugin for …` and reads there which hooks the plugin has written, so that none of them can be left
/// out, and none that it has not written costs anything.
///
/// ```
/// # use tidegate_plugin::*;
/// struct Counts;
/// #[plugin]
/// impl Plugin for Counts {
///     fn on_log(&self, _: &LogRecord<'_>) {}
/// }
/// let plugin: &dyn Plugin = &Counts;
/// assert_eq!(plugin.hooks(), Hooks::LOG);
/// ```
///
/// Without it the `impl` does not compile:
///
/// ```compile_fail
/// # use tidegate_plugin::*;
/// struct Forgets;
/// impl Plugin for Forgets {
///     fn on_log(&self, _: &LogRecord<'_>) {}
/// }
/// ```
///
/// Nor does one whose hooks cannot be seen:
///
/// ```compile_fail
/// # use tidegate_plugin::*;
/// macro_rules! hook { () => { fn on_log(&self, _: &LogRecord<'_>) {} } }
/// struct Hides;
/// #[plugin]
/// impl Plugin for Hides {
///     hook!();
/// }
/// ```
pub use tidegate_plugin_macros::plugin;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// The static side of a plugin.
pub trait Define: Plugin + Sized {
    /// Name in configuration: `type: headers`.
    const NAME: &'static str;
    /// Where it stands among other plugins, unless an instance says otherwise, see [`Define::stage`].
    const STAGE: Stage;
    /// Other stages that an instance may choose by `stage` in its configuration. None: it stands where it stands.
    const STAGES: &'static [Stage] = &[];
    /// Its configuration; one type for conf YAML, annotations and custom resources. A field that it does not have, as
    /// its schema says, is refused before it is read; `mode` and `stage` belong to the instance and are never seen here.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks the configuration and makes an instance. Everything that can be computed once is computed here.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable; the routes that name the instance are then closed (503).
    fn build(config: Self::Config, cx: &BuildContext<'_>) -> Result<Self, BuildError>;

    /// Where this instance stands; asked once, when it is built. A limit by address, say, comes before passwords are
    /// checked, one by identity after. What the configuration of the instance says goes before, see
    /// [`Define::STAGES`].
    fn stage(&self) -> Stage {
        Self::STAGE
    }
}

/// The side of a plugin that requests meet. `#[plugin]` stands before each `impl` of it and reads which hooks are written;
/// those that are not are never called.
pub trait Plugin: Send + Sync + 'static {
    /// Which hooks are written: the work of [`macro@plugin`], never of one's own.
    fn written(&self) -> Written;

    /// Hooks that are written and that this instance has no use for, as when nothing is configured for them. Asked once,
    /// when the configuration is compiled.
    fn idle(&self) -> Hooks {
        Hooks::NONE
    }

    /// Upstreams of the conf that [`Plugin::on_route`] may name. One that the conf does not have is told, and refuses the
    /// requests that it is chosen for. Asked once.
    fn upstreams(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Sees the request after routing, before an endpoint is picked. May answer it.
    fn on_request(&self, _cx: &mut RequestContext<'_>) -> Flow {
        Flow::Continue
    }

    /// Does the waiting that [`Plugin::on_request`] asked for with [`Flow::Wait`]. Unwritten: 500, never open.
    fn wait<'f>(&'f self, _cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(std::future::ready(Verdict::Reply(Reply::new(http::StatusCode::INTERNAL_SERVER_ERROR))))
    }

    /// Chooses where a request goes that nobody has answered: to a backend of the route or to an upstream of the conf. The
    /// first plugin of the chain that chooses does; [`Stage::Route`] is made for such plugins. Only called on routes that
    /// go to backends.
    fn on_route(&self, _cx: &mut RouteContext<'_>) -> Choice {
        Choice::Pass
    }

    /// Edits what the upstream gets; called again for each endpoint tried, and by `explain` for a request that nobody
    /// has made.
    fn on_upstream_request(&self, _head: &mut UpstreamRequest<'_>, _cx: &Shared) {}

    /// Sees and may replace each piece of the request's body, longer or shorter: the length that the client told is
    /// not passed on then. A request without body cannot be given one. Not called for what goes through a tunnel
    /// (WebSocket).
    fn on_request_body(&self, _chunk: &mut BodyChunk<'_>, _cx: &mut Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    /// Does the waiting that [`Plugin::on_request_body`] asked for with [`BodyFlow::Wait`]. Unwritten: the request ends
    /// with 500.
    fn wait_request_body<'f>(
        &'f self,
        _chunk: &'f mut BodyChunk<'_>,
        _cx: &'f mut Shared,
    ) -> BoxFuture<'f, BodyVerdict> {
        Box::pin(std::future::ready(BodyVerdict::Abort(http::StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Edits the head of the answer, the upstream's or tidegate's own, or gives another answer.
    fn on_response(&self, _cx: &mut ResponseContext<'_>) -> ResponseFlow {
        ResponseFlow::Continue
    }

    /// Does the waiting that [`Plugin::on_response`] asked for with [`ResponseFlow::Wait`]. Unwritten: 500.
    fn wait_response<'f>(&'f self, _cx: &'f mut ResponseContext<'_>) -> BoxFuture<'f, ResponseVerdict> {
        Box::pin(std::future::ready(ResponseVerdict::Replace(Reply::new(http::StatusCode::INTERNAL_SERVER_ERROR))))
    }

    /// Sees and may replace each piece of the upstream's answer, longer or shorter: its `Content-Length` is not passed
    /// on then. Not called for answers of tidegate's own, nor for what goes through a tunnel (WebSocket).
    fn on_response_body(&self, _chunk: &mut BodyChunk<'_>, _cx: &mut Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    /// Sees how the request ended.
    fn on_log(&self, _record: &LogRecord<'_>) {}
}

impl dyn Plugin {
    /// The hooks that it is called for: those that are written and not idle.
    pub fn hooks(&self) -> Hooks {
        self.written().0.without(self.idle())
    }
}

/// A plugin as a proxy registers it: name, stage, schema and constructor, without its type.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Definition {
    /// [`Define::NAME`].
    pub name: &'static str,
    /// [`Define::STAGE`]; that of an instance is in [`Built`].
    pub stage: Stage,
    /// [`Define::STAGES`].
    pub stages: &'static [Stage],
    /// JSON Schema of [`Define::Config`].
    pub schema: fn() -> schemars::Schema,
    /// Reads the configuration and builds an instance.
    pub build: Build,
}

/// Reads a configuration and builds an instance.
pub type Build = fn(&serde_json::Value, &BuildContext<'_>) -> Result<Built, BuildError>;

/// An instance, without its type.
#[derive(Clone)]
#[non_exhaustive]
pub struct Built {
    /// [`Define::stage`].
    pub stage: Stage,
    /// The instance.
    pub plugin: Arc<dyn Plugin>,
}

/// Makes the [`Definition`] of a plugin.
pub const fn define<P: Define>() -> Definition {
    Definition { name: P::NAME, stage: P::STAGE, stages: P::STAGES, schema: schema_of::<P>, build: build_from::<P> }
}

fn schema_of<P: Define>() -> schemars::Schema {
    schemars::schema_for!(P::Config)
}

fn build_from<P: Define>(config: &serde_json::Value, cx: &BuildContext<'_>) -> Result<Built, BuildError> {
    let plugin = build::<P>(config, cx)?;
    Ok(Built { stage: plugin.stage(), plugin: Arc::new(plugin) })
}

/// Reads a configuration and builds an instance, as the proxy does.
///
/// # Errors
/// The configuration has a field that its type does not have, cannot be read, or cannot be used.
pub fn build<P: Define>(config: &serde_json::Value, cx: &BuildContext<'_>) -> Result<P, BuildError> {
    schema::check::<P>(schema_of::<P>, config)?;
    let config: P::Config = serde_path_to_error::deserialize(config).map_err(|e| BuildError::from_serde(&e))?;
    P::build(config, cx)
}
