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
//! use tidegate_plugin::{BuildContext, BuildError, Define, Flow, Hooks, Plugin, RequestContext, Stage};
//!
//! /// Which paths are closed.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields, rename_all = "camelCase")]
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
//! impl Plugin for Closed {
//!     fn hooks(&self) -> Hooks {
//!         Hooks::REQUEST
//!     }
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
mod clock;
mod context;
mod flow;
mod headers;
mod hooks;
mod inputs;
mod shared;
pub mod testing;

pub use blocking::{Blocking, NotDone, Ticket, Turn, Waiting, Work, Workers, network};
pub use build::{BuildContext, BuildError, Finding};
pub use clock::Clock;
pub use context::{LogRecord, RequestContext, ResponseContext, UpstreamRequest};
pub use flow::{BodyChunk, BodyFlow, BoxFuture, Cause, Flow, Reply, Verdict};
pub use headers::Headers;
pub use hooks::{Hooks, Stage};
pub use inputs::{Data, FileSource, Inputs, SecretSource, Source};
pub use shared::{Identity, RequestFacts, RouteFacts, Shared, TlsFacts};

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// The static side of a plugin.
pub trait Define: Plugin + Sized {
    /// Name in configuration: `type: headers`.
    const NAME: &'static str;
    /// Where it stands among other plugins, unless an instance says otherwise, see [`Define::stage`].
    const STAGE: Stage;
    /// Its configuration; one type for conf YAML, annotations and custom resources.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks the configuration and makes an instance. Everything that can be computed once is computed here.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable; the routes that name the instance are then closed (503).
    fn build(config: Self::Config, cx: &BuildContext<'_>) -> Result<Self, BuildError>;

    /// Where this instance stands; asked once, when it is built. A limit by address, say, comes before passwords are
    /// checked, one by identity after.
    fn stage(&self) -> Stage {
        Self::STAGE
    }
}

/// The side of a plugin that requests meet. Every hook that is not subscribed in [`Plugin::hooks`] is never called.
pub trait Plugin: Send + Sync + 'static {
    /// The hooks it wants; read once, when the configuration is compiled.
    fn hooks(&self) -> Hooks;

    /// Sees the request after routing, before an endpoint is picked. May answer it.
    fn on_request(&self, _cx: &mut RequestContext<'_>) -> Flow {
        Flow::Continue
    }

    /// Does the waiting that [`Plugin::on_request`] asked for with [`Flow::Wait`]. Unwritten: 500, never open.
    fn wait<'f>(&'f self, _cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(std::future::ready(Verdict::Reply(Reply::new(http::StatusCode::INTERNAL_SERVER_ERROR))))
    }

    /// Edits what the upstream gets; called again for each endpoint tried.
    fn on_upstream_request(&self, _head: &mut UpstreamRequest<'_>, _cx: &Shared) {}

    /// Sees and may replace each piece of the request's body, longer or shorter: the length that the client told is
    /// not passed on then. A request without body cannot be given one. Not called for what goes through a tunnel
    /// (WebSocket).
    fn on_request_body(&self, _chunk: &mut BodyChunk<'_>, _cx: &Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    /// Edits the head of the answer, the upstream's or tidegate's own.
    fn on_response(&self, _cx: &mut ResponseContext<'_>) {}

    /// Sees and may replace each piece of the upstream's answer, longer or shorter: its `Content-Length` is not passed
    /// on then. Not called for answers of tidegate's own, nor for what goes through a tunnel (WebSocket).
    fn on_response_body(&self, _chunk: &mut BodyChunk<'_>, _cx: &Shared) -> BodyFlow {
        BodyFlow::Continue
    }

    /// Sees how the request ended.
    fn on_log(&self, _record: &LogRecord<'_>) {}
}

/// A plugin as a proxy registers it: name, stage, schema and constructor, without its type.
#[derive(Clone, Copy)]
pub struct Definition {
    /// [`Define::NAME`].
    pub name: &'static str,
    /// [`Define::STAGE`]; that of an instance is in [`Built`].
    pub stage: Stage,
    /// JSON Schema of [`Define::Config`].
    pub schema: fn() -> schemars::Schema,
    /// Reads the configuration and builds an instance.
    pub build: Build,
}

/// Reads a configuration and builds an instance.
pub type Build = fn(&serde_json::Value, &BuildContext<'_>) -> Result<Built, BuildError>;

/// An instance, without its type.
#[derive(Clone)]
pub struct Built {
    /// [`Define::stage`].
    pub stage: Stage,
    /// The instance.
    pub plugin: Arc<dyn Plugin>,
}

/// Makes the [`Definition`] of a plugin.
pub const fn define<P: Define>() -> Definition {
    Definition { name: P::NAME, stage: P::STAGE, schema: schema_of::<P>, build: build_from::<P> }
}

fn schema_of<P: Define>() -> schemars::Schema {
    schemars::schema_for!(P::Config)
}

fn build_from<P: Define>(config: &serde_json::Value, cx: &BuildContext<'_>) -> Result<Built, BuildError> {
    let config: P::Config = serde_path_to_error::deserialize(config).map_err(|e| BuildError::from_serde(&e))?;
    let plugin = P::build(config, cx)?;
    Ok(Built { stage: plugin.stage(), plugin: Arc::new(plugin) })
}
