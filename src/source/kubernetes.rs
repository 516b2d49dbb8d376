//! Objects of a cluster: lists and watches what routing needs, and delivers it as every source does; and what
//! tidegate writes to a cluster: who leads, the status of Ingresses, events.

pub mod client;
mod events;
mod leader;
mod pace;
mod status;
#[cfg(test)]
mod testing;
pub mod write;

pub use events::Note;
pub use leader::{Election, Leadership, Timing};
pub use status::{Address, AddressSource, NodeAddress, Replicas, Served, StatusConfig};
