//! tidegate
pub mod cli;
pub mod diagnostic;
pub mod endpoint;
pub mod host;
pub mod model;
pub mod origin;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod telemetry;
pub mod yaml;
