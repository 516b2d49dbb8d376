//! A programmable reverse proxy and Kubernetes ingress controller on Pingora.
//!
//! The flow is one way, and so are the imports (`tests/architecture.rs`):
//!
//! 1. [`source`] reads files and conf and delivers events; [`resources`] keeps one consistent set of typed objects.
//! 2. [`translate`] turns objects into the [`model`], with diagnostics; pure and incremental.
//! 3. [`compile`] turns what was touched of the model into a [`snapshot`] that shares the rest.
//! 4. [`front`] accepts connections and terminates TLS, [`proxy`] takes each request through guard, router, plugins
//!    and upstream. Both read one snapshot; endpoints live beside it in [`endpoint`].
//! 5. [`telemetry`], [`admin`], [`explain`] and the command line tell what is there and why.
//!
//! A program of one's own begins with [`Tidegate::builder`].

pub mod address;
pub mod admin;
pub mod admission;
mod app;
pub mod capacity;
mod cli;
pub mod compile;
pub mod connection;
mod dense;
pub mod diagnostic;
pub mod endpoint;
pub mod explain;
pub mod front;
pub mod host;
pub mod model;
pub mod origin;
mod pace;
pub mod path;
mod pem_text;
pub mod pressure;
pub mod proxy;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod telemetry;
pub mod translate;
mod turns;
mod x509;
pub mod yaml;

pub use app::{Builder, Running, Tidegate};
pub use diagnostic::{Diagnostic, Severity};
pub use reason::Reason;
pub use settings::Settings;
pub use settings::schema as conf_schema;
pub use translate::annotations::ANNOTATIONS;
