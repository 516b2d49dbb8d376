//! A programmable reverse proxy and Kubernetes ingress controller on Pingora.
//!
//! The flow is one way, and so are the imports (`tests/architecture.rs`):
//!
//! 1. `source` reads files and conf and delivers events; `resources` keeps one consistent set of typed objects.
//! 2. `translate` turns objects into the `model`, with diagnostics; pure and incremental.
//! 3. `compile` turns what was touched of the model into a `snapshot` that shares the rest.
//! 4. `front` accepts connections and terminates TLS, `proxy` takes each request through guard, router, plugins
//!    and upstream. Both read one snapshot; endpoints live beside it in `endpoint`.
//! 5. `telemetry`, `admin`, `explain` and the command line tell what is there and why.
//!
//! A program of one's own begins with [`Tidegate::builder`].

mod address;
mod admin;
mod admission;
mod app;
#[doc(hidden)]
pub mod bench;
mod capacity;
mod cli;
mod code;
mod compile;
mod connection;
mod dense;
mod diagnostic;
mod edge;
mod endpoint;
mod engine;
mod explain;
mod front;
mod host;
mod listener;
mod model;
mod origin;
mod pace;
mod path;
mod pem_text;
mod policy;
mod pressure;
mod proxy;
mod quantity;
mod reason;
mod resources;
mod settings;
mod snapshot;
mod source;
mod suggest;
mod telemetry;
mod translate;
mod turns;
mod upstream;
mod x509;
mod yaml;

pub use app::{Builder, Running, Tidegate};
pub use code::{Code, Severity};
pub use diagnostic::Diagnostic;
pub use reason::Reason;
pub use settings::Settings;
pub use settings::schema as conf_schema;
pub use translate::ingress::annotations::table::ANNOTATIONS;
