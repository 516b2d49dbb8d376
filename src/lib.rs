//! tidegate
/// Compiles the model into what requests read.
pub mod compile {
    pub mod pipeline;
}
pub mod diagnostic;
pub mod endpoint;
pub mod host;
pub mod model;
pub mod origin;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod snapshot;
pub mod telemetry;
