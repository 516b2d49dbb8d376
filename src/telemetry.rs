//! What tidegate tells about itself: metrics, access log, process log, and the server that shows them.
//!
//! Imports nothing of tidegate but leaf modules, so that every stage can tell without knowing who listens.

pub mod metrics;
pub mod record;
