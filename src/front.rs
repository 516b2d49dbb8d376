//! Where clients arrive: listeners, TLS, deadlines and limits, in front of the engine.
//!
//! `listeners` binds and retires sockets as the configuration wants them, `accept` takes a connection through its steps,
//! `serve` hands its requests to the engine. It must not know requests, routes or Kubernetes.

pub(crate) mod drain;
pub(crate) mod listeners;
pub(crate) mod metrics;

mod accept;
mod ahead;
mod buffered;
mod deadline;
mod early;
mod failure;
mod guarded;
mod head;
mod linger;
mod pooled_buffer;
mod retire;
mod serve;
mod socket;
mod sources;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use listeners::{ListenError, Listeners};
pub(crate) use metrics::{FrontMetrics, ListenerCounts};
