//! tidegate
pub mod admin;
pub mod compile;
pub mod connection;
pub mod diagnostic;
pub mod endpoint;
pub mod front;
pub mod host;
pub mod model;
pub mod origin;
pub mod path;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod snapshot;
pub mod telemetry;
pub mod translate;
