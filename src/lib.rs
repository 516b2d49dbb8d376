//! tidegate
pub mod connection;
pub mod diagnostic;
pub mod endpoint;
pub mod host;
pub mod model;
pub mod origin;
pub mod path;
pub mod proxy;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod snapshot;
pub mod telemetry;
