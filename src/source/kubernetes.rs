//! The Kubernetes API server: what is read of it, and what is written to it.
//!
//! Reading and writing know nothing of one another; they share the way to make a client.

pub(crate) mod client;
mod read;
#[cfg(test)]
mod testing;
pub(crate) mod write;

pub use read::{Demand, Kubernetes, Reads, Running, Scope};
pub(crate) use read::{NAME, cache};
pub(crate) use write::leader::{Election, Leadership, Timing};
pub(crate) use write::status::{Address, AddressSource, NodeAddress, Replicas, StatusConfig};
pub(crate) use write::webhook;
