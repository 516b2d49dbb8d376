//! Objects of a cluster: lists and watches what routing needs, and delivers it as every source does; and what
//! tidegate writes to a cluster: who leads, the status of Ingresses, events.

pub mod client;
pub mod events;
pub mod leader;
mod pace;
pub mod status;
#[cfg(test)]
mod testing;
pub mod write;
